"""`mercato reconcile`."""

import asyncio
import sys

from mercato.cli.common import Refused, print_json, settings, with_platform
from mercato.cli.progress import progress
from mercato.clients.books import books_of
from mercato.runtime.apart import SERVICES, Neighbours, cluster_secret
from mercato.runtime.embedded import Embedded
from mercato.runtime.reconcile.report import Report, reconcile, reconcile_services
from mercato.runtime.settings import Settings


def run(*, data: str | None, json: bool, services: bool) -> None:
    """Compare the books; exit 1 where they differ. Those of `services` are asked for over HTTP."""

    async def work(platform: Embedded) -> Report:
        with progress() as told:
            return await reconcile(platform, told)

    report = asyncio.run(of_running_services(settings(data=data))) if services else with_platform(data, work)
    if json:
        print_json(report)
    else:
        tell(report)
    if not report.balanced:
        sys.exit(1)


async def of_running_services(found: Settings) -> Report:
    """Ask the services at their addresses. Raises Refused without the cluster's secret, Unavailable."""
    secret = cluster_secret(found)
    if secret is None:
        raise Refused("MERCATO_CLUSTER_SECRET is not set, which the services know this command by.")
    neighbours = Neighbours("cli", found, secret)
    try:
        return await reconcile_services([books_of(neighbours[name]) for name in SERVICES])
    finally:
        await neighbours.close()


def tell(report: Report) -> None:
    """Print what was found."""
    print(
        f"{report.stores} stores, {report.orders} orders, {report.payments} payments,"
        f" {report.charges} entries in the provider's book, {report.products} products;"
        f" {report.open} in flight."
    )
    for found in report.differences:
        print(f"  {found.tenant_id or '-'}: {found.subject} {found.problem}")
    print("The books balance." if report.balanced else f"{len(report.differences)} differences.")
