"""Where a task is in a trace: read from strangers, passed on, and recorded where it is to be."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercato.kernel.errors import NotFound, Unavailable
from mercato.kernel.tracing import (
    NOT_RECORDED,
    SpanKind,
    TraceContext,
    Tracing,
    current,
    enter,
    read_context,
    span,
    trace_id,
)
from tests.spans import Kept

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
GIVEN = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture(autouse=True)
def _outside() -> Iterator[None]:
    enter(None)
    yield
    enter(None)


def test_where_a_call_comes_from_is_read_and_written_as_w3c_has_it() -> None:
    read = read_context(GIVEN, "congo=t61rcWkgMzE")
    assert read is not None
    assert (read.trace_id, read.span_id, read.sampled, read.state) == (
        TRACE,
        PARENT,
        True,
        "congo=t61rcWkgMzE",
    )
    assert read.traceparent == GIVEN
    later = read_context(f"01-{TRACE}-{PARENT}-03-what-comes-later")
    assert later is not None
    assert later.traceparent == GIVEN


@pytest.mark.parametrize(
    "hostile",
    [
        "",
        "00",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-01 ",
        f" 00-{TRACE}-{PARENT}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT}-0x",
        f"00-{TRACE}-{PARENT}-01\n",
        f"01-{TRACE}-{PARENT}-01-" + "a" * 4096,
        "-".join("\N{ARABIC-INDIC DIGIT ONE}" * digits for digits in (2, 32, 16, 2)),
    ],
    ids=range(14),
)
def test_what_is_no_traceparent_is_not_believed(hostile: str) -> None:
    assert read_context(hostile) is None


@given(st.text(max_size=80))
def test_no_header_of_a_stranger_fails_a_request(text: str) -> None:
    read = read_context(text, text)
    assert read is None or read_context(read.traceparent) is not None


@pytest.mark.parametrize("state", ["a=" + "b" * 600, "a=b\r\nx: y", "a=é"], ids=["long", "lines", "letters"])
def test_a_tracestate_that_cannot_be_passed_on_is_left_out(state: str) -> None:
    read = read_context(GIVEN, state)
    assert read is not None
    assert (read.trace_id, read.state) == (TRACE, "")


def test_a_stranger_cannot_decide_that_its_calls_are_recorded() -> None:
    tracing = Tracing(Kept(), share=0.0)
    parent = read_context(GIVEN)
    assert not tracing.begin("GET", SpanKind.SERVER, parent).recorded
    here = current()
    assert here is not None
    # It stays in the stranger's trace, and nobody behind us records it either.
    assert (here.trace_id, here.sampled) == (TRACE, False)
    assert here.traceparent.endswith("-00")


@pytest.mark.parametrize("sampled", [True, False])
def test_who_is_trusted_decides_for_the_whole_trace(sampled: bool) -> None:  # noqa: FBT001
    parent = TraceContext(TRACE, PARENT, sampled=sampled, state="a=b")
    begun = Tracing(Kept(), share=0.0 if sampled else 1.0).begin("GET", SpanKind.SERVER, parent, trusted=True)
    assert begun.recorded is sampled
    here = current()
    assert here is not None
    assert (here.trace_id, here.sampled, here.state) == (TRACE, sampled, "a=b")
    assert (here.span_id != PARENT) is sampled


def test_a_share_of_the_traces_that_begin_here_is_recorded() -> None:
    tracing = Tracing(Kept(), share=0.25)
    recorded = sum(tracing.begin("GET", SpanKind.SERVER).recorded for _ in range(4000))
    assert 800 < recorded < 1200


def test_without_a_recorder_no_trace_begins_and_a_callers_is_passed_on() -> None:
    with Tracing().begin("GET", SpanKind.SERVER) as nothing:
        assert not nothing.recorded
        assert trace_id() is None
    with Tracing().begin("GET", SpanKind.SERVER, read_context(GIVEN)):
        here = current()
        assert here is not None
        # Who behind us trusts what we pass on must not record what a stranger wants recorded.
        assert here.traceparent == GIVEN[:-1] + "0"
    with Tracing().begin("GET", SpanKind.SERVER, read_context(GIVEN), trusted=True):
        here = current()
        assert here is not None
        assert here.traceparent == GIVEN
    assert trace_id() is None


def test_what_is_not_worth_it_is_never_recorded() -> None:
    with Tracing(Kept(), share=1.0).begin("GET", SpanKind.SERVER, worth=False) as nothing:
        assert not nothing.recorded
        assert trace_id() is not None
    assert trace_id() is None


def test_a_part_of_anothers_trace_leaves_the_task_where_it_is() -> None:
    kept = Kept()
    tracing = Tracing(kept, share=0.0)
    parent = TraceContext(TRACE, PARENT, sampled=True)
    part = tracing.part("send", SpanKind.PRODUCER, parent)
    assert trace_id() is None
    part.end()
    assert [(each.context.trace_id, each.parent_id) for each in kept.spans] == [(TRACE, PARENT)]
    unsampled = TraceContext(TRACE, PARENT, sampled=False)
    assert tracing.part("send", SpanKind.PRODUCER, unsampled) is NOT_RECORDED


def test_spans_are_nested_as_the_work_was_and_tasks_inherit_their_place() -> None:
    kept = Kept()

    async def part(name: str) -> None:
        with span(name):
            await asyncio.sleep(0)

    async def work() -> None:
        with Tracing(kept, share=1.0).begin("whole", SpanKind.SERVER):
            await asyncio.gather(part("one"), part("two"))
            with span("outer"), span("inner") as inner:
                inner.set("db.system.name", "sqlite")
        assert current() is None

    asyncio.run(work())
    by_name = {each.name: each for each in kept.spans}
    whole = by_name["whole"]
    assert [by_name[name].parent_id for name in ("one", "two", "outer")] == [whole.context.span_id] * 3
    assert by_name["inner"].parent_id == by_name["outer"].context.span_id
    assert by_name["inner"].attributes == {"db.system.name": "sqlite"}
    assert {each.context.trace_id for each in kept.spans} == {whole.context.trace_id}
    assert whole.parent_id == ""
    assert whole.duration_ns >= by_name["outer"].duration_ns >= by_name["inner"].duration_ns >= 0


def test_outside_of_a_recorded_trace_a_span_is_nothing() -> None:
    assert span("work") is NOT_RECORDED
    with span("work") as nothing:
        nothing.set("a", 1)
        nothing.rename("b")
        nothing.fail("c")
    assert trace_id() is None


def test_a_failure_is_told_by_its_type_and_a_refusal_by_its_code() -> None:
    kept = Kept()
    enter(TraceContext(TRACE, PARENT, sampled=True, recorder=kept))
    for error in (ValueError("secret"), NotFound("secret"), Unavailable("secret")):
        with pytest.raises(type(error)), span("work"):
            raise error
    told = [(each.error_type, each.attributes) for each in kept.spans]
    assert told == [
        ("ValueError", {}),
        ("", {"mercato.refused": "NOT_FOUND"}),
        ("SERVICE_UNAVAILABLE", {}),
    ]
