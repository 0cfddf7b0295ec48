"""The rules of products, their stock, and the holds that orders have on it.

`available = on_hand - reserved` is never below zero. Every change of either is a movement, so
a product's movements always add up to its stock.
"""

import enum
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from mercato.contracts import product_reading
from mercato.contracts.events import Events
from mercato.contracts.products import (
    InventoryUpdated,
    OutOfStock,
    PriceChanged,
    PricedLine,
    ProductCreated,
    ProductDeleted,
    ProductEvent,
    ProductUpdated,
    StockReleased,
    StockReserved,
    StockTaken,
    WantedLine,
)
from mercato.kernel.errors import Conflict, FieldError, ValidationFailed
from mercato.kernel.ids import OrderId, ProductId, is_id
from mercato.kernel.money import check_total, to_decimal, to_minor
from mercato.kernel.tenancy import TenantId

MAX_QUANTITY = 10**9
SKU_PATTERN = r"^[A-Za-z0-9._-]{1,64}\Z"
SKU_WORDS = "1 to 64 letters, digits, dots, dashes or underscores, and no id"
_sku = re.compile(SKU_PATTERN).fullmatch

ProductEventT = TypeVar("ProductEventT", bound=ProductEvent)


class DuplicateSku(Conflict):
    """Another product of the store has this SKU."""

    code = "DUPLICATE_SKU"


class StockIsReserved(Conflict):
    """There cannot be less on hand than is reserved for orders."""


class NotSoMany(Conflict):
    """An adjustment would leave less than nothing available, or more on hand than can be counted."""


class ReservationOver(Conflict):
    """The order's stock was given back; nothing can be reserved for it any more."""


class Product(product_reading.Product, frozen=True):
    """A product of a store."""


class NewProduct(msgspec.Struct, frozen=True):
    """A product as somebody describes it. `price` is in major units, `stock` what there is of it."""

    sku: str
    name: str
    price: Decimal
    description: str | None = None
    category: str | None = None
    stock: int = 0


class ProductChange(msgspec.Struct, frozen=True):
    """What is to be different of a product; what is unset stays. `price` is in major units."""

    sku: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    price: Decimal | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    category: str | UnsetType | None = UNSET


class MovementKind(enum.StrEnum):
    """Why stock changed."""

    OPENING = "opening"
    COUNT = "count"
    ADJUST = "adjust"
    RESERVE = "reserve"
    TAKE = "take"
    RELEASE = "release"
    RETURN = "return"


class Movement(msgspec.Struct, frozen=True):
    """One change of a product's stock, by differences."""

    product_id: ProductId
    kind: MovementKind
    on_hand: int = 0
    reserved: int = 0
    order_id: OrderId | None = None
    reason: str | None = None


class Inventory(product_reading.Inventory, frozen=True):
    """What there is of a product, and what of it is held for orders."""


def create_product(
    draft: NewProduct, *, product_id: ProductId, tenant: TenantId, currency: str, at: datetime
) -> tuple[Product, tuple[Movement, ...], Events]:
    """Return the product and its opening stock. Raises ValidationFailed naming every bad field."""
    price = _check(draft.sku, draft.price, currency)
    product = Product(
        id=product_id,
        tenant_id=tenant,
        sku=draft.sku,
        name=draft.name,
        description=draft.description or None,
        price=price,
        currency=currency,
        category=draft.category,
        in_stock=draft.stock > 0,
        created_at=at,
        updated_at=at,
        version=1,
    )
    opening = (Movement(product_id, MovementKind.OPENING, on_hand=draft.stock),) if draft.stock else ()
    return product, opening, (_event(ProductCreated, product),)


def update_product(product: Product, change: ProductChange, *, at: datetime) -> tuple[Product, Events]:
    """Change a product; what is as it was is no change. Raises ValidationFailed naming every field."""
    price = to_decimal(product.price, product.currency) if change.price is UNSET else change.price
    sku = product.sku if change.sku is UNSET else change.sku
    wanted = msgspec.structs.replace(
        product,
        sku=sku,
        name=product.name if change.name is UNSET else change.name,
        price=_check(sku, price, product.currency),
        description=product.description if change.description is UNSET else change.description or None,
        category=product.category if change.category is UNSET else change.category,
    )
    if wanted == product:
        return product, ()
    updated = msgspec.structs.replace(wanted, updated_at=at, version=product.version + 1)
    return updated, (_event(ProductUpdated, updated),)


def delete_product(product: Product, *, at: datetime) -> tuple[Product, Events]:
    """Take a product out of the catalogue. What is on hand of it stays on the books."""
    deleted = msgspec.structs.replace(product, updated_at=at, version=product.version + 1)
    return deleted, (_event(ProductDeleted, deleted),)


