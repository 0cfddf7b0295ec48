"""What a service believes of a request that says it came through the gateway."""

from typing import cast

import pytest

from mercato.adapters.identity.service_tokens import FORWARDED_HEADER, ClusterSecret
from mercato.kernel.tracing import Tracing
from mercato.runtime.front import Front
from mercato.web.http import Chunks, Request, Response
from mercato.web.shell import Shell
from tests.clock import FakeClock
from tests.shop import open_shop
from tests.spans import Kept

OURS = ClusterSecret("what the services of the tests sign with", clock=FakeClock())
ANOTHERS = ClusterSecret("what somebody else's services sign with", clock=FakeClock())


class Recording:
    """A shell that keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    async def handle(self, request: Request) -> Response:
        self.asked.append(request)
        return Response(204)


async def no_body(_: int) -> bytes:
    return b""


async def no_pieces(_: int) -> Chunks:
    return
    yield


def told(secret: ClusterSecret, audience: str) -> str:
    return secret.forwarding(audience=audience, client="203.0.113.7", secure=True)


@pytest.mark.parametrize(
    "told, expected",
    [
        (told(OURS, "orders"), ("203.0.113.7", True, True)),
        (told(OURS, "users"), ("127.0.0.1", False, False)),
        (told(ANOTHERS, "orders"), ("127.0.0.1", False, False)),
        ("203.0.113.7", ("127.0.0.1", False, False)),
        (None, ("127.0.0.1", False, False)),
    ],
    ids=["the gateway's", "for another service", "forged", "nonsense", "nothing"],
)
async def test_only_what_the_gateway_has_signed_is_believed_and_not_counted_again(
    told: str | None, expected: tuple[str, bool, bool]
) -> None:
    shell = Recording()
    headers = {} if told is None else {FORWARDED_HEADER: told}
    front = Front("orders", cast("Shell", shell), None, OURS)

    await front.handle(
        Request("GET", "/", "", headers, "127.0.0.1", secure=False, read_body=no_body, stream_body=no_pieces)
    )

    (request,) = shell.asked
    assert (request.client, request.secure, request.counted) == expected


@pytest.mark.parametrize(
    "secret, recorded", [(OURS, 1), (ANOTHERS, 0), (None, 0)], ids=["the gateway's", "forged", "nobody's"]
)
async def test_only_the_gateway_decides_that_a_request_is_recorded(
    secret: ClusterSecret | None, recorded: int
) -> None:
    kept = Kept()
    front = Front("orders", open_shop(traces=Tracing(kept, 0.0)).shell, None, OURS)
    headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    if secret is not None:
        headers[FORWARDED_HEADER] = told(secret, "orders")

    answer = await front.handle(
        Request(
            "GET", "/items", "", headers, "127.0.0.1", secure=False, read_body=no_body, stream_body=no_pieces
        )
    )

    assert answer.status == 200
    assert len(kept.spans) == recorded
