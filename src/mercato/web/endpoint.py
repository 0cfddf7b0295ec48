"""Endpoint declarations: the single source of routing, validation, rights and OpenAPI.

A route is a typed function. Its parameters say what it takes: `call`, the path's placeholders
by name, `body` (a Body, or an Upload) and `query` (a Query). Its return type says what it answers:

    @routes.post("/orders", status=201, allow=SIGNED_IN, idempotent=True)
    async def place(call: Call, body: PlaceOrder) -> OrderView: ...
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Required, TypedDict, Unpack, get_type_hints

import msgspec

from mercato.kernel.errors import MercatoError
from mercato.kernel.principal import ANYONE, OPERATORS, STAFF, Role
from mercato.web.call import Call
from mercato.web.decode import Body, BodyDecoder, Query
from mercato.web.dialect import ENVELOPED, Dialect
from mercato.web.envelope import Upload
from mercato.web.idempotency import Claims

SIGNED_IN = ANYONE
ADMINS = STAFF
OPERATOR = OPERATORS
PUBLIC: None = None
NOBODY: frozenset[Role] = frozenset()
"""Audits no call: what sessions do by themselves, whoever's token comes with it."""

Handler = Callable[..., Awaitable[Any]]

_ROOT = "/api/v1/"
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


class NoBody(Body, frozen=True):
    """The body of a POST that takes none: absent, or an empty object."""


class NoQuery(Query, frozen=True):
    """The query of an endpoint that takes no parameters."""


class Options(TypedDict, total=False):
    """What a declaration says besides its function; Endpoint says what each means."""

    allow: Required[frozenset[Role] | None]
    status: int
    also: tuple[int, ...]
    idempotent: bool
    reissues: bool
    raises: tuple[type[MercatoError], ...]
    scope: str | None
    versioned: bool
    accepts: tuple[str, ...]
    produces: tuple[str, ...]
    max_body: int | None
    deadline_s: float | None
    example: Mapping[str, object] | None
    audited: frozenset[Role]
    storeless: bool
    in_contract: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method on one path, as declared."""

    method: str
    path: str
    handler: Handler
    tag: str
    status: int = 200
    also: tuple[int, ...] = ()
    """Further statuses of success, which a handler chooses by its Reply."""
    allow: frozenset[Role] | None
    """The roles that may call it; None lets anybody, with or without a token."""
    scope: str | None
    """What a machine must have been given to call it; None if its role is enough."""
    versioned: bool = False
    """A write of one object, which If-Match may bind to a version."""
    idempotent: bool = False
    claims: Claims | None
    """Where idempotency keys are claimed; None where keys mean nothing."""
    reissues: bool = False
    """A replay asks the handler again instead of storing an answer that holds secrets."""
    takes_body: bool
    accepts: tuple[str, ...] = ()
    """The content types of an upload, which is read while it arrives; empty for JSON bodies."""
    produces: tuple[str, ...] = ()
    """The content types of a download; what answers in the envelope leaves it empty."""
    body_type: type[Body]
    body_optional: bool
    """No field is required, so an absent body is an empty one."""
    takes_query: bool
    query_type: type[Query]
    returns: Any
    raises: tuple[type[MercatoError], ...] = ()
    max_body: int | None = None
    """In bytes; None leaves it to the shell."""
    deadline_s: float | None = None
    """How long a call may take; None leaves it to the shell."""
    example: Mapping[str, object] | None = None
    """A body that is accepted, for the OpenAPI document; tests send it."""
    decoder: BodyDecoder
    route: str = field(init=False)
    """The endpoint's name: method and path template."""
    audited: frozenset[Role] = STAFF
    """Whose changes by it are told in the store's audit log."""
    storeless: bool = False
    """The call is about all stores at once, so none may stand in its way."""
    in_contract: bool = True
    """Whether it acts in a store, within its limits; what only operates the platform does not."""
    dialect: Dialect = ENVELOPED
    """How its answers are written."""

    def __post_init__(self) -> None:
        # Every request's log line and metrics name it.
        object.__setattr__(self, "route", f"{self.method} {self.path}")

    @property
    def is_described(self) -> bool:
        """Whether the OpenAPI document names it, which knows one dialect alone."""
        return self.in_contract and self.dialect is ENVELOPED

    @property
    def path_parameters(self) -> list[str]:
        """The placeholders' names, in order."""
        return _PLACEHOLDER.findall(self.path)

    @property
    def resource(self) -> str:
        """What the endpoint is about: the path's first word below the API's root, else its tag."""
        if not self.path.startswith(_ROOT):
            return self.tag
        return self.path.removeprefix(_ROOT).partition("/")[0].replace("-", "_")

    @property
    def operation_id(self) -> str:
        """A name for client generators: the resource, and what the handler's name says besides it.

        Of products, `list_products` is `products_list`, `product` is `products_get` and `products`
        is `products_list`.
        """
        name, noun = self.handler.__name__, self.resource
        if name == noun:
            name = "list"
        elif name == noun.removesuffix("s"):
            name = self.method.lower()
        name = name.removesuffix(f"_{noun}").removesuffix(f"_{noun.removesuffix('s')}")
        return f"{noun}_{name}"

    @property
    def summary(self) -> str:
        """The first line of the handler's docstring."""
        return (inspect.getdoc(self.handler) or self.route).partition("\n")[0].rstrip(".")

    async def invoke(self, call: Call, params: Sequence[str], body: Any, query: Any) -> Any:  # noqa: ANN401
        """Call the handler with what it declared."""
        if self.takes_body:
            if self.takes_query:
                return await self.handler(call, *params, body=body, query=query)
            return await self.handler(call, *params, body=body)
        if self.takes_query:
            return await self.handler(call, *params, query=query)
        return await self.handler(call, *params)


