"""What endpoints of the flat dialect share: bodies in camelCase, whole lists, and ids with their store."""

from typing import Annotated

import msgspec

from mercato.kernel.errors import FieldError
from mercato.kernel.tenancy import MAX_SLUG
from mercato.web.call import Call
from mercato.web.decode import Body, Query
from mercato.web.paging import MAX_CURSOR, ListQuery

MAX_PAGE = 1000
"""How many objects a bare array has at most; a Link leads to more."""
MAX_ID = MAX_SLUG + 1 + 64
"""Characters of an id or SKU with its store before it."""


class FlatBody(Body, frozen=True, rename="camel"):
    """A request body in camelCase."""


class FlatView(msgspec.Struct, frozen=True, rename="camel"):
    """What is answered, in camelCase."""


class FlatListQuery(Query, frozen=True):
    """The parameters of a list that is meant to be read whole."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)] = MAX_PAGE
    after: Annotated[str, msgspec.Meta(max_length=MAX_CURSOR)] | None = None

    @property
    def listed(self) -> ListQuery:
        """The same, as the contract's lists are asked for it: nothing is counted."""
        return ListQuery(limit=self.limit, after=self.after, count=False)


def local_id(call: Call, text: str) -> str:
    """Return an id without its store, if that is the one the call acts in.

    With another's it stays as it is, and so names nothing.
    """
    return text.removeprefix(f"{call.tenant}:")


def fixed(field: str, given: object, *kept: object) -> list[FieldError]:
    """Refuse a field that is sent back otherwise than it was read; None is left out."""
    if given is None or given in kept:
        return []
    return [FieldError(field, "cannot be changed here: leave it out, or send it as it was")]
