"""`mercato demo`: makes the stores, and tells what is there and how to sign in."""

import asyncio
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from mercato.cli.common import print_json
from mercato.cli.demo.api import Api
from mercato.cli.demo.plan import ADMIN_PASSWORD, CUSTOMER_PASSWORD, draw
from mercato.cli.demo.stores import MadeStore, StoreMaker
from mercato.cli.progress import Told, progress

Say = Callable[[str], None]


def run(url: str, *, seed: int, json: bool = False) -> None:
    """Make what is missing of the demo, telling each step. Raises Refused.

    Exits 1 if some orders could not be made.
    """
    began = time.monotonic()
    say = _silent if json else _say
    with progress() as told:
        made, mailbox = asyncio.run(_make(url, seed, told, say))
    if json:
        print_json(_report(url, seed, made, mailbox))
    else:
        _tell(url.rstrip("/"), made, mailbox, time.monotonic() - began)
    left_out = [why for store in made for why in store.left_out]
    for why in left_out:
        print(f"mercato: {why}", file=sys.stderr)
    if left_out:
        sys.exit(1)


async def _make(url: str, seed: int, told: Told, say: Say) -> tuple[list[MadeStore], str | None]:
    api = Api(url)
    made = []
    try:
        for plan in draw(seed):
            store = await StoreMaker(api, plan, partial(_of, told, plan.id)).make()
            made.append(store)
            say(_step(store))
        return made, await _mailbox(api)
    finally:
        api.close()


def _of(told: Told, store: str, what: str, done: int, total: int) -> None:
    told(f"{store}: {what}", done, total)


async def _mailbox(api: Api) -> str | None:
    """Return where the mails can be read; None where there are none."""
    for path in ("/mailbox", "/api/v1/notifications"):
        if await api.offers(path):
            return api.url + path
    return None


def _step(store: MadeStore) -> str:
    """Say what a run has made of a store."""
    news = {
        "the store": store.opened,
        f"{store.new_products} products": store.new_products,
        f"{store.new_people} people": store.new_people,
        f"{store.new_orders} orders": store.new_orders,
    }
    made = ", ".join(what for what, count in news.items() if count)
    return f"  ✓ {store.plan.id}: {f'made {made}' if made else 'everything is there already'}"


def _tell(url: str, made: list[MadeStore], mailbox: str | None, seconds: float) -> None:
    _say(f"\nThe demo is ready, after {seconds:.1f} s.")
    _say(f"  API        {url}/api/v1   (to read and try: {url}/docs)")
    _say(f"  health     {url}/health")
    if mailbox is not None:
        _say(f"  mailbox    {mailbox}   (for the stores' admins)")
    for store in made:
        _tell_store(store)
    first = made[0].plan
    shopper = f'{{"email": "{first.customers[0].email}", "password": "{CUSTOMER_PASSWORD}"}}'
    _say("\nTry:")
    _say(f"  curl '{url}/api/v1/products?search=lamp&sort=price' -H 'X-Tenant-Id: {first.id}'")
    _say(f"  curl {url}/api/v1/users/login -H 'X-Tenant-Id: {first.id}' \\")
    _say(f"       -H 'Content-Type: application/json' -d '{shopper}'")


def _tell_store(store: MadeStore) -> None:
    plan = store.plan
    _say(f"\n{plan.name}, in {plan.currency}   (X-Tenant-Id: {plan.id} where there is no token)")
    _say(f"  there are  {store.products} products, {store.customers} customers{_emails(store)}")
    _say(f"  orders     {_counts(store.orders)}")
    _say(f"  payments   {_counts(store.payments)}")
    for admin in plan.admins:
        _say(f"  admin      {admin.email:<32} {ADMIN_PASSWORD}")
    _say(f"  customer   {plan.customers[0].email:<32} {CUSTOMER_PASSWORD}   (as all customers)")
    _say(f"  machine    {store.machine.client_id}")
    _say(f"             {store.machine.client_secret or 'its secret was told by the run that made it'}")


def _emails(store: MadeStore) -> str:
    return "" if store.emails is None else f", {store.emails} mails so far"


def _counts(by_status: dict[str, int]) -> str:
    return ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in by_status.items())


def _report(url: str, seed: int, made: list[MadeStore], mailbox: str | None) -> dict[str, Any]:
    base = url.rstrip("/")
    urls = {"api": f"{base}/api/v1", "docs": f"{base}/docs", "health": f"{base}/health", "mails": mailbox}
    return {"seed": seed, "urls": urls, "stores": [_store_report(store) for store in made]}


def _store_report(store: MadeStore) -> dict[str, Any]:
    plan = store.plan
    return {
        "id": plan.id,
        "name": plan.name,
        "currency": plan.currency,
        "made": {
            "store": store.opened,
            "products": store.new_products,
            "people": store.new_people,
            "orders": store.new_orders,
        },
        "left_out": store.left_out,
        "products": store.products,
        "customers": store.customers,
        "orders": store.orders,
        "payments": store.payments,
        "mails": store.emails,
        "logins": {
            "admins": [{"email": each.email, "password": each.password} for each in plan.admins],
            "customers": [{"email": each.email, "password": each.password} for each in plan.customers],
            "machine": store.machine,
        },
    }


def _say(line: str) -> None:
    print(line, flush=True)


def _silent(_line: str) -> None:
    """Only the end is told."""