def _check(sku: str, price: Decimal, currency: str) -> int:
    """Return the price in minor units. Raises ValidationFailed naming every bad field."""
    problems: list[FieldError] = []
    minor = 0
    # An order line names a product by id or SKU, so the two must be told apart.
    if not _sku(sku) or is_id(sku.lower()):
        problems.append(FieldError("sku", f"must be {SKU_WORDS}"))
    try:
        minor = to_minor(price, currency, field="price")
    except ValidationFailed as refused:
        problems.extend(refused.details)
    if problems:
        raise ValidationFailed.of(*problems)
    return minor


def _event(kind: type[ProductEventT], product: Product) -> ProductEventT:
    return kind(
        tenant_id=product.tenant_id,
        product_id=product.id,
        sku=product.sku,
        name=product.name,
        price=product.price,
        currency=product.currency,
        category=product.category,
    )


def count(
    inventory: Inventory, on_hand: int, location: str | None, *, tenant: TenantId, at: datetime
) -> tuple[Inventory, tuple[Movement, ...], Events]:
    """Set what is on hand, and where if `location` says so.

    Raises StockIsReserved if orders hold more than that.
    """
    if on_hand < inventory.reserved:
        raise StockIsReserved(
            f"{inventory.reserved} are reserved for orders; stock_quantity cannot be below that."
        )
    counted = msgspec.structs.replace(
        inventory,
        on_hand=on_hand,
        warehouse_location=inventory.warehouse_location if location is None else location,
        updated_at=at,
        version=inventory.version + 1,
    )
    change = on_hand - inventory.on_hand
    movements = (Movement(inventory.product_id, MovementKind.COUNT, on_hand=change),) if change else ()
    return counted, movements, (_counted(counted, tenant),)


def adjust(
    inventory: Inventory, delta: int, reason: str, *, tenant: TenantId, at: datetime
) -> tuple[Inventory, tuple[Movement, ...], Events]:
    """Change what is on hand by `delta`, which is not 0.

    Raises NotSoMany if less than nothing would be available, or more on hand than MAX_QUANTITY.
    """
    if not delta:
        raise ValidationFailed.field("delta", "must not be 0")
    if inventory.available + delta < 0:
        raise NotSoMany(f"Only {inventory.available} are available; no more can be taken away.")
    if inventory.on_hand + delta > MAX_QUANTITY:
        raise NotSoMany(f"{inventory.on_hand} are on hand; there cannot be more than {MAX_QUANTITY}.")
    adjusted = msgspec.structs.replace(
        inventory, on_hand=inventory.on_hand + delta, updated_at=at, version=inventory.version + 1
    )
    movement = Movement(inventory.product_id, MovementKind.ADJUST, on_hand=delta, reason=reason)
    return adjusted, (movement,), (_counted(adjusted, tenant),)


def _counted(inventory: Inventory, tenant: TenantId) -> InventoryUpdated:
    return InventoryUpdated(
        tenant_id=tenant,
        product_id=inventory.product_id,
        on_hand=inventory.on_hand,
        reserved=inventory.reserved,
    )


class HoldState(enum.StrEnum):
    """What became of an order's stock."""

    HELD = "held"
    TAKEN = "taken"
    RELEASED = "released"


class Hold(msgspec.Struct, frozen=True):
    """An order's stock. Released is final: it also keeps a dead order from reserving late.

    From `next_check_at` on, orders is asked whether it still knows of a hold.
    """

    tenant_id: TenantId
    order_id: OrderId
    state: HoldState
    currency: str
    lines: tuple[PricedLine, ...]
    expires_at: datetime
    next_check_at: datetime


class Outcome(msgspec.Struct, frozen=True):
    """What a step does to an order's hold; without a hold there is to be none any more."""

    hold: Hold | None
    movements: tuple[Movement, ...] = ()
    events: Events = ()


class Short(msgspec.Struct, frozen=True):
    """A product of which too little is available."""

    product_id: ProductId
    sku: str
    available: int

    def __str__(self) -> str:
        return f"only {self.available} available of {self.sku}"


