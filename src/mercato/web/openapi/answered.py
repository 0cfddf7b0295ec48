"""What a handler's return type says of its answers."""

from dataclasses import dataclass
from typing import Any, get_args, get_origin

import msgspec

from mercato.web.envelope import Download, Encoded, Page, Reply
from mercato.web.http import Response


@dataclass(frozen=True, slots=True)
class Answered:
    """An endpoint's success, as its handler's return type declares it."""

    data: Any
    """The type under `data`; None if there is no body."""
    paged: bool = False
    cached: bool = False
    download: bool = False

    @property
    def tagged(self) -> bool:
        """Whether the answer has an ETag: what is shown has a version, or makes its own tag."""
        return not self.paged and ("version" in _fields(self.data) or hasattr(self.data, "etag"))

    def id_at(self, noun: str) -> str | None:
        """Return where in the body the id of a new `noun` is, as a JSON pointer; None if it has none."""
        fields = _fields(self.data)
        if self.paged or not fields:
            return None
        if "id" in fields:
            return "/data/id"
        return f"/data/{noun}/id" if "id" in _fields(fields.get(noun)) else None


def _fields(kind: Any) -> dict[str, Any]:  # noqa: ANN401  any type expression
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return {}
    return {field.encode_name: field.type for field in msgspec.structs.fields(kind)}


def answered(returns: Any) -> Answered:  # noqa: ANN401  any type expression
    """Read a handler's return type."""
    origin = get_origin(returns)
    if origin is Reply:
        return answered(get_args(returns)[0])
    if origin is Encoded:
        inner = answered(get_args(returns)[0])
        return Answered(inner.data, paged=inner.paged, cached=True)
    if origin is Page:
        return Answered(list[get_args(returns)[0]], paged=True)  # type: ignore[misc]  # made at run time
    if returns is Download:
        return Answered(None, download=True)
    return Answered(None if returns in (type(None), Response) else returns)
