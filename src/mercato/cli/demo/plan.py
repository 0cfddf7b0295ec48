"""What the demo is to look like: drawn from a seed, before anything is asked of a platform.

The same seed draws the same catalogue, people, orders and amounts, whatever their ids will be. Amounts are in
minor units of the store's currency.
"""

import random
import unicodedata
from collections.abc import Sequence

import msgspec

from mercato.cli.demo import goods, people
from mercato.cli.demo.fates import FATES, Fate
from mercato.kernel import money
from mercato.kernel.redaction import discreet

DEFAULT_SEED = 1
PER_CATEGORY = 28
CUSTOMERS = 15
ADMIN_PASSWORD = "demo-admin-password"  # noqa: S105  a sample's, printed for everybody
CUSTOMER_PASSWORD = "demo-shopper-password"  # noqa: S105  the same
_FIRST_ORDER = 1001
_ENDINGS = (0, 0, 50, 90, 95)
_JITTER = 1.2


class PlannedProduct(msgspec.Struct, frozen=True):
    """A product, with what is on hand at first."""

    sku: str
    name: str
    description: str
    category: str
    price: int
    stock: int


class Person(msgspec.Struct, frozen=True):
    """Somebody with a login."""

    email: str
    password: str
    first_name: str
    last_name: str
    address: str

    __repr__ = discreet


class PlannedOrder(msgspec.Struct, frozen=True):
    """An order, and what becomes of it. `name` is how it is found again."""

    name: str
    customer: Person
    lines: tuple[tuple[str, int], ...]
    """SKUs and quantities."""
    total: int
    fate: Fate
    refund: int | None
    """How much is given back: None is all of it."""
    notes: str | None
    reason: str
    """Why it is cancelled, or its money given back."""


class PlannedStore(msgspec.Struct, frozen=True):
    """A store and all that is to be in it. The first admin opens it."""

    id: str
    name: str
    currency: str
    admins: tuple[Person, ...]
    customers: tuple[Person, ...]
    products: tuple[PlannedProduct, ...]
    orders: tuple[PlannedOrder, ...]


class _Kind(msgspec.Struct, frozen=True):
    """What a store is drawn from."""

    id: str
    name: str
    currency: str
    shelves: tuple[goods.Shelf, ...]
    region: people.Region
    admins: tuple[tuple[str, str, str], ...]
    shopper: tuple[str, str]


_KINDS = (
    _Kind(
        "demo-shop",
        "Harbour & Home",
        "USD",
        (goods.LIGHTING, goods.KITCHEN, goods.GARDEN, goods.LIVING),
        people.HARBOUR,
        (("admin", "Ada", "Owner"), ("support", "Marcus", "Bell")),
        ("Sam", "Shopper"),
    ),
    _Kind(
        "demo-tea",
        "Komorebi Tea & Paper",
        "JPY",
        (goods.TEA, goods.STATIONERY, goods.TABLEWARE, goods.TEXTILES),
        people.KOMOREBI,
        (("admin", "Michiko", "Arai"), ("support", "Takeshi", "Ono")),
        ("Hana", "Shopper"),
    ),
)


def draw(seed: int = DEFAULT_SEED) -> tuple[PlannedStore, ...]:
    """Return the stores of a seed. Another seed than the default one's has stores with ids of its own."""
    return tuple(_store(kind, seed) for kind in _KINDS)


def _store(kind: _Kind, seed: int) -> PlannedStore:
    dice = random.Random(f"{kind.id}/{seed}")  # noqa: S311  a sample, which guards nothing
    store = kind.id if seed == DEFAULT_SEED else f"{kind.id}-{seed}"
    products = _products(kind, dice)
    customers = _customers(kind, store, dice)
    return PlannedStore(
        id=store,
        name=kind.name,
        currency=kind.currency,
        admins=tuple(
            Person(f"{who}@{store}.example", ADMIN_PASSWORD, first, last, "")
            for who, first, last in kind.admins
        ),
        customers=customers,
        products=products,
        orders=_orders(products, customers, dice),
    )


