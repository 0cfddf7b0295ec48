"""The rules of stores, their users and sign-in."""

import re
import unicodedata
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from mercato.contracts import user_reading
from mercato.contracts.events import Events
from mercato.contracts.stores import Store, TenantEvent, TenantOffboarded, TenantOnboarded, TenantUpdated
from mercato.contracts.users import UserCreated, UserDeleted, UserEvent, UserUpdated
from mercato.kernel.errors import Conflict, FieldError, Forbidden, ValidationFailed
from mercato.kernel.ids import UserId
from mercato.kernel.money import EXPONENTS
from mercato.kernel.principal import Principal, Role
from mercato.kernel.redaction import discreet
from mercato.kernel.tenancy import DEFAULT_TENANT, SLUG_PATTERN, StoreStatus, TenantId, Tier, is_slug
from mercato.kernel.text import full_name

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

_RESERVED = (
    "admin api app assets auth autoconfig autodiscover cdn console dashboard docs ftp gateway graphql health"
    " help imap internal login mail mercato metrics mta-sts ns ns1 ns2 operator platform pop postmaster root"
    " smtp static status support system www"
)
RESERVED_IDS = frozenset(_RESERVED.split())
"""No store's ids: a store's id may become the first label of its host. Neither is an id that has two hyphens
as its third and fourth character, as encoded names of other scripts do (RFC 5891, section 4.2.3.1)."""


class DuplicateEmail(Conflict):
    """The store has a user with that email already."""

    code = "DUPLICATE_EMAIL"


class LastAdmin(Conflict):
    """A store keeps at least one admin who can sign in."""


class StoreTaken(Conflict):
    """Another store has that id."""


class _Person(msgspec.Struct, frozen=True, kw_only=True):
    """Who is to have an account."""

    email: Email
    first_name: Name
    last_name: Name


class NewUser(_Person, frozen=True, kw_only=True):
    """Somebody who wants an account."""

    password: Password

    __repr__ = discreet


GivenRole = Literal["customer", "admin", "operator"]
"""A role that a user can be given. Machines get theirs with their login."""


class NewAccount(_Person, frozen=True, kw_only=True):
    """Somebody who is given an account by staff; without a password, one to accept by a link."""

    password: Password | None = None
    role: GivenRole = "customer"
    is_active: bool = True

    __repr__ = discreet


class UserChange(msgspec.Struct, frozen=True, kw_only=True):
    """What is to change of a user; None leaves it as it is."""

    email: Email | None = None
    first_name: Name | None = None
    last_name: Name | None = None
    role: GivenRole | None = None
    is_active: bool | None = None


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


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An act in a store that somebody answers for. Of what was sent it has the fields' names alone."""

    id: str
    tenant_id: TenantId
    created_at: datetime
    actor: str
    """A user or a machine, or the command line."""
    actor_role: str
    action: str
    object_kind: str
    object_id: str
    fields: tuple[str, ...]
    address: str
    request_id: str


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody with an account in one store."""

    id: UserId
    tenant_id: TenantId
    email: str
    first_name: str
    last_name: str
    role: Role
    is_active: bool
    email_verified: bool = False
    is_invited: bool = False
    """There is no password yet: the user has to accept the invitation before signing in."""
    created_at: datetime
    updated_at: datetime
    version: int = 1

    @property
    def full_name(self) -> str:
        """Both names, or the one there is."""
        return full_name(self.first_name, self.last_name)

    @property
    def principal(self) -> Principal:
        """The user as a caller."""
        return Principal(self.id, self.email, self.role, self.tenant_id)


class Account(msgspec.Struct, frozen=True):
    """A user with what proves that it is them. Never leaves the service."""

    user: User
    password_hash: str

    __repr__ = discreet

    @property
    def usable_hash(self) -> str | None:
        """The password's hash; None while there is no password, which no password then matches."""
        return None if self.user.is_invited else self.password_hash


NO_PASSWORD = "!"  # noqa: S105  the hash of none
"""Stands for the password's hash of somebody who has only been invited."""


class RefreshToken(msgspec.Struct, frozen=True, kw_only=True):
    """One refresh token, known by its hash alone. Those that replace each other are a family."""

    token_hash: bytes
    family_id: str
    tenant_id: TenantId
    user_id: UserId
    created_at: datetime
    expires_at: datetime

    __repr__ = discreet


def email_key(email: str) -> str:
    """Return what two spellings of one email have in common: case and composition do not count."""
    return unicodedata.normalize("NFC", email).casefold()


def home(caller: Principal) -> TenantId:
    """Return the store that keeps the caller's account, whichever one the call acts in."""
    return DEFAULT_TENANT if caller.role is Role.OPERATOR else caller.tenant


