"""The users service behind its shell, on a real database, and people to call it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from mercato.adapters.sql.database import Database
from mercato.kernel.cause import BySystem
from mercato.kernel.ids import UserId, uuid7
from mercato.users.domain import NewUser
from mercato.users.wiring import UsersService, UsersSettings, UsersShared, build
from mercato.web.asgi import AsgiApp
from tests.asgi_client import Answer, Client
from tests.behaviour.outboxes import OWN
from tests.clock import FakeClock
from tests.shells import open_shell

SETTINGS = UsersSettings(issuer="https://shop.example", own_url="https://shop.example")
PASSWORD = "correct horse"


def person(email: str = "ada@example.com", **changed: object) -> dict[str, object]:
    """Return what it takes to register."""
    return {"email": email, "password": PASSWORD, "first_name": "Ada", "last_name": "Lovelace"} | changed


def store(tenant: str, email: str = "boss@example.com", **changed: object) -> dict[str, object]:
    """Return what it takes to open a store."""
    return {"id": tenant, "name": "Shop", "admin": person(email)} | changed


def bearer(token: str, tenant: str | None = None) -> dict[str, str]:
    named = {} if tenant is None else {"X-Tenant-Id": tenant}
    return {"Authorization": f"Bearer {token}"} | named


@dataclass
class Platform:
    """One running users service."""

    service: UsersService
    db: Database
    clock: FakeClock
    send: Client

    async def register(self, email: str = "ada@example.com", tenant: str = "default") -> Any:
        answer = await self.send(
            "POST", "/api/v1/users/register", person(email), headers={"X-Tenant-Id": tenant}
        )
        assert answer.status == 201, answer.body
        return answer.json["data"]

    async def login(self, email: str, password: str = PASSWORD, tenant: str = "default") -> Answer:
        body = {"email": email, "password": password}
        return await self.send("POST", "/api/v1/users/login", body, headers={"X-Tenant-Id": tenant})

    async def onboard(self, tenant: str) -> Any:
        answer = await self.send("POST", "/api/v1/tenants", store(tenant))
        assert answer.status == 201, answer.body
        return answer.json["data"]

    async def operator(self) -> str:
        """Make an operator and return their token."""
        new = NewUser(email="root@example.com", password=PASSWORD, first_name="Olga", last_name="Op")
        await self.service.service.create_operator(new, UserId(uuid7()), at=self.clock(), by=BySystem("test"))
        return str((await self.login("root@example.com")).json["data"]["token"])

    async def set(self, sql: str, *params: str | int) -> None:
        """Change the database by hand, as endpoints still to come will."""

        async def step(tx: Any) -> None:
            await tx.execute(sql, params)

        await self.db.transact(step)

    async def events(self) -> list[str]:
        rows = await self.db.fetch_all(f"SELECT type FROM outbox {OWN}")
        return [row[0] for row in rows]

    async def count(self, table: str) -> int:
        row = await self.db.fetch_one(f"SELECT count(*) FROM {table}")
        assert row is not None
        return int(row[0])


async def start(db: Database, folder: Path, *, shared: UsersShared | None = None, **changed: Any) -> Platform:
    clock = FakeClock()
    settings = msgspec.structs.replace(SETTINGS, **changed)
    service = build(db, clock=clock, key_folder=folder / "keys", settings=settings, shared=shared)
    await service.stores.ensure_default_store(at=clock())
    await service.take_up()
    shell = open_shell(
        service.parts.routes.endpoints,
        authenticator=service.verifier,
        find_store=service.find_store,
        clock=clock,
        hash_secret=service.keys.hash_secret(),
    )
    return Platform(service, db, clock, Client(AsgiApp(shell)))
