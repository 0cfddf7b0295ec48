"""Telling all that a store owns: one JSON object a line, as the API shows it.

It is read through the API itself, page by page, as an operator would, so it says what the API says and
may run beside a serving process. What changes meanwhile is told as it was or as it is.
"""

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable

import msgspec
from prometheus_client import CollectorRegistry

from mercato.kernel.clock import utc_now
from mercato.kernel.errors import NotFound, Unavailable
from mercato.kernel.ids import UserId
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import DEFAULT_TENANT, TenantId, Tier
from mercato.runtime.embedded import Embedded
from mercato.web.access_log import AccessLog
from mercato.web.auth import Stores
from mercato.web.cors import Cors
from mercato.web.envelope import PageMeta
from mercato.web.http import Request
from mercato.web.limits import Allowance, Limits
from mercato.web.metrics import RequestMetrics
from mercato.web.router import Router
from mercato.web.shell import Shell

LISTS = {
    "user": "/api/v1/users",
    "api_client": "/api/v1/api-clients",
    "product": "/api/v1/products",
    "order": "/api/v1/orders",
    "payment": "/api/v1/payments",
    "audit_entry": "/api/v1/audit-log",
    "notification": "/api/v1/notifications",
}
"""What a store owns, by kind, and where it is listed."""
PARTS = {
    "product": {"inventory": "/api/v1/products/{}/inventory"},
    "order": {"timeline": "/api/v1/orders/{}/timeline"},
}
"""What is told of each object besides, by its kind."""
_PAGE = 100
_DEADLINE_S = 60.0

Told = Callable[[str, int, int], None]
"""Is told a kind, how many of it have been told, and how many there are."""


class _List(msgspec.Struct, frozen=True):
    data: list[msgspec.Raw]
    meta: PageMeta


class _One(msgspec.Struct, frozen=True):
    data: msgspec.Raw


class _Identified(msgspec.Struct, frozen=True):
    id: str


async def export(
    platform: Embedded, tenant: TenantId, write: Callable[[bytes], object], told: Told
) -> dict[str, int]:
    """Write a store's objects as lines; return how many there are of each kind.

    Raises NotFound if there is no such store, Unavailable if something cannot be read.
    """
    api = _Api(platform, tenant)
    counted: Counter[str] = Counter()
    async for kind, line in _lines(api, tenant, told):
        write(line + b"\n")
        counted[kind] += 1
    return dict(counted)


async def _lines(api: "_Api", tenant: TenantId, told: Told) -> AsyncIterator[tuple[str, bytes]]:
    store = await api.one(f"/api/v1/tenants/{tenant}")
    if store is None:
        raise NotFound("There is no such store.")
    yield "tenant", _line("tenant", store)
    for kind, path in LISTS.items():
        count = 0
        async for each, total in api.all(path):
            yield kind, _line(kind, each)
            identity = msgspec.json.decode(each, type=_Identified).id
            for part, where in PARTS.get(kind, {}).items():
                found = await api.one(where.format(identity))
                if found is not None:
                    yield part, _part(part, f"{kind}_id", identity, found)
            count += 1
            told(kind, count, max(count, total))


def _line(kind: str, data: bytes) -> bytes:
    """Return an object with its kind: neither it nor the kind needs to be read for that."""
    return b'{"kind":"' + kind.encode() + b'",' + data[1:]


def _part(kind: str, owned_by: str, identity: str, data: bytes) -> bytes:
    """Return what belongs to an object: an object itself, or a list under `entries`."""
    if data.startswith(b"{"):
        return _line(kind, data)
    owner = f'{{"{owned_by}":"{identity}","entries":'.encode()
    return _line(kind, owner + data + b"}")


class _Operator:
    """An Authenticator that takes every call for the operator's who exports."""

    async def authenticate(self, token: str) -> Principal:  # noqa: ARG002  there is only one caller
        """Return an operator."""
        return Principal(UserId("export"), "", Role.OPERATOR, DEFAULT_TENANT)


class _Api:
    """The platform's API, in this process, for one caller in one store."""

    def __init__(self, platform: Embedded, tenant: TenantId) -> None:
        services = platform.process.composition.services.values()
        self._headers = {"authorization": "Bearer export", "x-tenant-id": tenant}
        self._shell = Shell(
            Router(endpoint for parts in services for endpoint in parts.routes.endpoints),
            authenticator=_Operator(),
            stores=Stores(platform.users.find_store),
            limits=Limits({tier: Allowance() for tier in Tier}),
            cors=Cors(()),
            access_log=AccessLog(lambda _: None),
            metrics=RequestMetrics(CollectorRegistry()),
            clock=utc_now,
            hash_secret=b"",
            deadline_s=_DEADLINE_S,
        )

    async def one(self, path: str) -> bytes | None:
        """Return the data at a path; None if it is not there, or no longer. Raises Unavailable."""
        body = await self._get(path)
        return None if body is None else bytes(msgspec.json.decode(body, type=_One).data)

    async def all(self, path: str) -> AsyncIterator[tuple[bytes, int]]:
        """Return a list's objects, each with how many there are."""
        query, total = f"limit={_PAGE}", 0
        while True:
            body = await self._get(path, query)
            if body is None:
                raise Unavailable(f"{path} is not there.")
            page = msgspec.json.decode(body, type=_List)
            total = page.meta.total_count or total
            for each in page.data:
                yield bytes(each), total
            if page.meta.next_cursor is None:
                return
            query = f"limit={_PAGE}&after={page.meta.next_cursor}"

    async def _get(self, path: str, query: str = "") -> bytes | None:
        request = Request(
            method="GET",
            path=path,
            query=query,
            headers=self._headers,
            client="",
            secure=False,
            read_body=_no_body,
            stream_body=_no_stream,
        )
        response = await self._shell.handle(request)
        if response.status == 404:
            return None
        if response.status != 200:
            raise Unavailable(f"{path} cannot be read: {response.body.decode()}")
        return response.body


async def _no_body(_: int) -> bytes:
    return b""


async def _no_stream(_: int) -> AsyncGenerator[bytes, None]:
    for piece in tuple[bytes, ...]():
        yield piece
