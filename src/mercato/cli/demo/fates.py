"""What becomes of an order: every state that an order and its payments can be in, and how often."""

from typing import Literal, NamedTuple

Status = Literal["pending", "confirmed", "processing", "shipped", "delivered", "cancelled"]
PATH: tuple[Status, ...] = ("pending", "confirmed", "processing", "shipped", "delivered")
"""The way of an order that is not cancelled."""


class Attempt(NamedTuple):
    """One payment: by whom it is carried out, None if it is left open, and whether it succeeds."""

    method: Literal["card", "e_wallet", "bank_transfer", "cash"]
    token: str | None
    by: Literal["customer", "admin"] | None
    succeeds: bool


class Fate(NamedTuple):
    """How an order goes on. `share` is how many of a store do, and `age` sorts them: old ones are done."""

    share: int
    age: int
    status: Status
    attempts: tuple[Attempt, ...] = ()
    cancelled_by: Literal["customer", "admin"] | None = None
    refunds: Literal["part", "all"] | None = None


_CARD = Attempt("card", "tok_visa", "customer", succeeds=True)
_WALLET = Attempt("e_wallet", "tok_visa", "customer", succeeds=True)
_CASH = Attempt("cash", None, "admin", succeeds=True)
_TRANSFER = Attempt("bank_transfer", None, "admin", succeeds=True)
_AWAITED = Attempt("bank_transfer", None, None, succeeds=False)
_DECLINED = Attempt("card", "tok_declined", "customer", succeeds=False)
_TOO_LITTLE = Attempt("e_wallet", "tok_insufficient_funds", "customer", succeeds=False)

FATES = (
    Fate(2, 0, "pending"),
    Fate(2, 0, "pending", (_AWAITED,)),
    Fate(1, 0, "pending", (_DECLINED,)),
    Fate(1, 0, "pending", (_TOO_LITTLE,)),
    Fate(3, 1, "confirmed", (_CARD,)),
    Fate(2, 1, "confirmed", (_DECLINED, _CARD)),
    Fate(1, 1, "confirmed", (_CASH,)),
    Fate(3, 2, "processing", (_CARD,)),
    Fate(1, 2, "processing", (_TRANSFER,)),
    Fate(5, 3, "shipped", (_CARD,)),
    Fate(1, 3, "shipped", (_TOO_LITTLE, _WALLET)),
    Fate(12, 4, "delivered", (_CARD,)),
    Fate(4, 4, "delivered", (_WALLET,)),
    Fate(2, 4, "delivered", (_CASH,)),
    Fate(3, 4, "delivered", (_CARD,), refunds="part"),
    Fate(2, 4, "delivered", (_CARD,), refunds="all"),
    Fate(2, 2, "cancelled", cancelled_by="customer"),
    Fate(1, 1, "cancelled", (_AWAITED,), cancelled_by="customer"),
    Fate(2, 3, "cancelled", (_CARD,), cancelled_by="admin"),
)
