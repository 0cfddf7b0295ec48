"""What calls that read for somebody have in common: who it is for, and what is asked for."""

from collections.abc import Sequence

import msgspec

from mercato.clients.internal import Asked, store_of
from mercato.contracts.reading import MAX_IDS, distinct
from mercato.kernel.ids import UserId
from mercato.kernel.principal import Principal, Role
from mercato.web.call import Call


class Reader(msgspec.Struct, frozen=True):
    """For whom a service reads. The store is the one that its token names."""

    user_id: UserId
    email: str
    role: Role
    scopes: frozenset[str]


class AskedFor(Asked, frozen=True, kw_only=True):
    """A call on somebody's behalf."""

    reader: Reader


class AskMany(AskedFor, frozen=True, kw_only=True):
    """The ids of what is asked for."""

    ids: tuple[str, ...]


def reader(caller: Principal) -> Reader:
    """Return what to say of a caller."""
    return Reader(caller.user_id, caller.email, caller.role, caller.scopes)


def told(ids: Sequence[str]) -> tuple[str, ...]:
    """Return the ids to ask for: what cannot be one is not told, and of too many one too many is enough."""
    return tuple(distinct(ids)[: MAX_IDS + 1])


def caller_of(call: Call, body: AskedFor) -> Principal:
    """Return whom to read for, and work for their store. Raises Forbidden where no store is named."""
    read_for = body.reader
    return Principal(read_for.user_id, read_for.email, read_for.role, store_of(call), read_for.scopes)
