"""A service that starts before everything it needs, and comes alive as each comes, whichever is first."""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from mercato.kernel.ids import uuid7
from tests.engines import need
from tests.link import Link
from tests.running import free_port
from tests.services import Services
from tests.split_engines import engines
from tests.waiting import until

CHECKS = {"database": "users_database", "broker": "bus", "redis": "redis"}
"""What a service says of each."""


@dataclass
class Late:
    """A service of users whose servers are at ports at which nobody is yet."""

    folder: Path
    settings: dict[str, str]
    there: dict[str, int] = field(default_factory=dict)
    """Where each server really is."""
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in CHECKS})

    def __post_init__(self) -> None:
        own = {}
        for name, value in self.settings.items():
            for word, engine in (("DATABASE", "database"), ("BROKER", "broker"), ("REDIS", "redis")):
                if word in name and name.endswith("_URL"):
                    self.there[engine] = urlsplit(value).port or 0
                    own[name] = value.replace(f":{self.there[engine]}/", f":{self.ports[engine]}/")
        self.services = Services(self.folder, self.settings, own={"users": own})

    async def asked(self, path: str) -> tuple[int, bytes]:
        return await asyncio.to_thread(self.services.asked, "users", path)

    async def _knows(self, come: Sequence[str]) -> None:
        """Assert that it tells the truth of what has come. Without its database it tries nothing else."""
        assert await self._answers("/health/live")
        usable = [CHECKS[each] for each in come] if "database" in come else []
        await until(lambda: self._tells(usable), within_s=60)
        # Only the database is needed: events wait, and limits are judged alone.
        assert await self._answers("/health/ready") is ("database" in come)

    async def _tells(self, usable: Sequence[str]) -> bool:
        status, body = await self.asked("/health")
        told = msgspec.json.decode(body)
        well = {name for name in CHECKS.values() if told["checks"][name] == "ok"}
        return status == 200 and well == set(usable) and (told["phase"] == "serving") is bool(usable)

    async def come(self, order: Sequence[str]) -> None:
        """Start, and let the servers come in this order."""
        with ExitStack() as links:
            await asyncio.to_thread(self.services.start, ["users"], ready=False)
            await until(lambda: self._answers("/health/live"), within_s=60)
            for number, engine in enumerate(order):
                await self._knows(order[:number])
                links.enter_context(Link(self.there[engine], at=self.ports[engine]))
            await self._knows(order)
            await self._works()
            await asyncio.to_thread(self.services.stop)

    async def _answers(self, path: str) -> bool:
        return (await self.asked(path))[0] == 200

    async def _works(self) -> None:
        """Assert that what needs the database works, and what it tells others is sent."""
        async with self.services.client(at="users") as shop:
            account = {"email": f"{uuid7()}@late.example", "password": "password123"}
            made = await shop.post(
                "/api/v1/users/register", {**account, "first_name": "Al", "last_name": "Lee"}
            )
            assert made.status == 201, made
        await until(self._has_sent, within_s=60)

    async def _has_sent(self) -> bool:
        return b'mercato_outbox_unsent{service="users"} 0.0' in (await self.asked("/metrics"))[1]


async def test_a_service_comes_alive_as_what_it_needs_comes_whichever_is_first(tmp_path: Path) -> None:
    need("postgres", "rabbitmq", "redis")
    first, second, third = CHECKS
    orders = [(first, second, third), (third, first, second), (second, third, first)]
    late, settings = [], await asyncio.to_thread(engines)
    for number in range(len(orders)):
        (tmp_path / str(number)).mkdir()
        late.append(Late(tmp_path / str(number), settings))
    try:
        await asyncio.gather(*(each.come(order) for each, order in zip(late, orders, strict=True)))
    finally:
        for each in late:
            each.services.kill(*each.services.processes)
