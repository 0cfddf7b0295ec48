"""Settings: every choice is an environment variable, read once, checked, and listed.

A `.env` file in the working directory is read too; the environment wins over it, and a
command's own options win over both.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

PREFIX = "MERCATO_"
DOTENV = Path(".env")


class WrongSetting(Exception):
    """A setting's value is not acceptable; the message is a sentence that names it."""


def _doc(text: str, **limits: Any) -> msgspec.Meta:  # noqa: ANN401  msgspec.Meta's own limits
    return msgspec.Meta(description=text, **limits)


_Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How one process of Mercato runs."""

    data: Annotated[str, _doc("folder of the embedded databases and keys", min_length=1)] = "mercato-data"
    host: Annotated[str, _doc("address to listen on", min_length=1)] = "127.0.0.1"
    port: Annotated[int, _doc("port to listen on", ge=1, le=65_535)] = 8080
    onboarding: Annotated[Literal["open", "operator"], _doc("who may open a store")] = "open"
    default_tier: Annotated[
        Literal["basic", "advanced", "premium", "unlimited"],
        _doc("tier of a store whose opener may not choose"),
    ] = "unlimited"
    issuer: Annotated[str, _doc("issuer of the tokens, a URL", min_length=1)] = "http://localhost:8080"
    audience: Annotated[str, _doc("audience of the tokens", min_length=1)] = "mercato"
    token_ttl: Annotated[float, _doc("seconds an access token is valid", ge=1, le=86_400)] = 900.0
    cors_origins: Annotated[str, _doc("other origins that browsers may call from, comma-separated, or *")] = (
        ""
    )
    request_deadline: Annotated[_Seconds, _doc("seconds a request may take")] = 30.0
    drain_deadline: Annotated[_Seconds, _doc("seconds that requests under way get to finish at a stop")] = (
        30.0
    )
    hold: Annotated[_Seconds, _doc("seconds an order's stock is held for its payment")] = 900.0
    orphan_grace: Annotated[_Seconds, _doc("seconds after a hold's end until its order is asked for")] = 60.0
    provider_timeout: Annotated[_Seconds, _doc("seconds a payment provider gets to answer")] = 10.0
    outbox_retention: Annotated[_Seconds, _doc("seconds that sent events are kept")] = 86_400.0
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], _doc("what is logged besides requests")
    ] = "info"
    log_format: Annotated[
        Literal["auto", "json", "pretty"], _doc("how it is logged; auto is pretty on a terminal")
    ] = "auto"
    access_log: Annotated[bool, _doc("whether each request is logged")] = True

    @property
    def folder(self) -> Path:
        """The data folder."""
        return Path(self.data)


class Described(msgspec.Struct, frozen=True):
    """One setting, its value and where that came from."""

    name: str
    value: str
    default: str
    source: str
    description: str


def load(
    environ: Mapping[str, str], defaults: Mapping[str, object] | None = None, /, **options: object
) -> Settings:
    """Read the settings. `options` that are not None win. Raises WrongSetting.

    `defaults` are the process's own, for what nobody has set.
    """
    settings, sources = _read(environ, options)
    own = {name: value for name, value in (defaults or {}).items() if name not in sources}
    return msgspec.structs.replace(settings, **own)


def describe(environ: Mapping[str, str], **options: object) -> list[Described]:
    """Return every setting with its value, default and source. Raises WrongSetting."""
    settings, sources = _read(environ, options)
    defaults = Settings()
    return [
        Described(
            variable(field.name),
            str(getattr(settings, field.name)),
            str(getattr(defaults, field.name)),
            sources.get(field.name, "default"),
            _description(field.type),
        )
        for field in msgspec.structs.fields(Settings)
    ]


def variable(name: str) -> str:
    """Return the environment variable of the setting `name`."""
    return PREFIX + name.upper()


def _read(environ: Mapping[str, str], options: Mapping[str, object]) -> tuple[Settings, dict[str, str]]:
    dotenv = _dotenv()
    fields = {variable(field.name): field for field in msgspec.structs.fields(Settings)}
    _refuse_unknown(environ, fields, "the environment")
    _refuse_unknown(dotenv, fields, str(DOTENV))
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, field in fields.items():
        given = options.get(field.name)
        for source, value in (
            ("option", given),
            ("environment", environ.get(name)),
            (".env", dotenv.get(name)),
        ):
            if value is not None:
                values[field.name] = _convert(name, value, field.type)
                sources[field.name] = source
                break
    return Settings(**values), sources


def _dotenv() -> Mapping[str, str]:
    if not DOTENV.is_file():
        return {}
    from dotenv import dotenv_values  # noqa: PLC0415  most starts have no .env

    return {name: value or "" for name, value in dotenv_values(DOTENV).items()}


def _refuse_unknown(given: Mapping[str, str], known: Mapping[str, object], where: str) -> None:
    """Refuse a misspelt setting, which would silently do nothing."""
    for name in given:
        if name.startswith(PREFIX) and name not in known:
            raise WrongSetting(f"{name}, in {where}, is not a setting; `mercato config` lists them all.")


def _convert(name: str, value: object, kind: Any) -> Any:  # noqa: ANN401  the field's own type
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        expected = str(error).replace("`", "")
        raise WrongSetting(f"{name} is {value!r}, which is not acceptable: {expected}.") from None


def _description(kind: Any) -> str:  # noqa: ANN401  the field's own type
    for meta in getattr(kind, "__metadata__", ()):
        if isinstance(meta, msgspec.Meta) and meta.description:
            return meta.description
    return ""
