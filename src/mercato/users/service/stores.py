"""Opening stores, and what becomes of them."""

from datetime import datetime

from mercato.kernel.cause import BySystem, Cause
from mercato.kernel.errors import Forbidden, NotFound
from mercato.kernel.ids import UserId
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import DEFAULT_TENANT, StoreStatus, TenantId, Tier
from mercato.users.domain import Account, NewTenant, StoreTaken, Tenant, onboard, open_store
from mercato.users.ports import Passwords, TenantStore
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
        tenant, admin, events = onboard(new, admin_id, tier=new.tier or self._default_tier, at=at)
        account = Account(admin, await self._passwords.hash(new.admin.password))
        secret, session = self._sessions.new(admin, at=at)
        await self._tenants.onboard(tenant, account, session, events, by=by)
        return tenant, await self._sessions.signed_in(admin, secret, at=at)

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