class Routes:
    """The endpoints of one service."""

    def __init__(
        self, tag: str, *, prefix: str = "", claims: Claims | None = None, dialect: Dialect = ENVELOPED
    ) -> None:
        """`claims` holds the idempotency keys of the endpoints declared `idempotent`."""
        self.endpoints: list[Endpoint] = []
        self._tag = tag
        self._prefix = prefix
        self._claims = claims
        self._dialect = dialect

    def speaking(self, dialect: Dialect, *, prefix: str) -> "Routes":
        """Return routes that declare further endpoints of these, below another prefix, in that dialect."""
        other = Routes(self._tag, prefix=prefix, claims=self._claims, dialect=dialect)
        other.endpoints = self.endpoints
        return other

    def add(self, method: str, path: str, **options: Unpack[Options]) -> Callable[[Handler], Handler]:
        """Declare an endpoint. Raises TypeError where the function does not fit the path.

        Machines need the scope of the tag, to read for a GET and to write for all else, unless
        `scope` says otherwise.
        """
        idempotent = options.get("idempotent", False)
        if idempotent and self._claims is None:
            raise TypeError(f"{method} {path} is idempotent, and its routes have no claims")
        options.setdefault("scope", f"{self._tag}:{'read' if method == 'GET' else 'write'}")

        def declare(handler: Handler) -> Handler:
            hints, names = _signature(handler, self._prefix + path)
            body_type = hints.get("body", NoBody)
            if (body_type is Upload) != ("accepts" in options):
                raise TypeError(f"{handler.__name__} takes an upload, or it accepts content types: never one")
            body_type = NoBody if body_type is Upload else body_type
            endpoint = Endpoint(
                method=method,
                path=self._prefix + path,
                handler=handler,
                tag=self._tag,
                claims=self._claims if idempotent else None,
                takes_body="body" in names,
                body_type=body_type,
                body_optional=not any(field.required for field in msgspec.structs.fields(body_type)),
                takes_query="query" in names,
                query_type=hints.get("query", NoQuery),
                returns=hints["return"],
                decoder=BodyDecoder(body_type),
                dialect=self._dialect,
                **options,
            )
            self.endpoints.append(endpoint)
            return handler

        return declare

    def get(self, path: str, **options: Unpack[Options]) -> Callable[[Handler], Handler]:
        """Declare a GET; options as for `add`."""
        return self.add("GET", path, **options)

    def post(self, path: str, **options: Unpack[Options]) -> Callable[[Handler], Handler]:
        """Declare a POST; options as for `add`."""
        return self.add("POST", path, **options)

    def put(self, path: str, **options: Unpack[Options]) -> Callable[[Handler], Handler]:
        """Declare a PUT; options as for `add`."""
        return self.add("PUT", path, **options)

    def patch(self, path: str, **options: Unpack[Options]) -> Callable[[Handler], Handler]:
        """Declare a PATCH; options as for `add`."""
        return self.add("PATCH", path, **options)

    def delete(self, path: str, **options: Unpack[Options]) -> Callable[[Handler], Handler]:
        """Declare a DELETE; options as for `add`."""
        return self.add("DELETE", path, **options)


def _signature(handler: Handler, path: str) -> tuple[dict[str, Any], list[str]]:
    """Return a handler's types and parameters. Raises TypeError where they do not fit the path."""
    names = list(inspect.signature(handler).parameters)
    expected = ["call", *_PLACEHOLDER.findall(path), *[name for name in ("body", "query") if name in names]]
    if names != expected:
        raise TypeError(f"{handler.__name__} takes {names}, and {path} gives {expected}")
    return get_type_hints(handler), names