def user_refusals(new: NewUser | NewAccount, prefix: str = "") -> list[FieldError]:
    """List the fields that are not acceptable."""
    refused = _email_refusals(f"{prefix}email", new.email)
    if new.password is not None:
        refused += password_refusals(f"{prefix}password", new.password)
    refused += _name_refusals(f"{prefix}first_name", new.first_name)
    if new.last_name or new.password is not None:
        # Who is invited by a single name has no other.
        refused += _name_refusals(f"{prefix}last_name", new.last_name)
    return refused


def password_refusals(field: str, password: str) -> list[FieldError]:
    """List what is not acceptable of a new password."""
    if MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        return []
    return [FieldError(field, f"must have {MIN_PASSWORD} to {MAX_PASSWORD} characters")]


def tenant_refusals(new: NewTenant) -> list[FieldError]:
    """List the fields that are not acceptable, those of the admin too."""
    refused: list[FieldError] = []
    if not is_slug(new.id):
        refused.append(FieldError("id", f"must be {_SLUG_WORDS}"))
    elif new.id in RESERVED_IDS or new.id[2:4] == "--":
        refused.append(FieldError("id", "must be another one: this is reserved for a host of the platform"))
    refused += _name_refusals("name", new.name)
    if new.currency not in EXPONENTS:
        refused.append(FieldError("currency", "must be an ISO 4217 currency code, such as USD"))
    return refused + user_refusals(new.admin, "admin.")


def is_email(text: str) -> bool:
    """Say whether `text` could be a user's email."""
    return bool(_address(text)) and text.isprintable() and len(email_key(text)) <= MAX_EMAIL


def _email_refusals(field: str, email: str) -> list[FieldError]:
    if is_email(email):
        return []
    return [FieldError(field, f"must be {_EMAIL_WORDS}")]


def _name_refusals(field: str, name: str) -> list[FieldError]:
    # Joiners (Cf) stay: Persian and several Indian scripts need them in names.
    blank = not name.strip()
    breaking = any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in name)
    if blank or breaking or len(name) > MAX_NAME:
        return [FieldError(field, f"must have 1 to {MAX_NAME} characters, none of them control characters")]
    return []


def create_user(
    new: NewUser | NewAccount,
    tenant: TenantId,
    user_id: UserId,
    role: Role,
    *,
    at: datetime,
    is_active: bool = True,
) -> tuple[User, Events]:
    """Make a user, who is only invited where there is no password.

    Raises ValidationFailed naming every field that is not acceptable.
    """
    if refused := user_refusals(new):
        raise ValidationFailed.of(*refused)
    user = User(
        id=user_id,
        tenant_id=tenant,
        email=new.email,
        first_name=new.first_name,
        last_name=new.last_name,
        role=role,
        is_active=is_active,
        is_invited=new.password is None,
        created_at=at,
        updated_at=at,
    )
    return user, (msgspec.structs.replace(_told(UserCreated, user), invited=user.is_invited),)


def check_given_role(caller: Principal, role: Role, tenant: TenantId) -> None:
    """Refuse a role that the caller may not give to a user of the store.

    Raises Forbidden, and ValidationFailed for an operator outside of the store `default`.
    """
    if role is Role.CUSTOMER:
        return
    if caller.role is Role.SERVICE:
        raise Forbidden("A machine may give no role but customer.")
    if role is Role.OPERATOR and caller.role is not Role.OPERATOR:
        raise Forbidden("Only an operator makes an operator.")
    if role is Role.OPERATOR and tenant != DEFAULT_TENANT:
        raise ValidationFailed.field(
            "role", f"must not be operator here: operators live in the store {DEFAULT_TENANT}"
        )


def is_visible(user: User | user_reading.User, caller: Principal) -> bool:
    """Say whether a user of the store that the call acts in is in the caller's scope.

    Operators stand above the admins of the store they live in, who therefore do not see them.
    """
    if user.id == caller.user_id:
        return True
    return caller.is_staff and (user.role is not Role.OPERATOR or caller.role is Role.OPERATOR)


def change_user(user: User, change: UserChange, caller: Principal, *, at: datetime) -> tuple[User, Events]:
    """Change a user that the caller sees; what is so already changes nothing.

    Raises ValidationFailed naming every field that is not acceptable, and Forbidden for one's own role
    and standing, for a role that the caller may not give, and for a machine that changes staff.
    """
    given = {name: value for name in change.__struct_fields__ if (value := getattr(change, name)) is not None}
    if not given:
        raise ValidationFailed.field("body", f"must have at least one of {', '.join(_CHANGEABLE)}")
    refused = _email_refusals("email", given.get("email", user.email))
    for name in ("first_name", "last_name"):
        if name in given:
            refused += _name_refusals(name, given[name])
    if refused:
        raise ValidationFailed.of(*refused)
    given["role"] = role = Role(given.get("role", user.role))
    changed = msgspec.structs.replace(user, **given)
    if changed == user:
        return user, ()
    _check_staff(user, caller)
    if user.id == caller.user_id and (role, changed.is_active) != (user.role, user.is_active):
        raise Forbidden("Nobody changes their own role or standing.")
    if role is not user.role:
        check_given_role(caller, role, user.tenant_id)
    verified = user.email_verified and changed.email == user.email
    return _next_user(changed, verified=verified, at=at)


