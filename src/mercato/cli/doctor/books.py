"""Whether the books balance, as far as can be seen in a moment."""

import asyncio
import sqlite3

from mercato.cli.common import Refused
from mercato.cli.doctor.findings import Finding, ok, problem, warning
from mercato.cli.reconcile import of_running_services
from mercato.kernel.errors import MercatoError
from mercato.runtime.embedded import Embedded
from mercato.runtime.reconcile.report import Report, reconcile
from mercato.runtime.settings import Settings, WrongSetting

_BOOKS_S = 20.0


def books(found: Settings, *, of_services: bool = False) -> Finding:
    """Reconcile, unless that takes long: the databases, or what the running services tell."""
    then = "mercato reconcile --services" if of_services else "mercato reconcile"
    try:
        report = asyncio.run(_told_by_services(found) if of_services else _reconciled(found))
    except TimeoutError:
        return ok("books", f"too many to compare in {_BOOKS_S:.0f} s", then)
    except (MercatoError, Refused, WrongSetting, OSError, sqlite3.Error) as error:
        return warning("books", f"not compared: {error}", then)
    told = f"{report.orders} orders and {report.payments} payments"
    if report.balanced:
        return ok("books", f"{told} balance")
    return problem("books", f"{told} differ in {len(report.differences)} places", then)


async def _told_by_services(found: Settings) -> Report:
    async with asyncio.timeout(_BOOKS_S):
        return await of_running_services(found)


async def _reconciled(found: Settings) -> Report:
    platform = Embedded(found, serves=False)
    try:
        async with asyncio.timeout(_BOOKS_S):
            return await reconcile(platform)
    finally:
        await platform.process.close()
