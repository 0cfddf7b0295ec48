"""Ids are UUIDv7, unique and in order."""

import time
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercato.kernel import ids
from mercato.kernel.clock import from_micros, to_micros
from mercato.kernel.ids import id_in, is_id, uuid7
from mercato.kernel.tenancy import is_slug


def test_ids_are_unique_and_sort_in_the_order_they_were_made() -> None:
    made = [uuid7() for _ in range(50_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_an_id_is_a_uuid_of_version_7_with_the_time_in_front() -> None:
    before = time.time_ns() // 1_000_000
    parsed = uuid.UUID(uuid7())
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    # Counting up may borrow from a few milliseconds ahead.
    assert -1 <= (parsed.int >> 80) - before < 1000


def test_ids_keep_their_order_when_the_clock_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    first = uuid7()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert first < uuid7() < uuid7()


def test_counting_up_past_the_random_part_moves_the_time_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    monkeypatch.setattr(ids, "_last_rand", (1 << 74) - 1)
    full = uuid7()
    assert is_id(full)
    assert full < uuid7()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "me",
        "1",
        "\0",
        "0190163D-8694-739B-AEA5-966C26F8AD91",
        "0190163d8694739baea5966c26f8ad91",
        "٣" * 36,
    ],
)
def test_what_has_not_the_form_of_an_id_is_none(text: str) -> None:
    assert not is_id(text)
    assert not is_id(uuid7() + "\n")


@given(st.text())
def test_a_slug_is_a_dns_label(text: str) -> None:
    if is_slug(text):
        assert len(text.encode("idna")) == len(text) <= 63


@pytest.mark.parametrize("text", ["", "-a", "a-", "A", "a.b", "a_b", "ä", "a\n", "a" * 64])
def test_what_is_no_dns_label_is_no_slug(text: str) -> None:
    assert not is_slug(text)


@given(st.datetimes(timezones=st.just(UTC)))
def test_moments_survive_the_way_into_a_store_and_out(moment: datetime) -> None:
    assert from_micros(to_micros(moment)) == moment


def test_a_moment_is_the_same_in_every_zone() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert to_micros(noon) == to_micros(noon.astimezone(timezone(timedelta(hours=9))))


def test_an_id_of_later_sorts_after_all_that_are_made_until_then() -> None:
    before, later, after = uuid7(), id_in(1), uuid7()
    assert is_id(later)
    assert before < after < later < id_in(2)


def test_an_id_of_later_sorts_after_another_clock_s_too() -> None:
    other = id_in(3600)
    later = id_in(1, after=other)
    assert is_id(later)
    assert other < later < id_in(3601)
    assert id_in(1, after=uuid7()) < id_in(2)
