"""One call, as a handler sees it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mercato.kernel.cause import ByCall, Claim, Note
from mercato.kernel.errors import Unauthenticated
from mercato.kernel.ids import uuid7
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import TenantId, Tier
from mercato.kernel.versions import ANY_VERSION, Expected
from mercato.web.dialect import ENVELOPED, Dialect
from mercato.web.envelope import encode
from mercato.web.limits import Limiter

ANONYMOUS = "anonymous"


@dataclass(slots=True)
class Call:
    """Who calls, for which store, and when."""

    request_id: str
    tenant: TenantId
    now: datetime
    client: str
    caller: Principal | None = None
    claim: Claim | None = None
    replayed: bool = False
    """The operation was done by an earlier call with the same key; tell its outcome again."""
    begun: bool = False
    """Part of the operation is done under the claim: a repeated call is to go on with it."""
    effect: ByCall | None = None
    expected: Expected = ANY_VERSION
    """What If-Match says, at an endpoint that is declared `versioned`."""
    dialect: Dialect = ENVELOPED
    """How an answer is written that is stored for repeated calls."""
    note: Note | None = None
    """What is told of the call with its first change, if somebody answers for it."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """The request's; names are lower case."""
    limits: Limiter | None = None
    """What the call was counted by."""
    tier: Tier | None = None
    """The tier of the store that it was counted for; None where it counts against the address alone."""

    @property
    def principal(self) -> Principal:
        """The caller. Raises Unauthenticated where there is none."""
        if self.caller is None:
            raise Unauthenticated("Sign in first.")
        return self.caller

    @property
    def actor(self) -> str:
        """Who to name in histories."""
        return ANONYMOUS if self.caller is None else self.caller.user_id

    async def count(self, times: int) -> None:
        """Count so many further requests as this one was: a call may be several. Raises RateLimited."""
        if self.limits is None:
            return
        for _ in range(times):
            told = self.limits.of_address(self.client, self.now)
            if not isinstance(told, list):
                await told
            if self.tier is not None:
                told = self.limits.of_store(self.tenant, self.tier, self.now)
                if not isinstance(told, list):
                    await told

    def new_id(self) -> str:
        """Return the id of the object this call makes: the same for every retry with its key."""
        made = uuid7() if self.claim is None else self.claim.object_id
        if self.note is not None and not self.note.object_id:
            self.note.object_id = made
        return made

    def about(self, kind: str, object_id: str, *, tenant: TenantId | None = None) -> None:
        """Say what the call acts on where the path does not, and in which store if not the call's own."""
        if self.note is not None:
            self.note.object_kind, self.note.object_id = kind, object_id
            self.note.tenant = tenant or self.note.tenant

    def answered_by(self, user_id: str, role: Role, tenant: TenantId, action: str) -> None:
        """Say who answers for a call without a token: the user that it turned out to be about."""
        self.note = Note(
            tenant, user_id, role.value, action, "user", user_id, (), self.client, self.request_id
        )

    def cause(self, view: Callable[[Any], object]) -> ByCall:
        """Return the cause of this call's one lasting effect.

        The answer, `view` of what was saved, is stored with the effect for repeated calls.
        """
        write = self.dialect.success
        self.effect = ByCall(
            self.actor, self.claim, lambda saved: write(encode(view(saved)), None), note=self.note
        )
        return self.effect

    def part(self) -> ByCall:
        """Return the cause of a step on the way, which leaves the claim open."""
        return ByCall(self.actor, note=self.note)
