"""The broker's setting says what is wrong with it, and never what it holds."""

import sys

import pytest

from mercato.runtime.broker import broker_of
from mercato.runtime.settings import Settings, WrongSetting, describe, load


def test_without_the_driver_the_extra_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aio_pika", None)
    for name in [name for name in sys.modules if name.startswith("mercato.adapters.bus.rabbitmq")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(WrongSetting, match=r"mercato\[rabbitmq\]"):
        broker_of(Settings(broker_url="amqp://broker"), "orders")


def test_without_the_setting_there_is_no_broker() -> None:
    assert broker_of(Settings(), "orders") is None


def test_a_url_of_something_else_is_refused_and_its_password_not_told() -> None:
    with pytest.raises(WrongSetting, match="MERCATO_BROKER_URL") as refused:
        load({"MERCATO_BROKER_URL": "redis://user:secret-word@broker"})
    assert "secret-word" not in str(refused.value)
    shown = {each.name: each for each in describe({"MERCATO_BROKER_URL": "amqp://user:secret-word@broker"})}
    assert "secret-word" not in str(shown)
