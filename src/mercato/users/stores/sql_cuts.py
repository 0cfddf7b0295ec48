"""Cuts of tokens in a relational database, so that a restart revives no token."""

from collections.abc import Callable
from datetime import datetime

from mercato.adapters.identity.revocations import Cut, Revocations, of_store
from mercato.adapters.sql.database import Database, Tx
from mercato.kernel.clock import from_micros, to_micros
from mercato.kernel.ids import id_in
from mercato.kernel.tenancy import TenantId

_WHOLE_STORE = "store"
"""A subject that is nobody's id."""
_LOADED = 1_000
_NEVER = (1 << 62) - 1
_COMMIT_S = 1
"""A step is durable within that time, but in the worst of cases."""


class SqlCuts:
    """Cuts the tokens of users, machines and whole stores within the step that is the reason."""

    def __init__(self, db: Database, revocations: Revocations) -> None:
        self._db = db
        self._revocations = revocations
        self._tell: Callable[[Cut], None] = lambda _: None

    def on_cut(self, tell: Callable[[Cut], None]) -> None:
        """Have `tell` called with each cut that is made here, once it is durable."""
        self._tell = tell

    async def cut(self, tx: Tx, tenant: TenantId, subject: str, *, at: datetime) -> None:
        """Refuse, once the step is durable, every token that `subject` has been given until then."""
        # A token may allow for the cut before this one, which another clock may have made.
        before = await tx.fetch_one(
            "SELECT cut FROM token_cuts WHERE tenant_id = ? AND subject = ?", (tenant, subject)
        )
        # A token may still be made while the step commits, and elsewhere by a clock that is ahead.
        cut = id_in(_COMMIT_S, after=before[0] if before else None)
        made = Cut(subject, cut, at + self._revocations.kept)
        await tx.execute(
            "INSERT INTO token_cuts (tenant_id, subject, cut, until) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (tenant_id, subject) DO UPDATE SET cut = excluded.cut, until = excluded.until"
            " WHERE excluded.cut > token_cuts.cut",
            (tenant, subject, made.cut, to_micros(made.until)),
        )
        tx.after_commit(lambda: self._made(made))

    async def begin(self, tx: Tx, tenant: TenantId, first: str, *, at: datetime) -> None:
        """Refuse, once the step is durable, every token of the store whose id sorts before `first`.

        A store of the same id may have been purged a moment ago, and its tokens are not this one's.
        """
        made = Cut(of_store(tenant), first, at + self._revocations.kept)
        await tx.execute(
            "INSERT INTO token_cuts (tenant_id, subject, cut, until) VALUES (?, ?, ?, ?)",
            (tenant, _WHOLE_STORE, first, to_micros(made.until)),
        )
        tx.after_commit(lambda: self._made(made))

    def _made(self, cut: Cut) -> None:
        self._revocations.restore(*cut)
        self._tell(cut)

    async def load(self, *, at: datetime) -> list[Cut]:
        """Take up the cuts from before a restart, or of other replicas, that matter then; return them."""
        taken: list[Cut] = []
        after = at
        while True:
            found = await self.since(after, _LOADED)
            for cut in found:
                self._revocations.restore(*cut)
            taken += found
            if len(found) < _LOADED or found[-1].until <= after:
                return taken
            after = found[-1].until

    def restore(self, subject: str, cut: str, until: datetime) -> None:
        """Take up a cut that another process has made."""
        self._revocations.restore(subject, cut, until)

    async def since(self, after: datetime, limit: int) -> list[Cut]:
        """Return those that matter for longer than `after`, the first to end first.

        Those that end at one moment come together, though they be more than `limit`.
        """
        rows = await self._db.search(
            "SELECT tenant_id, subject, cut, until FROM token_cuts WHERE until > ? AND until <= coalesce("
            "(SELECT until FROM token_cuts WHERE until > ? ORDER BY until LIMIT 1 OFFSET ?),"
            f" {_NEVER}) ORDER BY until",
            (to_micros(after), to_micros(after), limit - 1),
        )
        return [
            Cut(of_store(tenant) if subject == _WHOLE_STORE else subject, cut, from_micros(until))
            for tenant, subject, cut, until in rows
        ]

    async def purge(self, *, before: datetime, limit: int) -> int:
        """Delete up to `limit` cuts that no longer matter; return how many."""

        async def step(tx: Tx) -> int:
            return await tx.execute(
                "DELETE FROM token_cuts WHERE (tenant_id, subject) IN"
                " (SELECT tenant_id, subject FROM token_cuts WHERE until <= ? ORDER BY until LIMIT ?)",
                (to_micros(before), limit),
            )

        return await self._db.transact(step)
