"""Lists of products: which are wanted, and where in a list one stands."""

import hashlib
from decimal import Decimal
from typing import Annotated

import msgspec

from mercato.contracts.product_reading import Product
from mercato.contracts.reading import Listed
from mercato.kernel.errors import FieldError, ValidationFailed
from mercato.kernel.ids import ProductId, is_id
from mercato.kernel.money import to_minor
from mercato.kernel.paging import Window
from mercato.kernel.tenancy import TenantId
from mercato.products import ports
from mercato.products.ports import After, Order, Part, ProductFilter, ProductLists
from mercato.products.service.catalogue import Currencies

MAX_SEARCH, MAX_CATEGORY, MAX_SKU = 200, 100, 64
"""Characters of what a list is asked for by."""
_BIGGEST = 2**63 - 1
_encode = msgspec.json.Encoder().encode


class _Cursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where the next page begins, and of which list: sort and filter make it another."""

    of: str
    key: Annotated[int, msgspec.Meta(ge=0, le=_BIGGEST)] | str | None
    id: str


_cursor = msgspec.json.Decoder(_Cursor)


class Lists:
    """Reads parts of lists."""

    def __init__(self, listed: ProductLists, currencies: Currencies) -> None:
        self._listed = listed
        self._currencies = currencies

    async def page(
        self, tenant: TenantId, wanted: ProductFilter, order: Order, seen: Window
    ) -> Listed[Product]:
        """Return a part of a list. Raises ValidationFailed for a cursor that is none, or of another list."""
        of = _fingerprint(wanted, order)
        part = Part(seen.limit, seen.offset, None if seen.after is None else _after(seen.after, of))
        found = await self._listed.page(tenant, wanted, order, part)
        total = await self._listed.count(tenant, wanted) if seen.counted else None
        shown = found[: seen.limit]
        return Listed(
            tuple(each.product for each in shown),
            total,
            has_more=len(found) > seen.limit,
            end=_text(shown[-1], of) if shown else None,
        )

    async def prices(
        self, tenant: TenantId, least: Decimal | None, most: Decimal | None
    ) -> tuple[int | None, int | None]:
        """Return a range of prices in minor units. Raises ValidationFailed naming every bad one."""
        if least is None and most is None:
            return None, None
        currency = await self._currencies.of(tenant)
        prices: dict[str, int | None] = {}
        problems: list[FieldError] = []
        for name, given in (("min_price", least), ("max_price", most)):
            try:
                prices[name] = None if given is None else to_minor(given, currency, field=name)
            except ValidationFailed as refused:
                problems.extend(refused.details)
        if problems:
            raise ValidationFailed.of(*problems)
        low, high = prices["min_price"], prices["max_price"]
        if low is not None and high is not None and low > high:
            raise ValidationFailed.field("min_price", "must not be above max_price")
        return low, high


def _fingerprint(wanted: ProductFilter, order: Order) -> str:
    """Return what tells a list from others; it guards nothing, but mistakes."""
    return hashlib.blake2b(_encode((wanted, order)), digest_size=6).hexdigest()


def _text(last: ports.Listed, of: str) -> str:
    return _encode(_Cursor(of, last.key, last.product.id)).decode()


def _after(text: str, of: str) -> After:
    try:
        found = _cursor.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        found = None
    if found is None or not is_id(found.id):
        raise ValidationFailed.field("after", "must be a next_cursor from an earlier page")
    if found.of != of:
        raise ValidationFailed.field("after", "must be used with the sort and filters of the page it is from")
    return After(found.key, ProductId(found.id))
