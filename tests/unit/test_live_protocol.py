"""What follows from each message of graphql-transport-ws."""

from typing import Any

import msgspec
import pytest

from mercato.gateway.live.protocol import Act, Close, Conversation, Identify, Refuse, Send, Start, Stop


def told(conversation: Conversation, message: object) -> Act:
    return conversation.received(msgspec.json.encode(message).decode())


def subscribe(number: str = "1", query: str = "{ me }", **more: Any) -> dict[str, Any]:
    return {"id": number, "type": "subscribe", "payload": {"query": query, **more}}


@pytest.fixture
def conversation() -> Conversation:
    """A client that was let in, and may have two operations at once."""
    made = Conversation(2)
    assert told(made, {"type": "connection_init"}) == Identify({})
    assert made.acknowledged() == Send(b'{"type":"connection_ack"}')
    return made


def test_a_client_says_who_it_is_once() -> None:
    conversation = Conversation(2)
    assert told(conversation, {"type": "connection_init", "payload": {"token": "t"}}) == Identify(
        {"token": "t"}
    )
    again = told(conversation, {"type": "connection_init"})
    assert isinstance(again, Close)
    assert again.code == 4429
    conversation.acknowledged()
    late = told(conversation, {"type": "connection_init"})
    assert isinstance(late, Close)
    assert late.code == 4429


def test_nothing_is_asked_for_before_the_server_has_acknowledged() -> None:
    fresh, waiting = Conversation(2), Conversation(2)
    told(waiting, {"type": "connection_init"})
    for conversation in (fresh, waiting):
        act = told(conversation, subscribe())
        assert act == Close(4401, "Unauthorized")


def test_pings_are_answered_at_any_time_and_pongs_are_not() -> None:
    conversation = Conversation(2)
    assert told(conversation, {"type": "ping", "payload": {"at": 1}}) == Send(b'{"type":"pong"}')
    assert told(conversation, {"type": "pong"}) is None


def test_an_operation_keeps_its_id_until_it_is_over(conversation: Conversation) -> None:
    started = told(conversation, subscribe("a", variables={"x": 1}, operationName="Q"))
    assert isinstance(started, Start)
    assert (started.id, started.operation.query) == ("a", "{ me }")
    assert (started.operation.variables, started.operation.operation_name) == ({"x": 1}, "Q")
    assert told(conversation, subscribe("a")) == Close(4409, "Subscriber for a already exists")
    conversation.ended("a")
    assert isinstance(told(conversation, subscribe("a")), Start)


def test_a_client_ends_an_operation_and_may_use_its_id_at_once(conversation: Conversation) -> None:
    told(conversation, subscribe("a"))
    assert told(conversation, {"type": "complete", "id": "a"}) == Stop("a")
    assert told(conversation, {"type": "complete", "id": "a"}) is None
    assert isinstance(told(conversation, subscribe("a")), Start)


def test_operations_beyond_the_most_are_refused_and_the_others_go_on(conversation: Conversation) -> None:
    told(conversation, subscribe("a"))
    told(conversation, subscribe("b"))
    act = told(conversation, subscribe("c"))
    assert isinstance(act, Refuse)
    assert act.error.code == "TOO_MANY_OPERATIONS"
    conversation.ended("a")
    assert isinstance(told(conversation, subscribe("c")), Start)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        '"connection_init"',
        "{}",
        '{"type": 7}',
        '{"type": "subscribe"}',
        '{"type": "subscribe", "id": "a"}',
        '{"type": "subscribe", "id": 1, "payload": {"query": "{ me }"}}',
        '{"type": "subscribe", "id": "a", "payload": {"query": 1}}',
        '{"type": "subscribe", "id": "a", "payload": {"query": "{ me }", "variables": []}}',
        '{"type": "subscribe", "id": "", "payload": {"query": "{ me }"}}',
        '{"type": "subscribe", "id": "' + 129 * "a" + '", "payload": {"query": "{ me }"}}',
        '{"type": "complete"}',
        '{"type": "subscribe", "id": "a", "payload": {"query": "{ me }", "variables": {"a": "\\u0000"}}}',
        '{"type": "subscribe", "id": "a", "payload": {"query": "{ a(b: \\"\\\\u0000\\") }"}}',
        '{"type": "ping", "payload": 1}',
        '{"type": "ping", "payload": ' + 50_000 * "[" + "}",
        '{"type": "ping", "payload": {"a": ' + 50_000 * "[" + 50_000 * "]" + "}}",
        '{"type": "next", "id": "a", "payload": {}}',
    ],
)
def test_what_is_no_message_closes_the_socket(conversation: Conversation, text: str) -> None:
    act = conversation.received(text)
    assert isinstance(act, Close)
    assert act.code == 4400
    assert act.reason


def test_a_client_that_speaks_the_forerunner_is_answered_in_it_if_it_said_that_it_might() -> None:
    start = {"id": "1", "type": "start", "payload": {"query": "{ me }"}}
    for may_be_old in (True, False):
        conversation = Conversation(2, may_be_old=may_be_old)
        told(conversation, {"type": "connection_init"})
        early = told(conversation, start)
        assert isinstance(early, Close)
        assert early.code == (4401 if may_be_old else 4400)
    conversation = Conversation(2, may_be_old=True)
    told(conversation, {"type": "connection_init", "payload": {}})
    conversation.acknowledged()
    assert isinstance(told(conversation, start), Start)
    assert conversation.dialect.following("1", b"{}") == b'{"id":"1","type":"data","payload":{}}'
    assert conversation.dialect.failed("1", b'[{"message":"a"},{"message":"b"}]') == (
        b'{"id":"1","type":"error","payload":{"message":"a"}}'
    )
    assert told(conversation, {"id": "1", "type": "stop"}) == Stop("1")
    assert told(conversation, {"type": "connection_terminate"}) == Close(1000, "")


def test_bytes_are_no_message(conversation: Conversation) -> None:
    act = conversation.received(b'{"type":"ping"}')
    assert isinstance(act, Close)
    assert act.code == 4400