def _products(kind: _Kind, dice: random.Random) -> tuple[PlannedProduct, ...]:
    found = []
    for shelf in kind.shelves:
        pairs = [(each, make) for make in shelf.makes for each in shelf.kinds]
        # The first of all is the same for every seed: examples name it.
        drawn = [pairs[0], *dice.sample(pairs[1:], PER_CATEGORY - 1)]
        for number, (each, make) in enumerate(drawn, 1):
            sku = f"{shelf.stem}-{number:03}"
            found.append(_product(sku, shelf.category, each, make, kind.currency, dice))
    first = msgspec.structs.replace(found[0], sku="prod-1", stock=120)
    return (first, *found[1:])


def _product(
    sku: str, category: str, kind: goods.Kind, make: goods.Make, currency: str, dice: random.Random
) -> PlannedProduct:
    size = f", {kind.size}" if kind.size else ""
    return PlannedProduct(
        sku=sku,
        name=f"{make.word} {kind.noun}{size}",
        description=f"{kind.use} {make.text}",
        category=category,
        price=_price(dice.randint(kind.low, kind.high), currency, dice),
        stock=_stock(dice),
    )


def _price(whole: int, currency: str, dice: random.Random) -> int:
    """Return a price as shops write them, near a number of whole units."""
    if money.EXPONENTS[currency] == 0:
        return max(whole // 50 * 50, 50)
    return whole * 100 + dice.choice(_ENDINGS)


def _stock(dice: random.Random) -> int:
    """Return how much is there at first: mostly plenty, sometimes hardly any, sometimes nothing."""
    draw = dice.random()
    if draw < 0.07:
        return 0
    return dice.randint(1, 4) if draw < 0.17 else dice.randint(12, 180)


def _customers(kind: _Kind, store: str, dice: random.Random) -> tuple[Person, ...]:
    names = dice.sample([(a, b) for a in kind.region.first for b in kind.region.last], CUSTOMERS - 1)
    named = [(f"shopper@{store}.example", *kind.shopper)]
    named += [(f"{_plain(first)}.{_plain(last)}@example.com", first, last) for first, last in names]
    return tuple(
        Person(email, CUSTOMER_PASSWORD, first, last, _address(kind.region, dice))
        for email, first, last in named
    )


def _plain(name: str) -> str:
    """Return a name as an email address writes it."""
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()


def _address(region: people.Region, dice: random.Random) -> str:
    place = dice.choice(region.places)
    return place.written.format(street=dice.choice(place.streets), number=dice.randint(1, 98))


def _orders(
    products: Sequence[PlannedProduct], customers: Sequence[Person], dice: random.Random
) -> tuple[PlannedOrder, ...]:
    # Old orders have mostly come to their end, new ones have not.
    fates = sorted(
        (fate for fate in FATES for _ in range(fate.share)),
        key=lambda fate: -fate.age + dice.uniform(-_JITTER, _JITTER),
    )
    left = {each.sku: each.stock for each in products}
    orders = []
    for number, fate in enumerate(fates, _FIRST_ORDER):
        lines = _lines(products, left, fate, dice)
        total = sum(product.price * quantity for product, quantity in lines)
        refund = _refund(lines, total) if fate.refunds == "part" else None
        who = customers[0] if number == _FIRST_ORDER else dice.choice(customers)
        orders.append(
            PlannedOrder(
                name=f"#{number}",
                customer=who,
                lines=tuple((product.sku, quantity) for product, quantity in lines),
                total=total,
                fate=fate,
                refund=refund,
                notes=dice.choice(people.NOTES),
                reason=dice.choice(people.REGRETS if fate.cancelled_by == "customer" else people.FAULTS),
            )
        )
    return tuple(orders)


def _lines(
    products: Sequence[PlannedProduct], left: dict[str, int], fate: Fate, dice: random.Random
) -> list[tuple[PlannedProduct, int]]:
    """Draw what is ordered, of what no earlier order has taken: so no order has to wait for another's end."""
    there = [each for each in products if left[each.sku] >= 3]
    lines: list[tuple[PlannedProduct, int]] = []
    for product in dice.sample(there, dice.choice((1, 1, 2, 2, 3, 4))):
        quantity = dice.choice((1, 1, 1, 2, 3))
        if fate.refunds == "part" and not lines:
            quantity = max(quantity, 2)
        left[product.sku] -= quantity
        lines.append((product, quantity))
    return lines


def _refund(lines: Sequence[tuple[PlannedProduct, int]], total: int) -> int:
    """Return what goes back for one piece of the first line."""
    price = lines[0][0].price
    if not 0 < price < total:
        raise ValueError("a part of an order is less than all of it")
    return price
