"""What a setting's type says of it: what it is for, what it takes, and whether its value may be shown."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args, get_origin

import msgspec

_SHOWN = "(set)"


def doc(text: str, *, form: str = "", secret: bool = False, **limits: Any) -> msgspec.Meta:  # noqa: ANN401  msgspec.Meta's own limits
    """Describe a setting: `form` says in words what its pattern asks for; a secret's value is never shown."""
    return msgspec.Meta(description=text, extra={"form": form, "secret": secret}, **limits)


def taken(kind: Any) -> str:  # noqa: ANN401  the field's own type
    """Return in words what a setting takes."""
    plain = getattr(kind, "__origin__", kind) if _metas(kind) else kind
    if plain is bool:
        return "true or false"
    if get_origin(plain) is Literal:
        return one_of(get_args(plain))
    if plain is str:
        return _first(kind, lambda meta: (meta.extra or {}).get("form")) or "a text that is not empty"
    least = _first(kind, lambda meta: meta.ge)
    above = _first(kind, lambda meta: meta.gt)
    most = _first(kind, lambda meta: meta.le)
    what = "a whole number" if plain is int else "a number"
    return f"{what} above {above} and up to {most}" if least is None else f"{what} from {least} to {most}"


def one_of(words: Sequence[str]) -> str:
    """Return a choice in words."""
    *others, last = words
    return f"{', '.join(others)} or {last}"


def _first(kind: Any, of: Callable[[msgspec.Meta], Any]) -> Any:  # noqa: ANN401  the field's own type
    return next((found for meta in _metas(kind) if (found := of(meta)) not in {None, ""}), None)


def shown(value: object, kind: Any) -> str:  # noqa: ANN401  the field's own type
    """Return a value as it may be shown: secrets are only said to be there."""
    return _SHOWN if is_secret(kind) and value else str(value)


def is_secret(kind: Any) -> bool:  # noqa: ANN401  the field's own type
    """Say whether its value is never to be shown."""
    return any((meta.extra or {}).get("secret") for meta in _metas(kind))


def description(kind: Any) -> str:  # noqa: ANN401  the field's own type
    """Return what it is for."""
    return next((meta.description for meta in _metas(kind) if meta.description), "")


def _metas(kind: Any) -> list[msgspec.Meta]:  # noqa: ANN401  the field's own type
    return [meta for meta in getattr(kind, "__metadata__", ()) if isinstance(meta, msgspec.Meta)]
