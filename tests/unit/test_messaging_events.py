"""Events travel as CloudEvents, and what is none is refused."""

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercato.contracts.events import family
from mercato.kernel.tenancy import TenantId
from mercato.messaging.bus import decode
from mercato.messaging.inbox import Backoff
from tests.things import ThingChanged, changed, encoded, key_of

GOOD = encoded(changed("a", 7))


def test_an_event_has_the_attributes_of_cloudevents() -> None:
    event = msgspec.json.decode(GOOD)
    assert event["specversion"] == "1.0"
    assert event["type"] == "thing.changed"
    assert event["source"] == "/mercato/things"
    assert event["time"] == "2026-01-01T00:00:00Z"
    assert event["partitionkey"] == "shop/thing/a"
    assert event["sequence"] == "00000000000000000007"
    assert event["data"] == {"tenant_id": "shop", "thing": "a", "n": 7}
    # Attribute names are lower-case letters and digits only (CloudEvents 1.0.2, section 3).
    assert all(name.isalnum() and name.islower() for name in event)


def test_an_event_survives_the_way() -> None:
    assert decode(GOOD).payload(ThingChanged) == changed("a", 7)


def test_fields_of_a_newer_sender_are_left_out() -> None:
    event = msgspec.json.decode(GOOD)
    event["newer"] = 1
    event["data"]["newer"] = 1
    assert decode(msgspec.json.encode(event)).payload(ThingChanged) == changed("a", 7)


def test_order_is_kept_per_store_family_and_subject() -> None:
    assert key_of("a") != key_of("b")
    assert encoded(changed("a", 1, TenantId("other"))).count(b"other/thing/a") == 1
    assert family("order.status_changed") == "order"


@pytest.mark.parametrize("sequence", ["", "7", "-0000000000000000001", "0" * 19 + "x", "9" * 20, "٣" * 20])
def test_a_number_that_is_none_is_refused(sequence: str) -> None:
    event = msgspec.json.decode(GOOD)
    event["sequence"] = sequence
    with pytest.raises(msgspec.MsgspecError):
        decode(msgspec.json.encode(event))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"null",
        b"[]",
        b"{}",
        GOOD[:-1],
        GOOD.replace(b'"shop"', b'"\\ud800"'),
        b'{"data":' + b"[" * 100_000,
    ],
)
def test_bytes_that_are_no_event_are_refused(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode(body)


def test_data_that_is_not_the_payload_is_refused_by_whoever_reads_it() -> None:
    for data in (b'{"tenant_id":"shop"}', b'{"tenant_id":"shop","thing":"\xff","n":7}', b"null"):
        event = msgspec.structs.replace(decode(GOOD), data=msgspec.Raw(data))
        with pytest.raises(ValueError):  # noqa: PT011  msgspec says it in more than one class
            event.payload(ThingChanged)


@given(st.binary())
def test_any_bytes_are_an_event_or_refused(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode(body)


def test_delays_grow_with_jitter_up_to_a_bound() -> None:
    backoff = Backoff(first=timedelta(seconds=1), factor=3, most=timedelta(seconds=60))
    for attempts, seconds in [(1, 1), (2, 3), (3, 9), (4, 27), (5, 60), (20, 60)]:
        for _ in range(50):
            assert 0.8 * seconds <= backoff.delay(attempts).total_seconds() <= 1.2 * seconds
