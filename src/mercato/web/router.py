"""Routing: exact paths by one look-up, paths with placeholders segment by segment."""

from collections.abc import Iterable, Mapping, Sequence

from mercato.kernel.errors import NotFound
from mercato.web.dialect import ENVELOPED, Dialect
from mercato.web.endpoint import Endpoint
from mercato.web.errors import MethodNotAllowed

_Methods = dict[str, Endpoint]


class _Node:
    """One segment's place in the tree of paths with placeholders."""

    __slots__ = ("any", "exact", "methods")

    def __init__(self) -> None:
        self.exact: dict[str, _Node] = {}
        self.any: _Node | None = None
        self.methods: _Methods = {}


class Router:
    """Finds the endpoint of a method and path."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        """Place every endpoint. Raises ValueError where two endpoints have the same method and path."""
        self.endpoints = list(endpoints)
        self._exact: dict[str, _Methods] = {}
        self._root = _Node()
        self._dialects = {_first(each.path): each.dialect for each in self.endpoints if each.in_contract}
        for endpoint in self.endpoints:
            methods = self._place(endpoint.path)
            if endpoint.method in methods:
                raise ValueError(f"{endpoint.route} is declared twice")
            methods[endpoint.method] = endpoint

    def _place(self, path: str) -> _Methods:
        if "{" not in path:
            return self._exact.setdefault(path, {})
        node = self._root
        for segment in path.split("/"):
            if segment.startswith("{"):
                node.any = node.any or _Node()
                node = node.any
            else:
                node = node.exact.setdefault(segment, _Node())
        return node.methods

    def find(self, method: str, path: str) -> tuple[Endpoint, Sequence[str]]:
        """Return the endpoint and the placeholders' values. HEAD is answered by GET.

        Raises NotFound for an unknown path, MethodNotAllowed naming the methods it has.
        """
        methods = self._exact.get(path)
        params: list[str] = []
        if methods is None:
            methods = self._walk(path, params)
        if not methods:
            raise NotFound("There is nothing at this path.")
        endpoint = methods.get("GET" if method == "HEAD" else method)
        if endpoint is None:
            raise MethodNotAllowed(allowed(methods))
        return endpoint, params

    def dialect_at(self, path: str) -> Dialect:
        """Return the dialect spoken below the path's first word; the contract's where nothing is."""
        return self._dialects.get(_first(path), ENVELOPED)

    def allowed(self, path: str) -> str:
        """Return the methods of a path for an Allow header. Raises NotFound."""
        return allowed(self.methods(path))

    def methods(self, path: str) -> Mapping[str, Endpoint]:
        """Return a path's endpoints by their methods. Raises NotFound."""
        methods = self._exact.get(path) or self._walk(path, [])
        if not methods:
            raise NotFound("There is nothing at this path.")
        return methods

    def _walk(self, path: str, params: list[str]) -> _Methods | None:
        node = self._root
        for segment in path.split("/"):
            following = node.exact.get(segment)
            if following is None:
                following = node.any
                if following is None or not segment:
                    return None
                params.append(segment)
            node = following
        return node.methods


def _first(path: str) -> str:
    return path[1:].partition("/")[0]


def allowed(methods: Mapping[str, Endpoint]) -> str:
    """Return an Allow header's value."""
    names = set(methods) | {"OPTIONS"}
    if "GET" in names:
        names.add("HEAD")
    return ", ".join(sorted(names))