def price_lines(
    wanted: Sequence[WantedLine], found: Mapping[str, Product], currency: str | None
) -> tuple[str, tuple[PricedLine, ...]]:
    """Return the store's currency, and the lines as the catalogue has them, one per product.

    `found` is by what the lines call their products. Raises ValidationFailed for unknown
    products, impossible quantities and another currency, PriceChanged where another price was
    expected; each names all the lines it is about.
    """
    problems: list[FieldError] = []
    changed: list[FieldError] = []
    lines: dict[ProductId, PricedLine] = {}
    for index, want in enumerate(wanted):
        product = found.get(want.product)
        if product is None:
            problems.append(FieldError(f"items[{index}].product_id", "is not a product of this store"))
            continue
        if not 1 <= want.quantity <= MAX_QUANTITY:
            problems.append(FieldError(f"items[{index}].quantity", f"must be 1 to {MAX_QUANTITY}"))
        price = to_decimal(product.price, product.currency)
        if want.expected_price is not None and want.expected_price != price:
            changed.append(FieldError(f"items[{index}].unit_price", f"the price is {price}"))
        before = lines.get(product.id)
        quantity = want.quantity + (0 if before is None else before.quantity)
        lines[product.id] = PricedLine(product.id, product.sku, product.name, quantity, product.price)
    if not wanted:
        problems.append(FieldError("items", "must not be empty"))
    own = next((product.currency for product in found.values()), "")
    if currency is not None and own and currency != own:
        problems.append(FieldError("currency", f"must be {own}, the store's currency"))
    if problems:
        raise ValidationFailed.of(*problems)
    if changed:
        raise PriceChanged("Prices have changed.", changed)
    check_total(sum(line.unit_price * line.quantity for line in lines.values()), own, field="items")
    return own, tuple(lines.values())


def out_of_stock(short: Sequence[Short], wanted: Sequence[WantedLine]) -> OutOfStock:
    """Build the refusal that names each wanted line there is too little for."""
    details = [
        FieldError(f"items[{index}].quantity", str(each))
        for index, want in enumerate(wanted)
        for each in short
        if want.product in {each.product_id, each.sku}
    ]
    return OutOfStock(f"Not enough in stock: {', '.join(map(str, short))}.", details)


def reserve(hold: Hold) -> Outcome:
    """Hold the lines' stock. They move in product order, so two orders never wait for each other."""
    movements = tuple(
        Movement(line.product_id, MovementKind.RESERVE, reserved=line.quantity, order_id=hold.order_id)
        for line in sorted(hold.lines, key=lambda line: line.product_id)
    )
    return Outcome(hold, movements, (reserved(hold),))


def reserved(hold: Hold) -> StockReserved:
    """Return the event that says that the order has its stock."""
    return StockReserved(tenant_id=hold.tenant_id, order_id=hold.order_id, expires_at=hold.expires_at)


def reserve_again(hold: Hold, *, check_after: datetime) -> Outcome:
    """Answer a repeated reservation: it is what it was. Raises ReservationOver if it was released.

    Whoever repeats it is about to write its order: orders is not asked before `check_after`.
    """
    if hold.state is HoldState.RELEASED:
        raise ReservationOver("The order's stock has been given back.")
    if hold.state is HoldState.HELD and hold.next_check_at < check_after:
        return Outcome(msgspec.structs.replace(hold, next_check_at=check_after))
    return Outcome(hold)


def take(hold: Hold | None) -> Outcome:
    """Let paid stock leave the shelf. Only what is held can be taken; else nothing changes."""
    if hold is None or hold.state is not HoldState.HELD:
        return Outcome(hold)
    taken = StockTaken(tenant_id=hold.tenant_id, order_id=hold.order_id)
    return Outcome(
        msgspec.structs.replace(hold, state=HoldState.TAKEN),
        _move(hold, MovementKind.TAKE, on_hand=-1, reserved=-1),
        (taken,),
    )


def release(hold: Hold | None, reason: str | None = None) -> Outcome:
    """Give stock back: from the hold, or to the shelf if it was taken. Then nothing changes it."""
    if hold is None or hold.state is HoldState.RELEASED:
        return Outcome(hold)
    if hold.state is HoldState.HELD:
        movements = _move(hold, MovementKind.RELEASE, reserved=-1, reason=reason)
    else:
        movements = _move(hold, MovementKind.RETURN, on_hand=1, reason=reason)
    given_back = StockReleased(tenant_id=hold.tenant_id, order_id=hold.order_id)
    return Outcome(msgspec.structs.replace(hold, state=HoldState.RELEASED), movements, (given_back,))


def tombstone(tenant: TenantId, order_id: OrderId, currency: str, *, at: datetime) -> Hold:
    """Return the mark of an order that died before it held anything."""
    return Hold(tenant, order_id, HoldState.RELEASED, currency, (), at, at)


def check_later(hold: Hold, after: timedelta, *, at: datetime) -> Outcome:
    """Keep a hold whose order still stands."""
    return Outcome(msgspec.structs.replace(hold, next_check_at=at + after))


def _move(
    hold: Hold, kind: MovementKind, *, on_hand: int = 0, reserved: int = 0, reason: str | None = None
) -> tuple[Movement, ...]:
    """Move every line's quantity: into (1), out of (-1) or neither."""
    return tuple(
        Movement(
            line.product_id, kind, on_hand * line.quantity, reserved * line.quantity, hold.order_id, reason
        )
        for line in sorted(hold.lines, key=lambda line: line.product_id)
    )
