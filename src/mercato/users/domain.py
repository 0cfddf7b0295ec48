"""The rules of stores, their users and sign-in."""

import re
import unicodedata
from datetime import datetime
from typing import Annotated

import msgspec

from mercato.contracts.events import Events
from mercato.contracts.stores import Store, TenantOnboarded
from mercato.contracts.users import UserCreated
from mercato.kernel.errors import Conflict, FieldError, ValidationFailed
from mercato.kernel.ids import UserId
from mercato.kernel.money import EXPONENTS
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import DEFAULT_TENANT, SLUG_PATTERN, StoreStatus, TenantId, Tier, is_slug

MAX_EMAIL = 254
"""What a mail server must accept (RFC 5321, section 4.5.3, with RFC 3696's erratum 1690)."""
MAX_NAME = 100
MIN_PASSWORD, MAX_PASSWORD = 8, 128

# Without RFC 5322's specials nothing can end the address early in a mail's header.
_EMAIL_PATTERN = r'^[^@\s()<>\[\]:;,\\"]+@[^@\s()<>\[\]:;,\\"]+\Z'
_EMAIL_WORDS = f"an email address of at most {MAX_EMAIL} characters"
_SLUG_WORDS = "1 to 63 lower-case letters, digits and inner hyphens"

Email = Annotated[str, msgspec.Meta(max_length=MAX_EMAIL, pattern=_EMAIL_PATTERN, description=_EMAIL_WORDS)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
Password = Annotated[str, msgspec.Meta(min_length=MIN_PASSWORD, max_length=MAX_PASSWORD)]
Slug = Annotated[str, msgspec.Meta(max_length=63, pattern=SLUG_PATTERN, description=_SLUG_WORDS)]

_address = re.compile(_EMAIL_PATTERN).fullmatch


class DuplicateEmail(Conflict):
    """The store has a user with that email already."""

    code = "DUPLICATE_EMAIL"


class StoreTaken(Conflict):
    """Another store has that id."""


class NewUser(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who wants an account."""

    email: Email
    password: Password
    first_name: Name
    last_name: Name


class NewTenant(msgspec.Struct, frozen=True, kw_only=True):
    """A store that wants to open, with its first admin."""

    id: Slug
    name: Name
    currency: str = "USD"
    tier: Tier | None = None
    """Chosen by operators only."""
    admin: NewUser


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """A store on the platform."""

    id: TenantId
    name: str
    currency: str
    tier: Tier
    status: StoreStatus
    created_at: datetime
    updated_at: datetime
    version: int = 1

    @property
    def store(self) -> Store:
        """The store, as other services see it."""
        return Store(self.id, self.name, self.currency, self.tier, self.status)


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody with an account in one store."""

    id: UserId
    tenant_id: TenantId
    email: str
    first_name: str
    last_name: str
    role: Role
    is_active: bool
    created_at: datetime
    updated_at: datetime
    version: int = 1

    @property
    def full_name(self) -> str:
        """Both names."""
        return f"{self.first_name} {self.last_name}"

    @property
    def principal(self) -> Principal:
        """The user as a caller."""
        return Principal(self.id, self.email, self.role, self.tenant_id)


class Account(msgspec.Struct, frozen=True):
    """A user with what proves that it is them. Never leaves the service."""

    user: User
    password_hash: str


class RefreshToken(msgspec.Struct, frozen=True, kw_only=True):
    """One refresh token, known by its hash alone. Those that replace each other are a family."""

    token_hash: bytes
    family_id: str
    tenant_id: TenantId
    user_id: UserId
    created_at: datetime
    expires_at: datetime


def email_key(email: str) -> str:
    """Return what two spellings of one email have in common: case and composition do not count."""
    return unicodedata.normalize("NFC", email).casefold()


def home(caller: Principal) -> TenantId:
    """Return the store that keeps the caller's account, whichever one the call acts in."""
    return DEFAULT_TENANT if caller.role is Role.OPERATOR else caller.tenant


def user_refusals(new: NewUser, prefix: str = "") -> list[FieldError]:
    """List the fields that are not acceptable."""
    refused: list[FieldError] = []
    if not _address(new.email) or not new.email.isprintable() or len(email_key(new.email)) > MAX_EMAIL:
        refused.append(FieldError(f"{prefix}email", f"must be {_EMAIL_WORDS}"))
    if not MIN_PASSWORD <= len(new.password) <= MAX_PASSWORD:
        refused.append(
            FieldError(f"{prefix}password", f"must have {MIN_PASSWORD} to {MAX_PASSWORD} characters")
        )
    refused += _name_refusals(f"{prefix}first_name", new.first_name)
    refused += _name_refusals(f"{prefix}last_name", new.last_name)
    return refused


def tenant_refusals(new: NewTenant) -> list[FieldError]:
    """List the fields that are not acceptable, those of the admin too."""
    refused: list[FieldError] = []
    if not is_slug(new.id):
        refused.append(FieldError("id", f"must be {_SLUG_WORDS}"))
    refused += _name_refusals("name", new.name)
    if new.currency not in EXPONENTS:
        refused.append(FieldError("currency", "must be an ISO 4217 currency code, such as USD"))
    return refused + user_refusals(new.admin, "admin.")


def _name_refusals(field: str, name: str) -> list[FieldError]:
    # Joiners (Cf) stay: Persian and several Indian scripts need them in names.
    blank = not name.strip()
    breaking = any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in name)
    if blank or breaking or len(name) > MAX_NAME:
        return [FieldError(field, f"must have 1 to {MAX_NAME} characters, none of them control characters")]
    return []


def create_user(
    new: NewUser, tenant: TenantId, user_id: UserId, role: Role, *, at: datetime
) -> tuple[User, Events]:
    """Make a user. Raises ValidationFailed naming every field that is not acceptable."""
    if refused := user_refusals(new):
        raise ValidationFailed.of(*refused)
    user = User(
        id=user_id,
        tenant_id=tenant,
        email=new.email,
        first_name=new.first_name,
        last_name=new.last_name,
        role=role,
        is_active=True,
        created_at=at,
        updated_at=at,
    )
    created = UserCreated(
        tenant_id=tenant,
        user_id=user.id,
        email=user.email,
        first_name=user.first_name,
        last_name=user.last_name,
        role=role,
        is_active=True,
    )
    return user, (created,)


def open_store(
    tenant: TenantId, name: str, currency: str, tier: Tier, *, at: datetime
) -> tuple[Tenant, Events]:
    """Make a store that trades at once."""
    opened = Tenant(
        id=tenant,
        name=name,
        currency=currency,
        tier=tier,
        status=StoreStatus.ACTIVE,
        created_at=at,
        updated_at=at,
    )
    event = TenantOnboarded(tenant_id=tenant, name=name, currency=currency, tier=tier, status=opened.status)
    return opened, (event,)


def onboard(new: NewTenant, admin_id: UserId, *, tier: Tier, at: datetime) -> tuple[Tenant, User, Events]:
    """Make a store with its first admin. Raises ValidationFailed naming every field refused."""
    if refused := tenant_refusals(new):
        raise ValidationFailed.of(*refused)
    tenant, opened = open_store(TenantId(new.id), new.name, new.currency, tier, at=at)
    admin, created = create_user(new.admin, tenant.id, admin_id, Role.ADMIN, at=at)
    return tenant, admin, opened + created
