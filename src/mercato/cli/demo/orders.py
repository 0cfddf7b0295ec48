"""Taking the demo's orders to where they are to be, from wherever they are.

What is there already is left alone: an order that was moved on, cancelled or paid by somebody else stays
as it is, and one that an earlier run left half-way goes on.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from mercato.cli.common import Refused
from mercato.cli.demo.api import Answer, Api
from mercato.cli.demo.fates import PATH, Attempt
from mercato.cli.demo.plan import Person, PlannedOrder
from mercato.kernel.money import to_decimal

_SETTLED_S = 30.0
_LOOK_S = 0.01
_LOOK_MOST_S = 0.25
_CANCELLABLE = frozenset({"pending", "confirmed", "processing"})

Seen = Mapping[str, Any]
"""An object as the API shows it."""

Holds = Callable[[Seen], bool]

SignIn = Callable[[Person], Awaitable[str]]
"""Returns a customer's token."""


class Desk:
    """Works on the orders of one store, as its customers and its admin."""

    def __init__(self, api: Api, store: str, currency: str, *, admin: str, sign_in: SignIn) -> None:
        self._api = api
        self._store = store
        self._currency = currency
        self._admin = admin
        self._sign_in = sign_in
        self.made = 0
        """How many orders were placed."""
        self.left_out: list[str] = []
        """Why an order could not be placed, a sentence each."""

    async def settle(self, wanted: PlannedOrder, order: Seen | None, payments: Sequence[Seen]) -> None:
        """Place an order unless it is there, and take it to where it is to be.

        `payments` are the order's, oldest first. Raises Refused.
        """
        order = order or await self._place(wanted)
        if order is None:
            return
        paid = await self._pay(wanted, order, list(payments))
        if paid is not None and order["status"] == "pending":
            order = await self._while(_is("pending"), f"/orders/{order['id']}")
        for status in PATH[1 : _rank(wanted.fate.status) + 1]:
            order = await self._move(order, status)
        if wanted.fate.cancelled_by is not None:
            await self._cancel(wanted, order, paid)
        if paid is not None and wanted.fate.refunds is not None:
            await self._refund(wanted, paid)

    async def _place(self, wanted: PlannedOrder) -> Seen | None:
        """Place an order and return it; None if there is not enough stock, or it was deleted."""
        token = await self._sign_in(wanted.customer)
        body = {
            "name": wanted.name,
            "items": [{"product_id": sku, "quantity": quantity} for sku, quantity in wanted.lines],
            "shipping_address": wanted.customer.address,
            "notes": wanted.notes,
        }
        answer = await self._call("POST", "/orders", body, token=token, once=f"order {wanted.name}")
        if answer.status == 409 and answer.code == "OUT_OF_STOCK":
            self.left_out.append(f"{self._store}: order {wanted.name} is left out: {answer.message}")
            return None
        if answer.status != 201:
            raise Refused(f"The order {wanted.name} was answered {answer.status}: {answer.message}")
        if not answer.replayed:
            self.made += 1
            placed: Seen = answer.data
            return placed
        # What it was told then may be long past.
        now = await self._call("GET", f"/orders/{answer.data['id']}", token=self._admin)
        return now.data if now.status == 200 else None

    async def _pay(self, wanted: PlannedOrder, order: Seen, payments: list[Any]) -> Seen | None:
        """Make the payments that are missing; return the one that succeeded, if one did."""
        payment: Seen | None = None
        for number, attempt in enumerate(wanted.fate.attempts):
            if number < len(payments):
                payment = payments[number]
            elif order["status"] == "pending":
                payment = await self._open(wanted, order, number, attempt)
            else:
                return payment
            if payment is None:
                return None
            if attempt.by is not None and _is_open(payment):
                payment = await self._process(wanted, payment, attempt)
        captured = payment is not None and payment["paid_at"] is not None
        return payment if captured else None

    async def _open(self, wanted: PlannedOrder, order: Seen, number: int, attempt: Attempt) -> Seen | None:
        """Open a payment; None where there can be none any more."""
        token = await self._sign_in(wanted.customer)
        body = {"order_id": order["id"], "method": attempt.method, "token": attempt.token}
        answer = await self._call("POST", "/payments", body, token=token, once=f"payment {number}")
        if answer.status == 409:
            # Somebody was faster, or the time to pay has run out: nothing of ours is missing.
            return None
        if answer.status != 201:
            raise Refused(f"Paying {wanted.name} was answered {answer.status}: {answer.message}")
        opened: Seen = answer.data
        return opened

    async def _process(self, wanted: PlannedOrder, payment: Seen, attempt: Attempt) -> Seen:
        by_admin = attempt.by == "admin"
        token = self._admin if by_admin else await self._sign_in(wanted.customer)
        path = f"/payments/{payment['id']}"
        await self._call("POST", f"{path}/process", token=token, once="process")
        return await self._while(_is_open, path)

    async def _move(self, order: Seen, status: str) -> Seen:
        """Move an order on, unless it is there or beyond, or cancelled."""
        if order["status"] == "cancelled" or _rank(order["status"]) >= _rank(status):
            return order
        path = f"/orders/{order['id']}"
        answer = await self._call("PATCH", f"{path}/status", {"status": status}, token=self._admin)
        if answer.status == 409:
            # Somebody else moves it too: what it has come to counts.
            answer = await self._call("GET", path, token=self._admin)
        if answer.status >= 300:
            raise Refused(f"The order {order['name']} cannot be {status}: {answer.message}")
        moved: Seen = answer.data
        return moved

    async def _cancel(self, wanted: PlannedOrder, order: Seen, paid: Seen | None) -> None:
        """Cancel an order, and wait until its money has gone back or its payment is given up."""
        if order["status"] in _CANCELLABLE:
            by_customer = wanted.fate.cancelled_by == "customer"
            token = await self._sign_in(wanted.customer) if by_customer else self._admin
            body = {"reason": wanted.reason}
            path = f"/orders/{order['id']}/cancel"
            answer = await self._call("POST", path, body, token=token, once="cancel")
            if answer.status != 200:
                return
        elif order["status"] != "cancelled":
            return
        if paid is not None:
            await self._while(_is("success"), f"/payments/{paid['id']}")
        elif wanted.fate.attempts:
            await self._while(_is_open, f"/payments/order/{order['id']}")

    async def _refund(self, wanted: PlannedOrder, paid: Seen) -> None:
        """Give money back, unless some has been given back already."""
        path = f"/payments/{paid['id']}"
        if not paid["refunds"]:
            whole = wanted.refund is None
            amount = None if whole else float(to_decimal(wanted.refund or 0, self._currency))
            body = {"amount": amount, "reason": wanted.reason}
            await self._call("POST", f"{path}/refund", body, token=self._admin, once="refund")
        await self._while(_gives_back, path)

    async def _while(self, passing: Holds, path: str) -> Seen:
        """Get an object until what is passing is over. Raises Refused if it lasts."""
        deadline = time.monotonic() + _SETTLED_S
        pause = _LOOK_S
        while True:
            found: Seen = await self._need(path)
            if not passing(found):
                return found
            if time.monotonic() > deadline:
                raise Refused(
                    f"{path} of the store {self._store} is {found['status']} after {_SETTLED_S:.0f} s;"
                    " `mercato doctor` may say why. Run the demo again, and it goes on where it was."
                )
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LOOK_MOST_S)

    async def _call(self, method: str, path: str, body: object = None, **options: Any) -> Answer:  # noqa: ANN401
        return await self._api.call(method, f"/api/v1{path}", body, store=self._store, **options)

    async def _need(self, path: str) -> Any:  # noqa: ANN401  the API's object
        return await self._api.need("GET", f"/api/v1{path}", store=self._store, token=self._admin)


def _is(status: str) -> Holds:
    return lambda found: found["status"] == status


def _is_open(payment: Seen) -> bool:
    return payment["status"] in {"pending", "processing"}


def _gives_back(payment: Seen) -> bool:
    return any(refund["status"] == "pending" for refund in payment["refunds"])


def _rank(status: str) -> int:
    """Return how far along an order is; cancelled ones are nowhere on the way."""
    return PATH.index(status) if status in PATH else 0
