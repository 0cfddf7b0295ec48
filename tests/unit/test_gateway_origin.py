"""Whose word the gateway takes for where a request comes from, and what it passes on."""

from collections.abc import AsyncGenerator

import pytest

from mercato.gateway.headers import to_client, to_service
from mercato.gateway.origin import Origin, Proxies
from mercato.web.http import Request


async def no_body(_: int) -> bytes:
    return b""


async def no_stream(_: int) -> AsyncGenerator[bytes, None]:
    for piece in tuple[bytes, ...]():
        yield piece


def request(client: str, **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(
        "GET",
        "/",
        "",
        {"host": "shop.example"} | named,
        client,
        secure=False,
        read_body=no_body,
        stream_body=no_stream,
    )


def origin(client: str, trusted: str = "", **headers: str) -> Origin:
    return Proxies(trusted).origin(request(client, **headers))


def test_nobodys_word_is_taken_where_no_proxy_is_trusted() -> None:
    found = origin(
        "192.0.2.7", x_forwarded_for="10.0.0.1", x_forwarded_proto="https", x_forwarded_host="evil.example"
    )

    assert found == Origin("192.0.2.7", secure=False, host="shop.example", path="192.0.2.7")


def test_a_trusted_proxy_says_who_the_client_is() -> None:
    found = origin(
        "10.0.0.5",
        "10.0.0.0/8",
        x_forwarded_for="192.0.2.7",
        x_forwarded_proto="https",
        x_forwarded_host="tea.example",
    )

    assert found == Origin("192.0.2.7", secure=True, host="tea.example", path="192.0.2.7, 10.0.0.5")


@pytest.mark.parametrize("tale", ["127.0.0.1", "10.0.0.9, 127.0.0.1", "nobody", "", "::1"])
def test_what_a_client_told_a_trusted_proxy_before_is_not_believed(tale: str) -> None:
    found = origin("10.0.0.5", "10.0.0.0/8", x_forwarded_for=f"{tale}, 192.0.2.7")

    assert found.client == "192.0.2.7"
    assert found.path == "192.0.2.7, 10.0.0.5"


def test_a_chain_of_trusted_proxies_is_followed_to_its_begin() -> None:
    found = origin("10.0.0.5", "10.0.0.0/8", x_forwarded_for="203.0.113.1, 192.0.2.7, 10.0.0.9")

    assert found.client == "192.0.2.7"


def test_a_trusted_proxy_that_tells_nothing_is_the_client_itself() -> None:
    assert origin("10.0.0.5", "10.0.0.0/8").client == "10.0.0.5"
    assert origin("10.0.0.5", "10.0.0.0/8", x_forwarded_for="unknown").client == "10.0.0.5"


def test_an_endless_chain_is_cut() -> None:
    found = origin("10.0.0.5", "10.0.0.0/8", x_forwarded_for=", ".join(["10.0.0.1"] * 1_000))

    assert found.path.count(",") <= 32


@pytest.mark.parametrize("trusted", ["nonsense", "10.0.0.1/8", "10.0.0.0/99"])
def test_what_is_no_network_cannot_be_trusted(trusted: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Proxies(trusted)


def test_what_is_about_the_connection_and_what_a_client_says_of_itself_is_not_passed_on() -> None:
    sent = {
        "connection": "close, X-Secret, authorization",
        "keep-alive": "timeout=5",
        "te": "trailers",
        "transfer-encoding": "chunked",
        "upgrade": "websocket",
        "proxy-authorization": "Basic eA==",
        "x-secret": "1",
        "authorization": "Bearer token",
        "content-length": "5",
        "x-forwarded-for": "10.0.0.1",
        "forwarded": "for=10.0.0.1",
        "x-real-ip": "10.0.0.1",
        "x-mercato-forwarded": "made up",
        "x-request-deadline": "999999999",
        "x-tenant-id": "tea",
    }

    client = Origin("192.0.2.7", secure=True, host="shop.example", path="192.0.2.7")
    passed = to_service(sent, client, with_length=False)

    assert sorted(passed) == [
        ("authorization", "Bearer token"),
        ("host", "shop.example"),
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-host", "shop.example"),
        ("x-forwarded-proto", "https"),
        ("x-tenant-id", "tea"),
    ]


def test_of_an_answer_too_what_is_about_the_connection_is_not_passed_on() -> None:
    answered = [
        ("connection", "close, x-inner"),
        ("x-inner", "1"),
        ("keep-alive", "5"),
        ("server", "granian"),
        ("date", "now"),
        ("content-length", "2"),
        ("content-type", "text/plain"),
        ("link", "<a>"),
        ("link", "<b>"),
        ("etag", '"1"'),
    ]

    assert to_client(answered) == [("link", "<a>"), ("link", "<b>"), ("etag", '"1"')]
