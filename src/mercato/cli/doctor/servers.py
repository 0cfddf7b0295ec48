"""What services on PostgreSQL stand on: their databases, with roles, fence, pooler and clock."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime

from mercato.adapters.sql.database import Misconfigured
from mercato.cli.doctor.clocks import compared
from mercato.cli.doctor.events import CHECK_S, Unreadable, of_service
from mercato.cli.doctor.findings import Finding, ok, problem, warning
from mercato.runtime.databases import url_of
from mercato.runtime.folder import SCHEMAS
from mercato.runtime.settings import Settings, WrongSetting, variable

_FULL = 0.9
_ABOUT = """
SELECT split_part(version(), ' ', 2), pg_database_size(current_database()) / 1048576.0,
  (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
  current_setting('max_connections')::int
"""


class ServerReader:
    """One database on PostgreSQL, opened to be read, every query within a deadline: see events.Reader."""

    def __init__(self, url: str) -> None:
        """Connect. Raises Unreadable."""
        from mercato.adapters.sql.postgres_faults import ERRORS, looking  # noqa: PLC0415  an extra

        self._errors = ERRORS
        self._runner = asyncio.Runner()
        try:
            self._connection = self._runner.run(looking(url, CHECK_S))
        except self._errors as error:
            self._runner.close()
            raise Unreadable(_cause(error)) from None

    def close(self) -> None:
        """Close it."""
        self._connection.terminate()
        self._runner.close()

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """Return a query's rows. Raises Unreadable."""
        try:
            return [tuple(row) for row in self._runner.run(self._connection.fetch(sql))]
        except self._errors as error:
            raise Unreadable(_cause(error)) from None

    def has(self, table: str) -> bool:
        """Say whether there is such a table. Raises Unreadable."""
        return bool(self.rows(f"SELECT 1 FROM pg_class WHERE oid = to_regclass('public.{table}')"))


def _cause(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"not read within {CHECK_S:.0f} s"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def databases(found: Settings, now: datetime) -> Iterator[Finding]:
    """Look at every service's database, all at the same time."""
    try:
        for name in ("database_url", "database_system_url"):
            url_of(found, name, "users")
    except WrongSetting as error:
        yield problem("databases", str(error), "see docs/cluster-postgres.md")
        return
    with ThreadPoolExecutor(len(SCHEMAS)) as threads:
        looking = [threads.submit(lambda name: list(_database(found, name, now)), name) for name in SCHEMAS]
        of_each = [each.result() for each in looking]
    for findings in of_each:
        yield from findings
    if any(each.check == "users database" and each.next is None for each in of_each[0]):
        yield _pooler(found)
        yield from _clock(found)


def _database(found: Settings, name: str, now: datetime) -> Iterator[Finding]:
    from mercato.adapters.sql.postgres_faults import fault_of  # noqa: PLC0415  an extra

    check = f"{name} database"
    for setting in ("database_url", "database_system_url"):
        fault = asyncio.run(fault_of(url_of(found, setting, name), SCHEMAS[name], variable(setting)))
        if fault is not None:
            yield problem(check, fault.told, fault.remedy)
            return
    try:
        with closing(ServerReader(url_of(found, "database_system_url", name))) as reader:
            yield _about(check, reader)
            yield _fence(found, name)
            yield from of_service(name, SCHEMAS[name], reader, now, f"mercato serve {name}")
    except Unreadable as error:
        yield problem(check, str(error), "look into PostgreSQL's log, and at what keeps it busy")


def _about(check: str, reader: ServerReader) -> Finding:
    began = time.monotonic()
    ((version, size, used, most),) = reader.rows(_ABOUT)
    took = (time.monotonic() - began) * 1000
    told = f"PostgreSQL {version}, {float(str(size)):.1f} MiB, answers in {took:.0f} ms"
    if isinstance(used, int) and isinstance(most, int) and used > most * _FULL:
        told = f"{told}, but {used} of its {most} connections are in use"
        return warning(check, told, "raise max_connections, or lower MERCATO_DATABASE_POOL")
    return ok(check, told)


def _fence(found: Settings, name: str) -> Finding:
    """Look at who the roles are, and at what they would see."""
    from mercato.adapters.sql.postgres_faults import ERRORS  # noqa: PLC0415  an extra
    from mercato.adapters.sql.postgres_fence import fence_of  # noqa: PLC0415

    check = f"{name} fence"
    try:
        serving = asyncio.run(fence_of(url_of(found, "database_url", name), CHECK_S))
        system = asyncio.run(fence_of(url_of(found, "database_system_url", name), CHECK_S))
    except ERRORS as error:
        raise Unreadable(_cause(error)) from None
    role = serving.role
    if role == system.role:
        told = f"{role} serves and does the platform's work, so it sees every store"
        return problem(check, told, "name two roles: MERCATO_DATABASE_URL, MERCATO_DATABASE_SYSTEM_URL")
    if serving.is_above:
        told = f"{role}, which serves, is above row-level security"
        return problem(check, told, f"ALTER ROLE {role} NOSUPERUSER NOBYPASSRLS")
    if serving.owned:
        told = f"{role}, which serves, owns {_some(serving.owned)}, and could open the fence"
        return problem(check, told, "serve with a role that owns nothing: MERCATO_DATABASE_URL")
    if serving.open or serving.seen:
        told = f"{role}, which serves, is not held off {_some(serving.open or serving.seen)}"
        return problem(check, told, "mercato migrate up, which fences all tables anew")
    if system.is_above:
        told = f"{system.role} is a superuser, or bypasses row-level security, and need not"
        return warning(check, told, f"ALTER ROLE {system.role} NOSUPERUSER NOBYPASSRLS")
    return ok(check, f"{role} owns nothing, and sees the rows of one store")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _pooler(found: Settings) -> Finding:
    """Look at what is between this program and the server."""
    from mercato.adapters.sql.postgres_pool import check_sessions  # noqa: PLC0415  an extra

    if found.database_set_local:
        return ok("pooler", "each transaction names its store anew, behind whatever pooler")
    try:
        asyncio.run(check_sessions(url_of(found, "database_url", "users")))
    except Misconfigured:
        told = "what is between here and PostgreSQL does not keep sessions"
        return problem("pooler", told, "let it pool by session, or set MERCATO_DATABASE_SET_LOCAL=true")
    except Exception as error:  # noqa: BLE001  the driver fails in many words
        return problem("pooler", _cause(error), "see that it lets three connections in at once")
    return ok("pooler", "sessions are kept")


def _clock(found: Settings) -> Iterator[Finding]:
    """Compare this machine's clock with the database's."""
    try:
        with closing(ServerReader(url_of(found, "database_system_url", "users"))) as reader:
            before = time.time()
            ((there,),) = reader.rows("SELECT extract(epoch FROM clock_timestamp())")
            here = (before + time.time()) / 2
    except Unreadable as error:
        yield problem("clock", str(error), "mercato doctor")
        return
    yield compared("clock", "the database's", float(str(there)) - here)
