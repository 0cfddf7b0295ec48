"""The sandbox's webhooks: signed, sent over HTTP, and as untimely as it is told to be.

They wait in memory: what a process did not send before it ended is not sent, as when a provider
gives up. Whoever gets them must not depend on them.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Literal

import msgspec

from mercato.kernel.clock import Clock
from mercato.kernel.ids import uuid7
from mercato.payments.providers.notices import SANDBOX_HEADER, WebhookEvent
from mercato.payments.providers.signature import sign

log = logging.getLogger(__name__)

Mode = Literal["on", "late", "twice", "shuffled"]
"""When they are sent: at once, seconds later, twice, or in any order."""

Post = Callable[[bytes, Mapping[str, str]], Awaitable[int]]
"""Sends one request and returns the status of its answer. Raises OSError where there is none."""

MOST = 1_000
"""How many wait to be sent; further ones are dropped."""
_SENDERS = 4
_ATTEMPTS = 5
_FIRST_PAUSE_S = 0.2
_DEADLINE_S = 5.0


class SandboxWebhooks:
    """Sends the sandbox's news."""

    def __init__(self, post: Post, secret: str, *, mode: Mode, spread_s: float, clock: Clock) -> None:
        """`spread_s` is how late late ones are, and within what time others are shuffled."""
        self._post = post
        self._secret = secret
        self._mode = mode
        self._spread_s = spread_s
        self._clock = clock
        self._ready: asyncio.Queue[bytes] = asyncio.Queue()
        self._waiting = 0

    def tell(self, kind: str, metadata: Mapping[str, str]) -> None:
        """Have it told that something came to an end. Returns at once."""
        body = msgspec.json.encode(WebhookEvent.about(kind, f"evt_{uuid7()}", metadata))
        for delay_s in self._delays():
            if self._waiting >= MOST:
                log.warning("a webhook is dropped: too many wait", extra={"kind": kind})
                return
            self._waiting += 1
            asyncio.get_running_loop().call_later(delay_s, self._ready.put_nowait, body)

    async def run(self) -> None:
        """Send what there is, until cancelled."""
        async with asyncio.TaskGroup() as senders:
            for _ in range(_SENDERS):
                senders.create_task(self._send_all())

    def _delays(self) -> list[float]:
        match self._mode:
            case "on":
                return [0.0]
            case "late":
                return [self._spread_s]
            case "twice":
                return [0.0, 0.0]
            case "shuffled":
                return [random.uniform(0.0, self._spread_s)]  # noqa: S311  it guards nothing

    async def _send_all(self) -> None:
        while True:
            body = await self._ready.get()
            try:
                await self._send(body)
            except Exception:
                log.exception("a webhook cannot be sent")
            finally:
                self._waiting -= 1

    async def _send(self, body: bytes) -> None:
        pause_s = _FIRST_PAUSE_S
        told = "no answer"
        for _ in range(_ATTEMPTS):
            headers = {
                "Content-Type": "application/json",
                SANDBOX_HEADER: sign(self._secret, body, at=self._clock()),
            }
            try:
                async with asyncio.timeout(_DEADLINE_S):
                    status = await self._post(body, headers)
            except OSError as error:
                # TimeoutError is one too.
                told = type(error).__name__
            else:
                if 200 <= status < 300:
                    return
                told = str(status)
            await asyncio.sleep(pause_s)
            pause_s *= 2
        log.warning("a webhook was sent in vain", extra={"attempts": _ATTEMPTS, "answer": told})


class HttpPost:
    """Posts to one URL of this machine. See Post."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __call__(self, body: bytes, headers: Mapping[str, str]) -> int:
        """Send one request. Raises OSError where there is no answer."""
        # Only a sandbox that sends webhooks needs it.
        from pyreqwest.client import ClientBuilder  # noqa: PLC0415
        from pyreqwest.exceptions import RequestError  # noqa: PLC0415

        builder = ClientBuilder().no_proxy().follow_redirects(enable=False)
        async with builder.timeout(timedelta(seconds=_DEADLINE_S)).build() as client:
            try:
                response = await client.post(self._url).headers(headers).body_bytes(body).build().send()
            except RequestError as error:
                raise ConnectionError(type(error).__name__) from None
        return response.status
