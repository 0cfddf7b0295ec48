"""What must not be told is hidden wherever it is, and what helps is left."""

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

import mercato
from mercato.kernel.redaction import HIDDEN, discreet, is_secret_name, without_secrets
from mercato.runtime.settings import Settings
from mercato.users.routes.accounts import Login
from mercato.web.decode import Body

LOT = "vT9xq3_Lw0aZ8-kRb7Nc2Yd5Ge1Hf4Ji6Mo0Pp9Qs8U"
JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "text, told",
    [
        ("amqp://shop:hunter2@broker:5672/%2f", "amqp://shop:[hidden]@broker:5672/%2f"),
        ("redis://:hunter2@cache:6379", "redis://:[hidden]@cache:6379"),
        ("postgresql://app:p@ss:w@db.example/x?y=1", "postgresql://app:[hidden]@db.example/x?y=1"),
        ("at https://hunter2@api.example/x", "at https://[hidden]@api.example/x"),
        ("host=db password=hunter2 user=app", "host=db password=[hidden] user=app"),
        ("Authorization: Bearer hunter2", "Authorization: [hidden]"),
        ("sent basic aHVudGVyMg==, in vain", "sent [hidden], in vain"),
        (f"expired: {JWT}", "expired: [hidden]"),
        (f"GET /reset/{LOT} failed", "GET /reset/[hidden] failed"),
        ("no such token: tok_visa", "no such token: [hidden]"),
        ("No such PaymentMethod pm_1Nx and sk_live_51H", "No such PaymentMethod [hidden] and [hidden]"),
        ("intent pi_3_secret_hunter2 is over", "intent [hidden] is over"),
        ("Login(email='x', password='hunt er2')", "Login(email='x', password=[hidden])"),
        ('{"client_secret": "hunt er2", "a": 1}', '{"client_secret": [hidden], "a": 1}'),
        (r'"{\"new_password\":\"hunt er2\",\"a\":1}"', r'"{\"new_password\":[hidden],\"a\":1}"'),
        ("{b'refresh_token': b'hunter2'}", "{b'refresh_token': [hidden]}"),
        ("card 4111 1111 1111 1111 declined", "card [hidden] declined"),
        ("4111-1111-1111-1111", "[hidden]"),
        ("378282246310005,5555555555554444", "[hidden],[hidden]"),
        ("for ann.lee+shop@mail.example.com:", "for [hidden]@mail.example.com:"),
        ("DETAIL: Key (email)=(a@b, c) already exists.", "DETAIL: Key (email)=[hidden] already exists."),
        ("Failing row contains (1, Ann,\nLee).", "Failing row contains [hidden]"),
        ("bad\n[SQL: SELECT 1]\n[parameters: (2,)]", "bad\n[hidden]"),
        ("-----BEGIN EC PRIVATE KEY-----\nMHcC", "[hidden]"),
        ("hash $argon2id$v=19$m=19456,t=2,p=1$abc$def", "hash [hidden]"),
    ],
)
def test_what_must_not_be_told_is_hidden(text: str, told: str) -> None:
    assert without_secrets(text) == told


@pytest.mark.parametrize(
    "text",
    [
        "password authentication failed for user app",
        "order 019236a4-7c1e-7d1a-9a55-1f2f3a4b5c6d at 1764133900123456",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "4111 1111 1111 1112 is no card's number, nor is 4111",
        "http://127.0.0.1:8082/api/v1/orders?limit=20",
        "[Errno 111] Connect call failed ('127.0.0.1', 5432)",
        "ConnectionRefusedError(111, 'Connect call failed')",
        "UPDATE of key tenant:order:019236a4-7c1e-7d1a-9a55-1f2f3a4b5c6d",
        "b23a6a8439c0dde5515893e7c90c1e3233b8616e634470f20dc4928bcf3609bc",
    ],
)
def test_what_helps_is_left(text: str) -> None:
    assert without_secrets(text) == text


@pytest.mark.parametrize("name", ["password", "smtp_password", "X-Api-Key", "Authorization", "refresh_token"])
def test_some_names_are_enough(name: str) -> None:
    assert is_secret_name(name)
    assert without_secrets(f"{name}={'x' * 9}") == f"{name}={HIDDEN}"


def test_a_long_hostile_text_is_looked_through_in_no_time() -> None:
    for text in ("password='" * 20_000, "4" * 100_000, "a.b@" * 30_000, "://" * 50_000, "aA1-" * 50_000):
        without_secrets(text)


def types() -> Iterator[type]:
    for module in pkgutil.walk_packages(mercato.__path__, "mercato."):
        if ".migrations" in module.name or module.name.endswith("__main__"):
            continue
        for each in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(each) and each.__module__ == module.name:
                yield each


def shows_a_secret(kind: Any) -> bool:
    """Say whether a text or bytes that are secret by name are in what is shown of a type's objects."""
    if dataclasses.is_dataclass(kind):
        return any(
            each.repr and is_secret_name(each.name) and each.type in {str, bytes}
            for each in dataclasses.fields(kind)
        )
    if not issubclass(kind, msgspec.Struct) or kind.__repr__ in {discreet, Body.__repr__}:
        return False
    return any(is_secret_name(each.name) and text_like(each.type) for each in msgspec.structs.fields(kind))


def text_like(kind: Any) -> bool:
    plain = str(kind)
    return "Literal" not in plain and any(each in plain for each in ("'str'", "'bytes'", "str |", "[str"))


def test_no_type_shows_the_secret_that_it_holds() -> None:
    found = list(types())
    assert len(found) > 500
    assert [each.__qualname__ for each in found if shows_a_secret(each)] == []


def test_a_body_and_the_settings_show_nothing_that_is_secret() -> None:
    assert repr(Login(email="ann@lamps.example", password="night")) == "Login(...)"
    shown = repr(Settings(smtp_password="night"))
    assert (f"smtp_password={HIDDEN}" in shown, "night" in shown, "host='127.0.0.1'" in shown) == (
        True,
        False,
        True,
    )