_CHANGEABLE = UserChange.__struct_fields__


def verify_email(user: User, email: str, *, at: datetime) -> tuple[User, Events] | None:
    """Note that the user reads what is sent to `email`; None if that is done, or no longer their email."""
    if user.email_verified or user.email != email:
        return None
    return _next_user(user, verified=True, at=at)


def delete_user(user: User, caller: Principal, *, at: datetime) -> tuple[User, Events]:
    """Delete a user that the caller sees. Raises Forbidden for a machine that deletes staff."""
    _check_staff(user, caller)
    gone = msgspec.structs.replace(user, is_active=False, updated_at=at, version=user.version + 1)
    return gone, (_told(UserDeleted, gone),)


def ends_tokens(before: User, after: User) -> bool:
    """Say whether a change is one that tokens already given out must not outlive."""
    return before.role is not after.role or (before.is_active and not after.is_active)


def _check_staff(user: User, caller: Principal) -> None:
    """Keep machines from staff, over whom a scope gives no power."""
    if caller.role is Role.SERVICE and user.role is not Role.CUSTOMER:
        raise Forbidden("A machine may change customers only.")


def _next_user(user: User, *, verified: bool, at: datetime) -> tuple[User, Events]:
    changed = msgspec.structs.replace(user, email_verified=verified, updated_at=at, version=user.version + 1)
    return changed, (_told(UserUpdated, changed),)


def _told(kind: type[UserEvent], user: User) -> UserEvent:
    return kind(
        tenant_id=user.tenant_id,
        user_id=user.id,
        email=user.email,
        first_name=user.first_name,
        last_name=user.last_name,
        role=user.role,
        is_active=user.is_active,
    )


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


class StoreProtected(Conflict):
    """The store `default` stays open: operators and the platform itself live there."""


class InvalidTransition(Conflict):
    """A store that was closed stays so."""

    code = "INVALID_TRANSITION"


class TenantChange(msgspec.Struct, frozen=True, kw_only=True):
    """What is to change of a store; None leaves it as it is."""

    name: Name | None = None
    tier: Tier | None = None
    status: Literal["active", "suspended"] | None = None


def change_store(tenant: Tenant, change: TenantChange, *, at: datetime) -> tuple[Tenant, Events]:
    """Change a store; what is so already changes nothing.

    Raises ValidationFailed, StoreProtected, and InvalidTransition for a store that was closed.
    """
    if change.name is None and change.tier is None and change.status is None:
        raise ValidationFailed.field("body", "must have at least one of name, tier and status")
    if change.name is not None and (refused := _name_refusals("name", change.name)):
        raise ValidationFailed.of(*refused)
    if tenant.status is StoreStatus.OFFBOARDED:
        raise InvalidTransition("The store is closed for good.")
    status = tenant.status if change.status is None else StoreStatus(change.status)
    if tenant.id == DEFAULT_TENANT and status is not StoreStatus.ACTIVE:
        raise StoreProtected(f"The store {DEFAULT_TENANT} cannot be suspended.")
    changed = msgspec.structs.replace(
        tenant, name=change.name or tenant.name, tier=change.tier or tenant.tier, status=status
    )
    if changed == tenant:
        return tenant, ()
    return _next_version(changed, TenantUpdated, at=at)


def offboard(tenant: Tenant, *, at: datetime) -> tuple[Tenant, Events]:
    """Close a store for good; closing it again changes nothing. Raises StoreProtected."""
    if tenant.id == DEFAULT_TENANT:
        raise StoreProtected(f"The store {DEFAULT_TENANT} cannot be closed.")
    if tenant.status is StoreStatus.OFFBOARDED:
        return tenant, ()
    closed = msgspec.structs.replace(tenant, status=StoreStatus.OFFBOARDED)
    return _next_version(closed, TenantOffboarded, at=at)


def _next_version(tenant: Tenant, kind: type[TenantEvent], *, at: datetime) -> tuple[Tenant, Events]:
    changed = msgspec.structs.replace(tenant, updated_at=at, version=tenant.version + 1)
    event = kind(
        tenant_id=changed.id,
        name=changed.name,
        currency=changed.currency,
        tier=changed.tier,
        status=changed.status,
    )
    return changed, (event,)
