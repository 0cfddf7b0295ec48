"""Opening stores, and what becomes of them."""

from datetime import datetime

from mercato.contracts.events import Events
from mercato.kernel.cause import BySystem, Cause
from mercato.kernel.errors import Forbidden, NotFound
from mercato.kernel.ids import UserId, uuid7
from mercato.kernel.paging import Window
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import DEFAULT_TENANT, StoreStatus, TenantId, Tier
from mercato.kernel.versions import ANY_VERSION, Expected
from mercato.users.domain import (
    Account,
    NewTenant,
    StoreTaken,
    Tenant,
    TenantChange,
    change_store,
    offboard,
    onboard,
    open_store,
)
from mercato.users.ports import Passwords, TenantFilter, TenantStore
from mercato.users.service.sessions import Sessions, SignedIn

_PAGE = 500


class Stores:
    """The use cases of stores."""

    def __init__(
        self, tenants: TenantStore, passwords: Passwords, sessions: Sessions, *, default_tier: Tier
    ) -> None:
        """`default_tier` is the tier of stores for which no operator chose one."""
        self._tenants = tenants
        self._passwords = passwords
        self._sessions = sessions
        self._default_tier = default_tier

    async def onboard(
        self, new: NewTenant, admin_id: UserId, *, by_operator: bool, at: datetime, by: Cause
    ) -> tuple[Tenant, SignedIn]:
        """Open a store with its first admin, signed in.

        Raises Forbidden if anybody but an operator chooses the tier, ValidationFailed, StoreTaken.
        """
        if new.tier is not None and not by_operator:
            raise Forbidden("Only an operator chooses the tier.")
        token_id = uuid7()
        tenant, admin, events = onboard(new, admin_id, tier=new.tier or self._default_tier, at=at)
        account = Account(admin, await self._passwords.hash(new.admin.password))
        secret, session = self._sessions.new(admin, at=at)
        await self._tenants.onboard(tenant, account, session, events, first_token=token_id, by=by)
        return tenant, await self._sessions.signed_in(admin, secret, token_id=token_id, at=at)

    async def tenant(self, caller: Principal, tenant: TenantId) -> Tenant:
        """Return a store within the caller's scope: their own, an operator's any. Raises NotFound."""
        if tenant != caller.tenant and caller.role is not Role.OPERATOR:
            raise NotFound("There is no such store.")
        return await self.store(tenant)

    async def store(self, tenant: TenantId) -> Tenant:
        """Return a store, whatever its status. Raises NotFound."""
        found = await self._tenants.find(tenant)
        if found is None:
            raise NotFound("There is no such store.")
        return found

    async def search(self, wanted: TenantFilter, window: Window) -> list[Tenant]:
        """Return a window of the stores, by id."""
        return await self._tenants.search(wanted, window)

    async def count(self, wanted: TenantFilter) -> int:
        """Return how many stores there are."""
        return await self._tenants.count(wanted)

    async def change(
        self,
        tenant: TenantId,
        change: TenantChange,
        *,
        expected: Expected = ANY_VERSION,
        at: datetime,
        by: Cause,
    ) -> Tenant:
        """Change a store's name, tier or status.

        Raises NotFound, VersionMismatch, ValidationFailed, StoreProtected, InvalidTransition.
        """

        def decide(found: Tenant) -> tuple[Tenant, Events]:
            expected.check(found.version)
            return change_store(found, change, at=at)

        return await self._tenants.change(tenant, decide, by=by)

    async def offboard(
        self, tenant: TenantId, *, expected: Expected = ANY_VERSION, at: datetime, by: Cause
    ) -> Tenant:
        """Close a store for good: its logins and tokens stop, its data stays until it is purged.

        Idempotent. Raises NotFound, VersionMismatch, StoreProtected.
        """

        def decide(found: Tenant) -> tuple[Tenant, Events]:
            expected.check(found.version)
            return offboard(found, at=at)

        return await self._tenants.change(tenant, decide, by=by)

    async def list_stores(self) -> list[Tenant]:
        """Return all stores, by id."""
        stores: list[Tenant] = []
        while True:
            page = await self._tenants.after(stores[-1].id if stores else "", _PAGE)
            stores += page
            if len(page) < _PAGE:
                return stores

    async def ensure_default_store(self, *, at: datetime) -> None:
        """Open the store `default` if it is not there. Idempotent, also under a race."""
        if await self._tenants.find(DEFAULT_TENANT) is not None:
            return
        tenant, events = open_store(DEFAULT_TENANT, "Default store", "USD", Tier.UNLIMITED, at=at)
        try:
            await self._tenants.add(tenant, events, by=BySystem("mercato"))
        except StoreTaken:
            return

    async def trading(self, tenant: TenantId) -> None:
        """Refuse sign-in where the store does not trade. Raises NotFound, Forbidden."""
        store = await self.store(tenant)
        if store.status is StoreStatus.OFFBOARDED:
            raise NotFound("There is no such store.")
        if store.status is StoreStatus.SUSPENDED:
            raise Forbidden("This store is suspended.")
