"""The rules of imports: what a line does, and what an import reports.

A line is a product by its SKU. What it does not say of a product that is there stays as it is.
"""

import enum
from collections.abc import Sequence
from decimal import Decimal

import msgspec
from msgspec import UNSET, UnsetType

from mercato.contracts.events import Events
from mercato.kernel.errors import FieldError, Kind, MercatoError, ValidationFailed
from mercato.products.domain import Inventory, Movement, NewProduct, Product, ProductChange

MAX_ERRORS = 100
"""How many errors an import tells; it counts them all."""


class ImportDiffers(MercatoError):
    """The import that goes on under this key was begun with another body."""

    kind = Kind.KEY_REUSED
    code = "IDEMPOTENCY_KEY_REUSED"


class Existing(enum.StrEnum):
    """What to do about a product that is there already."""

    UPDATE = "update"
    SKIP = "skip"
    FAIL = "fail"


class ImportRow(msgspec.Struct, frozen=True):
    """A product as a line describes it. `price` is in major units, `stock` what was counted of it."""

    sku: str
    name: str
    price: Decimal
    description: str | UnsetType | None = UNSET
    category: str | UnsetType | None = UNSET
    stock: int | UnsetType | None = UNSET

    def as_new(self) -> NewProduct:
        """Return it as a product to be made."""
        return NewProduct(
            sku=self.sku,
            name=self.name,
            price=self.price,
            description=None if self.description is UNSET else self.description,
            category=None if self.category is UNSET else self.category,
            stock=0 if self.stock is UNSET else self.stock or 0,
        )

    def as_change(self) -> ProductChange:
        """Return it as a change of a product that is there."""
        return ProductChange(
            name=self.name, price=self.price, description=self.description, category=self.category
        )


class Line(msgspec.Struct, frozen=True):
    """A line of a file: what it says, or what is wrong with it."""

    number: int
    row: ImportRow | None
    errors: tuple[FieldError, ...] = ()


class LineError(msgspec.Struct, frozen=True):
    """What is wrong with a line of a file, whose first line is 1."""

    line: int
    field: str
    message: str


class Outcome(enum.StrEnum):
    """What became of a line."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    FAILED = "failed"


class Report(msgspec.Struct, frozen=True):
    """What became of the lines. The first errors are told; `failed` counts all lines that have one."""

    lines: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: int = 0
    errors: tuple[LineError, ...] = ()

    def plus(self, number: int, outcome: Outcome, errors: Sequence[FieldError] = ()) -> "Report":
        """Return the report with one line more."""
        told = tuple(LineError(number, each.field, each.message) for each in errors)
        return Report(
            lines=self.lines + 1,
            created=self.created + (outcome is Outcome.CREATED),
            updated=self.updated + (outcome is Outcome.UPDATED),
            unchanged=self.unchanged + (outcome is Outcome.UNCHANGED),
            failed=self.failed + (outcome is Outcome.FAILED),
            errors=(self.errors + told)[:MAX_ERRORS] if told else self.errors,
        )

    def refusal(self) -> ValidationFailed:
        """Return the refusal of a file that has errors, naming the first of them."""
        found = tuple(FieldError(f"lines[{each.line}].{each.field}", each.message) for each in self.errors)
        return ValidationFailed(f"{self.failed} of {self.lines} lines cannot be imported.", found)


class Progress(msgspec.Struct, frozen=True):
    """How far an import has come: the bytes of the file that are done, and a digest of them."""

    read: int
    digest: bytes
    report: Report


class Batch(msgspec.Struct, frozen=True):
    """Lines to be carried out in one step, and how far the import has come with them."""

    import_id: str
    lines: tuple[Line, ...]
    before: Report
    read: int
    digest: bytes
    all_or_nothing: bool = False
    """Whether a line that cannot be carried out undoes the whole step."""


class Decided(msgspec.Struct, frozen=True):
    """What a line does: the product and the stock as they are to be."""

    outcome: Outcome
    product: Product | None = None
    inventory: Inventory | None = None
    movements: tuple[Movement, ...] = ()
    events: Events = ()
