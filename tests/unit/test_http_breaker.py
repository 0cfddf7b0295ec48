"""A circuit breaker, against what its terms say over every history of calls."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mercato.adapters.http.breaker import Breaker, BreakerState, BreakerTerms

TERMS = BreakerTerms()


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(3):
        number = breaker.allows(at)
        assert number is not None
        breaker.failed(number, at)
    assert breaker.state(at) is BreakerState.OPEN
    return breaker


def test_two_failures_are_too_few_to_tell() -> None:
    breaker = Breaker()
    for _ in range(2):
        number = breaker.allows(0.0)
        assert number is not None
        breaker.failed(number, 0.0)

    assert breaker.state(0.0) is BreakerState.CLOSED


def test_half_of_the_calls_failing_opens_it_and_fewer_do_not() -> None:
    for failures, expected in ((4, BreakerState.CLOSED), (5, BreakerState.OPEN)):
        breaker = Breaker()
        numbers = [breaker.allows(0.0) for _ in range(10)]
        for index, number in enumerate(numbers):
            assert number is not None
            (breaker.succeeded if index < 10 - failures else breaker.failed)(number, 0.0)
        assert breaker.state(0.0) is expected


def test_failures_of_more_than_a_minute_ago_do_not_count() -> None:
    breaker = Breaker()
    for at in (0.0, 1.0, 61.5):
        number = breaker.allows(at)
        assert number is not None
        breaker.failed(number, at)

    assert breaker.state(61.5) is BreakerState.CLOSED


def test_an_open_one_lets_nothing_through_for_half_a_minute_and_says_for_how_long() -> None:
    breaker = opened(at=100.0)

    assert breaker.allows(129.9) is None
    assert breaker.retry_after(100.0) == 30
    assert breaker.retry_after(129.9) == 1
    assert breaker.state(130.0) is BreakerState.HALF_OPEN


def test_three_probes_that_succeed_close_it_and_a_fourth_is_not_let_through() -> None:
    breaker = opened()
    probes = [breaker.allows(30.0) for _ in range(4)]

    assert probes[3] is None
    for number in probes[:3]:
        assert number is not None
        assert breaker.state(30.0) is BreakerState.HALF_OPEN
        breaker.succeeded(number, 30.0)
    assert breaker.state(30.0) is BreakerState.CLOSED


def test_one_probe_that_fails_opens_it_again_for_as_long() -> None:
    breaker = opened()
    first, second = breaker.allows(30.0), breaker.allows(30.0)
    assert first is not None
    assert second is not None
    breaker.succeeded(first, 30.0)
    breaker.failed(second, 31.0)

    assert breaker.allows(60.9) is None
    assert breaker.allows(61.0) is not None


def test_a_probe_whose_caller_went_away_makes_room_for_another() -> None:
    breaker = opened()
    numbers = [breaker.allows(30.0) for _ in range(3)]
    assert breaker.allows(30.0) is None
    assert numbers[0] is not None
    breaker.abandoned(numbers[0])

    assert breaker.allows(30.0) is not None


def test_a_late_answer_to_a_call_from_before_changes_nothing() -> None:
    breaker = Breaker()
    late = breaker.allows(0.0)
    assert late is not None
    for _ in range(3):
        number = breaker.allows(0.0)
        assert number is not None
        breaker.failed(number, 0.0)
    breaker.succeeded(late, 1.0)
    assert breaker.state(1.0) is BreakerState.OPEN

    assert breaker.allows(30.0) is not None
    breaker.failed(late, 30.0)
    assert breaker.state(30.0) is BreakerState.HALF_OPEN


CALLS = st.lists(st.tuples(st.floats(0, 40), st.sampled_from(["ok", "fail", "away", "pending"])), max_size=80)


@settings(max_examples=300)
@given(CALLS)
def test_over_any_history_it_keeps_what_its_terms_say(calls: list[tuple[float, str]]) -> None:
    breaker = Breaker()
    now, opened_at = 0.0, -1e9
    for pause, outcome in calls:
        now += pause
        before = breaker.state(now)
        number = breaker.allows(now)
        if before is BreakerState.CLOSED:
            assert number is not None
        if now < opened_at + TERMS.open_s:
            assert number is None
        if number is None:
            assert breaker.retry_after(now) >= 1
            continue
        match outcome:
            case "ok":
                breaker.succeeded(number, now)
                assert breaker.state(now) is not BreakerState.OPEN
            case "fail":
                breaker.failed(number, now)
                if before is BreakerState.HALF_OPEN:
                    assert breaker.state(now) is BreakerState.OPEN
            case "away":
                breaker.abandoned(number)
        if breaker.state(now) is BreakerState.OPEN:
            opened_at = now


@given(st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=60))
def test_it_opens_exactly_when_half_of_the_last_minutes_calls_have_failed(
    calls: list[tuple[float, bool]],
) -> None:
    breaker = Breaker(BreakerTerms(slots=60))
    seen: list[tuple[float, bool]] = []
    now = 0.0
    for pause, fails in calls:
        now += pause
        number = breaker.allows(now)
        assert number is not None
        (breaker.failed if fails else breaker.succeeded)(number, now)
        seen.append((now, fails))
        # What it remembers is rounded to seconds.
        sure = [each for each in seen if each[0] > now - 59]
        if breaker.state(now) is BreakerState.OPEN:
            recent = [each for each in seen if each[0] > now - 61]
            assert len(recent) >= 3
            return
        failures = sum(failed for _, failed in sure)
        if fails and len(sure) == len(seen) and len(sure) >= 3:
            assert failures * 2 < len(sure)
