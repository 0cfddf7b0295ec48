"""Whether the books balance, as far as can be seen in a moment."""

import asyncio
import sqlite3

from mercato.cli.doctor.findings import Finding, ok, problem, warning
from mercato.kernel.errors import MercatoError
from mercato.runtime.embedded import Embedded
from mercato.runtime.reconcile.report import Report, reconcile
from mercato.runtime.settings import Settings, WrongSetting

_BOOKS_S = 20.0


def books(found: Settings) -> Finding:
    """Reconcile, unless that takes long."""
    try:
        report = asyncio.run(_reconciled(found))
    except TimeoutError:
        return ok("books", f"too many to compare in {_BOOKS_S:.0f} s", "mercato reconcile")
    except (MercatoError, WrongSetting, OSError, sqlite3.Error) as error:
        return warning("books", f"not compared: {error}", "mercato reconcile")
    told = f"{report.orders} orders and {report.payments} payments"
    if report.balanced:
        return ok("books", f"{told} balance")
    return problem("books", f"{told} differ in {len(report.differences)} places", "mercato reconcile")


async def _reconciled(found: Settings) -> Report:
    platform = Embedded(found)
    try:
        async with asyncio.timeout(_BOOKS_S):
            return await reconcile(platform)
    finally:
        await platform.process.close()
