"""Tokens between services: what is not exactly what the cluster's secret has signed is refused."""

import base64
from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercato.adapters.identity.service_tokens import PLATFORM, ClusterSecret
from mercato.kernel.errors import Unauthenticated
from mercato.kernel.principal import Role
from mercato.kernel.tenancy import TenantId
from tests.clock import FakeClock

SECRET = "a secret that the services share"
ACME = TenantId("acme")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def secret(clock: FakeClock) -> ClusterSecret:
    return ClusterSecret(SECRET, clock=clock)


def test_a_token_tells_who_calls_and_for_which_store(secret: ClusterSecret) -> None:
    caller = secret.caller(
        secret.call(issuer="orders", audience="products", tenant=ACME), audience="products"
    )

    assert (caller.user_id, caller.role, caller.tenant) == ("service:orders", Role.SERVICE, ACME)
    assert not caller.scopes


def test_a_token_without_a_store_is_the_platforms(secret: ClusterSecret) -> None:
    assert secret.caller(secret.call(issuer="orders", audience="users"), audience="users").tenant == PLATFORM


def test_a_token_for_another_service_is_refused(secret: ClusterSecret) -> None:
    token = secret.call(issuer="orders", audience="products", tenant=ACME)

    with pytest.raises(Unauthenticated):
        secret.caller(token, audience="users")


def test_a_token_of_another_cluster_is_refused(secret: ClusterSecret, clock: FakeClock) -> None:
    token = ClusterSecret(SECRET + "!", clock=clock).call(issuer="orders", audience="products")

    with pytest.raises(Unauthenticated):
        secret.caller(token, audience="products")


def test_a_token_ends_after_a_minute_and_what_clocks_may_differ(
    secret: ClusterSecret, clock: FakeClock
) -> None:
    token = secret.call(issuer="orders", audience="products")
    clock.forward(seconds=85)
    secret.caller(token, audience="products")
    clock.forward(seconds=10)

    with pytest.raises(Unauthenticated):
        secret.caller(token, audience="products")


def test_a_token_from_far_in_the_future_is_refused(secret: ClusterSecret, clock: FakeClock) -> None:
    ahead = ClusterSecret(SECRET, clock=lambda: clock() + timedelta(hours=1))

    with pytest.raises(Unauthenticated):
        secret.caller(ahead.call(issuer="orders", audience="products"), audience="products")


def test_what_tells_of_a_client_is_no_token_for_a_call_and_the_other_way_round(
    secret: ClusterSecret,
) -> None:
    told = secret.forwarding(audience="orders", client="192.0.2.1", secure=True)
    assert secret.forwarded(told, audience="orders").client == "192.0.2.1"

    with pytest.raises(Unauthenticated):
        secret.caller(told, audience="orders")
    with pytest.raises(Unauthenticated):
        secret.forwarded(secret.call(issuer="gateway", audience="orders"), audience="orders")


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token[:0],
        lambda token: token[:0] + ".",
        lambda token: token[:-1],
        lambda token: token + "0",
        lambda token: token.upper(),
        lambda token: "é" + token,
        lambda token: token.partition(".")[0],
        lambda token: token.partition(".")[0] + ".",
        lambda token: "." + token.partition(".")[2],
        lambda token: token * 50,
        lambda token: (
            base64.urlsafe_b64encode(
                msgspec.json.encode({"iss": "x", "aud": "products", "exp": 1 << 40, "tenant": "acme"})
            ).decode()
            + "."
            + token.partition(".")[2]
        ),
    ],
)
def test_a_token_that_was_touched_is_refused(secret: ClusterSecret, change: Callable[[str], str]) -> None:
    token = secret.call(issuer="orders", audience="products", tenant=ACME)

    with pytest.raises(Unauthenticated) as refused:
        secret.caller(change(token), audience="products")
    assert refused.value.message == "The token is not valid."


@given(st.data())
def test_a_token_of_which_any_character_is_another_is_refused(data: st.DataObject) -> None:
    secret = ClusterSecret(SECRET, clock=FakeClock())
    token = secret.call(issuer="orders", audience="products", tenant=ACME)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(exclude_characters=token[place]))

    with pytest.raises(Unauthenticated):
        secret.caller(token[:place] + other + token[place + 1 :], audience="products")
