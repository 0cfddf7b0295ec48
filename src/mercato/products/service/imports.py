"""Importing products from a file that is read while it arrives."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from mercato.kernel.cause import ByCall, Claim
from mercato.kernel.clock import Clock
from mercato.kernel.errors import BadRequest, FieldError, ValidationFailed
from mercato.kernel.ids import ProductId, uuid7
from mercato.kernel.tenancy import TenantId
from mercato.products.domain import Inventory, Movement, Product, count, create_product, update_product
from mercato.products.domain.importing import (
    Batch,
    Decided,
    Existing,
    ImportDiffers,
    ImportRow,
    Line,
    Outcome,
    Progress,
    Report,
)
from mercato.products.ports import ImportStore, Lease
from mercato.products.service.catalogue import Currencies

BATCH = 100
"""Lines of a step: some tens of milliseconds, for which all other writers wait."""
MAX_AT_ONCE = 2_000
"""Lines of an import that is all or nothing, which is one step."""
MAX_BYTES_AT_ONCE = 8 * 1024 * 1024


class Source(Protocol):
    """A file that arrives. At each line that it yields, and at its end, it tells how far that is."""

    @property
    def read(self) -> int:
        """How many bytes of the file have been read."""
        ...

    def digest(self) -> bytes:
        """Return a digest of these bytes."""
        ...

    def __aiter__(self) -> AsyncIterator[Line]:
        """Yield the lines. Raises BadRequest and ValidationFailed for what is no such file."""
        ...


class ImportCall(msgspec.Struct, frozen=True):
    """One call that imports: what it wants, and what it is done by."""

    tenant: TenantId
    import_id: str
    existing: Existing
    all_or_nothing: bool
    claim: Claim | None
    replayed: bool
    part: Callable[[], ByCall]
    """Returns the cause of a step on the way."""
    whole: Callable[[], ByCall]
    """Returns the cause of the last step."""
    begun: Callable[[], None]
    """Told when part of the import is done."""
    resumed: Callable[[], None]
    """Told when an earlier call has begun it."""


class Imports:
    """Carries out imports: in steps that a repeated call goes on after, or in one."""

    def __init__(self, store: ImportStore, currencies: Currencies, *, clock: Clock, lease: timedelta) -> None:
        """`lease` is how long a claim is held after each step."""
        self._store = store
        self._currencies = currencies
        self._clock = clock
        self._lease = lease

    async def run(self, call: ImportCall, source: Source) -> Report:
        """Import a file. An import with a key goes on where an earlier call with it ended.

        Raises BadRequest and ValidationFailed for a file that cannot be read or, if it is all or
        nothing, has an error in any line; ImportDiffers if another file was begun under the key.
        """
        currency = await self._currencies.of(call.tenant)
        under_way = _UnderWay(self._store, call, source, currency, self._clock, self._lease)
        progress = None
        if call.claim is not None:
            progress = await self._store.find(call.tenant, call.import_id)
        if progress is not None:
            call.begun()
            call.resumed()
        if call.all_or_nothing and progress is None:
            return await under_way.at_once()
        return await under_way.in_steps(progress)


class _UnderWay:
    """One import under way."""

    def __init__(
        self,
        store: ImportStore,
        call: ImportCall,
        source: Source,
        currency: str,
        clock: Clock,
        lease: timedelta,
    ) -> None:
        self._store = store
        self._call = call
        self._source = source
        self._currency = currency
        self._clock = clock
        self._lease = lease

    async def in_steps(self, progress: Progress | None) -> Report:
        """Carry out what is not done yet, some lines to a step; what has errors is left out."""
        report = Report() if progress is None else progress.report
        done = 0 if progress is None else progress.read
        met = progress is None
        lines: list[Line] = []
        async for line in self._source:
            if self._source.read <= done:
                met = met or self._meets(progress)
                continue
            # Of a file that was imported to its end there is no line more.
            if not met or self._call.replayed:
                met = False
                break
            lines.append(line)
            if len(lines) == BATCH:
                report = await self._apply(lines, report)
                lines = []
        if not self._meets(progress) and (self._call.replayed or not met):
            raise ImportDiffers("Another file was begun to be imported with this Idempotency-Key.")
        if self._call.replayed:
            return report
        return await self._apply(lines, report, last=True)

    async def at_once(self) -> Report:
        """Check all lines, then carry them out in one step, or none of them."""
        lines: list[Line] = []
        checked = Report()
        async for line in self._source:
            if len(lines) == MAX_AT_ONCE or self._source.read > MAX_BYTES_AT_ONCE:
                raise BadRequest(
                    f"With on_error=abort an import has at most {MAX_AT_ONCE} lines and {MAX_BYTES_AT_ONCE}"
                    " bytes. Use on_error=skip for more."
                )
            errors = self._errors(line)
            checked = checked.plus(line.number, Outcome.FAILED if errors else Outcome.UNCHANGED, errors)
            lines.append(line)
        if checked.failed:
            raise checked.refusal()
        return await self._apply(lines, Report(), last=True)

    def _meets(self, progress: Progress | None) -> bool:
        """Say whether the file has been what it was, up to where the import had come."""
        return (
            progress is not None
            and self._source.read == progress.read
            and self._source.digest() == progress.digest
        )

    async def _apply(self, lines: list[Line], before: Report, *, last: bool = False) -> Report:
        call, now = self._call, self._clock()
        batch = Batch(
            import_id=call.import_id,
            lines=tuple(lines),
            before=before,
            read=self._source.read,
            digest=self._source.digest(),
            all_or_nothing=call.all_or_nothing,
        )
        lease = None if last or call.claim is None else Lease(call.claim, now + self._lease)
        try:
            report = await self._store.apply(
                call.tenant,
                batch,
                lambda row, product, inventory: self._decide(row, product, inventory, now),
                lease=lease,
                by=call.whole() if last else call.part(),
                at=now,
            )
        except asyncio.CancelledError:
            # Its step is carried out all the same.
            call.begun()
            raise
        call.begun()
        return report

    def _errors(self, line: Line) -> tuple[FieldError, ...]:
        """Return what can be told to be wrong with a line without looking at the catalogue."""
        if line.row is None:
            return line.errors
        try:
            self._create(line.row, self._clock())
        except ValidationFailed as refused:
            return refused.details
        return ()

    def _decide(
        self, row: ImportRow, product: Product | None, inventory: Inventory | None, at: datetime
    ) -> Decided:
        if product is None:
            return self._create(row, at)
        if self._call.existing is Existing.FAIL:
            raise ValidationFailed.field("sku", "is the SKU of a product that is there already")
        if self._call.existing is Existing.SKIP:
            return Decided(Outcome.UNCHANGED)
        changed, events = update_product(product, row.as_change(), at=at)
        differs = changed is not product
        counted: Inventory | None = None
        movements: tuple[Movement, ...] = ()
        if inventory is not None and isinstance(row.stock, int) and row.stock != inventory.on_hand:
            counted, movements, noted = count(inventory, row.stock, None, tenant=self._call.tenant, at=at)
            events = events + noted
        return Decided(
            Outcome.UPDATED if differs or counted is not None else Outcome.UNCHANGED,
            changed if differs else None,
            counted,
            movements,
            events,
        )

    def _create(self, row: ImportRow, at: datetime) -> Decided:
        product, opening, events = create_product(
            row.as_new(),
            product_id=ProductId(uuid7()),
            tenant=self._call.tenant,
            currency=self._currency,
            at=at,
        )
        return Decided(Outcome.CREATED, product, None, opening, events)
