"""Imports in SQL: lines carried out many to a step, with how far the import has come."""

from datetime import datetime, timedelta
from functools import partial

import msgspec

from mercato.adapters.sql.claims import extend
from mercato.adapters.sql.database import Tx
from mercato.adapters.sql.steps import Steps
from mercato.contracts.events import Events
from mercato.kernel.cause import ByCall
from mercato.kernel.clock import to_micros
from mercato.kernel.errors import Conflict, FieldError, ValidationFailed
from mercato.kernel.ids import ProductId
from mercato.kernel.tenancy import TenantId
from mercato.products.domain import Inventory
from mercato.products.domain.importing import Batch, Decided, ImportRow, Line, Outcome, Progress, Report
from mercato.products.ports import DecideRow, Lease
from mercato.products.stores import rows
from mercato.products.stores.ledger import Changed, Ledger

_KEPT = timedelta(days=2)
"""How long it is known what an import did: longer than its key is."""
_PURGED_AT_ONCE = 100
_REPEATED = "names a product that an earlier line has imported"

_report = msgspec.json.Decoder(Report)


class SqlImports:
    """See products.ports.ImportStore."""

    def __init__(self, steps: Steps, ledger: Ledger, changed: Changed) -> None:
        """Take `changed` to be called once it is committed that a product is new or another."""
        self._steps = steps
        self._ledger = ledger
        self._changed = changed

    async def find(self, tenant: TenantId, import_id: str) -> Progress | None:
        """Return how far an import has come."""
        row = await self._steps.db.fetch_one(
            "SELECT bytes, digest, report FROM imports WHERE id = ? AND tenant_id = ?", (import_id, tenant)
        )
        return None if row is None else Progress(row[0], row[1], _report.decode(row[2]))

    async def apply(
        self,
        tenant: TenantId,
        batch: Batch,
        decide: DecideRow,
        *,
        lease: Lease | None = None,
        by: ByCall,
        at: datetime,
    ) -> Report:
        """Carry out a batch of lines in one step."""

        async def work(tx: Tx) -> tuple[Report, Events]:
            if lease is not None:
                await extend(tx, lease.claim, lease.until)
            # What a line finds not to be there must not come before it is made.
            await rows.hold_skus(tx, tenant)
            one = _Step(self._ledger, tx, tenant, batch, decide, rows.Tally(tenant), by.actor, at)
            report = batch.before
            events: list[Events] = []
            for line in batch.lines:
                outcome, errors, happened = await one.carry_out(line)
                report = report.plus(line.number, outcome, errors)
                events.append(happened)
            if batch.all_or_nothing and report.failed:
                raise report.refusal()
            await one.tally.write(tx)
            if lease is not None or by.claim is not None:
                await _save(tx, tenant, batch, report, at)
            for product_id in one.changed:
                tx.after_commit(partial(self._changed, tenant, product_id))
            return report, tuple(event for some in events for event in some)

        return await self._steps.run(by, work)


class _Step(msgspec.Struct, frozen=True):
    """One step of an import under way."""

    ledger: Ledger
    tx: Tx
    tenant: TenantId
    batch: Batch
    decide: DecideRow
    tally: rows.Tally
    actor: str
    at: datetime
    changed: list[ProductId] = msgspec.field(default_factory=list)

    async def carry_out(self, line: Line) -> tuple[Outcome, tuple[FieldError, ...], Events]:
        """Carry out one line and return what became of it."""
        if line.row is None:
            return Outcome.FAILED, line.errors, ()
        before = await rows.find_stored(self.tx, self.tenant, "live_sku", line.row.sku)
        try:
            decided = self.decide(
                line.row, None if before is None else before.product, await self._inventory(line.row, before)
            )
            if before is not None and before.import_id == self.batch.import_id:
                raise ValidationFailed.field("sku", _REPEATED)
        except ValidationFailed as refused:
            return Outcome.FAILED, refused.details, ()
        except Conflict as refused:
            return Outcome.FAILED, refused.details or (FieldError("stock", refused.message),), ()
        await self._write(decided, before)
        return decided.outcome, (), decided.events

    async def _inventory(self, row: ImportRow, before: rows.Stored | None) -> Inventory | None:
        if before is None or not isinstance(row.stock, int):
            return None
        found = await self.tx.lock_one(rows.INVENTORY, (self.tenant, before.product.id))
        return None if found is None else rows.load_inventory(found)

    async def _write(self, decided: Decided, before: rows.Stored | None) -> None:
        """Write what a line does. All that may refuse it has been asked."""
        product, mark = decided.product, self.batch.import_id
        if before is None and product is not None:
            made = await rows.insert(self.tx, product, self.tally, import_id=mark)
            opening = decided.movements
            await self.ledger.move(self.tx, self.tenant, opening, actor=self.actor, at=made.created_at)
            self.changed.append(made.id)
        elif before is not None and product is not None:
            await rows.update(self.tx, before, product, self.tally, import_id=mark)
            self.changed.append(product.id)
        elif before is not None:
            # So that a second line with this SKU is found to be one.
            await rows.mark_imported(self.tx, before, mark)
        if decided.inventory is not None:
            counted = decided.inventory
            await rows.write_inventory(self.tx, self.tenant, counted)
            for movement in decided.movements:
                await self.ledger.record(
                    self.tx,
                    self.tenant,
                    movement,
                    available=counted.available,
                    actor=self.actor,
                    at=self.at,
                )


async def _save(tx: Tx, tenant: TenantId, batch: Batch, report: Report, at: datetime) -> None:
    """Store how far the import has come, and forget imports whose keys are gone."""
    await tx.execute(
        "INSERT INTO imports (id, tenant_id, bytes, digest, report, updated_at) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET bytes = excluded.bytes, digest = excluded.digest,"
        " report = excluded.report, updated_at = excluded.updated_at",
        (
            batch.import_id,
            tenant,
            batch.read,
            batch.digest,
            msgspec.json.encode(report).decode(),
            to_micros(at),
        ),
    )
    await tx.execute(
        "DELETE FROM imports WHERE id IN (SELECT id FROM imports WHERE updated_at < ? LIMIT ?)",
        (to_micros(at - _KEPT), _PURGED_AT_ONCE),
    )
