"""`mercato reconcile`."""

import sys

from mercato.cli.common import print_json, with_platform
from mercato.cli.progress import progress
from mercato.runtime.embedded import Embedded
from mercato.runtime.reconcile.report import Report, reconcile


def run(*, data: str | None, json: bool) -> None:
    """Compare the books; exit 1 where they differ."""

    async def work(platform: Embedded) -> Report:
        with progress() as told:
            return await reconcile(platform, told)

    report = with_platform(data, work)
    if json:
        print_json(report)
    else:
        tell(report)
    if not report.balanced:
        sys.exit(1)


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
