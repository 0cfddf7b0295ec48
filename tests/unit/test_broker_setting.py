"""The broker's setting says what is wrong with it, and never what it holds."""

import sys
from importlib import import_module, resources
from pathlib import Path

import pytest

from mercato.runtime.broker import CONSUMERS, broker_of
from mercato.runtime.settings import Settings, WrongSetting, describe, load


def test_without_the_driver_the_extra_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aio_pika", None)
    for name in [name for name in sys.modules if name.startswith("mercato.adapters.bus.rabbitmq")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(WrongSetting, match=r"mercato\[rabbitmq\]"):
        broker_of(Settings(broker_url="amqp://broker"), "orders")


def test_without_the_setting_there_is_no_broker() -> None:
    assert broker_of(Settings(), "orders") is None


@pytest.mark.parametrize(
    "url",
    ["redis://user:secret-word@broker", "amqp://", "amqp://user:secret-word@broker:70000/", "secret-word"],
)
def test_a_url_of_something_else_is_refused_and_its_password_not_told(url: str) -> None:
    settings = load({"MERCATO_BROKER_URL": url})
    with pytest.raises(WrongSetting, match=r"MERCATO_BROKER_URL.*amqp://USER:PASSWORD@HOST") as refused:
        broker_of(settings, "orders")
    assert "secret-word" not in str(refused.value)


def test_the_url_is_shown_nowhere() -> None:
    shown = describe({"MERCATO_BROKER_URL": "amqp://user:secret-word@broker"})
    assert "secret-word" not in str(shown)


def test_every_service_that_consumes_events_has_its_queue_made_whoever_starts_first() -> None:
    packages = Path(str(resources.files("mercato"))).glob("*/subscribers.py")
    found = {file.parent.name: import_module(f"mercato.{file.parent.name}.subscribers") for file in packages}
    assert {name: module.FAMILIES for name, module in found.items()} == CONSUMERS
