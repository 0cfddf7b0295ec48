"""Settings: every choice is an environment variable, read once, checked, and listed.

A `.env` file in the working directory is read too; the environment wins over it, and a
command's own options win over both.
"""

from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

import msgspec

from mercato.kernel.redaction import discreet
from mercato.kernel.tenancy import Tier
from mercato.runtime.setting_kinds import description, is_secret, one_of, shown, taken
from mercato.runtime.setting_kinds import doc as _doc
from mercato.web.limits import Allowance, Limits, QuotaStore

PREFIX = "MERCATO_"
DOTENV = Path(".env")
_SECRET_LENGTH = 8


class Alias(msgspec.Struct, frozen=True):
    """Another name of a setting, as the environments of the Go services or OpenTelemetry have it."""

    of: str
    """The setting's field."""
    meanings: Mapping[str, str] = {}
    """What it takes, in any case, and our own word for each; where this is empty, what the setting takes."""


ALIASES: dict[str, Alias] = {
    "PORT": Alias("port"),
    "LOG_LEVEL": Alias(
        "log_level",
        {
            "trace": "debug",
            "debug": "debug",
            "info": "info",
            "warn": "warning",
            "warning": "warning",
            "error": "error",
            "dpanic": "error",
            "panic": "error",
            "fatal": "error",
        },
    ),
    "OTEL_EXPORTER_OTLP_ENDPOINT": Alias("traces_endpoint"),
    "OTEL_EXPORTER_OTLP_HEADERS": Alias("traces_headers"),
    "OTEL_SERVICE_NAME": Alias("traces_service"),
    "OTEL_RESOURCE_ATTRIBUTES": Alias("traces_resource"),
}
"""By variable. A setting's own name wins, wherever it is set; an empty alias is none."""


class WrongSetting(Exception):
    """A setting's value is not acceptable; the message is a sentence that names it."""


_Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
_Bytes = Annotated[int, msgspec.Meta(ge=1024, le=1 << 40)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
_POSTGRES: dict[str, Any] = {
    "pattern": r"^\Z|^postgresql://",
    "form": "a URL that begins with postgresql://, or nothing",
    "secret": True,
}
_PLACE: dict[str, Any] = {
    "pattern": r"^https?://[^/?#]+/?\Z",
    "form": "a URL such as http://HOST:PORT, without a path",
}
_ADDRESS = r"^[A-Za-z0-9.!#$%&*+/=?^_`{|}~\'-]{1,64}@[A-Za-z0-9.-]{1,253}\Z"
_ADDRESS_FORM = "an email address and nothing else, such as shop@example.com"
_MAIL_FROM = "no-reply@localhost"
_TIER = _doc(
    "requests per second/burst/requests per day of the tier; 0 is no limit",
    pattern=r"^[0-9]{1,9}/[0-9]{1,9}/[0-9]{1,9}\Z",
    form="three whole numbers with slashes between them, such as 10/10/1000",
)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How one process of Mercato runs."""

    data: Annotated[str, _doc("folder of the embedded databases and keys", min_length=1)] = "mercato-data"
    database_url: Annotated[
        str,
        _doc(
            "where services keep their data, as postgresql://ROLE:PASSWORD@HOST/mercato_{service}; the role"
            " sees one store at a time; empty: files in the data folder",
            **_POSTGRES,
        ),
    ] = ""
    database_system_url: Annotated[
        str,
        _doc("the same for the platform's own work on every store", **_POSTGRES),
    ] = ""
    database_owner_url: Annotated[
        str,
        _doc("the same for `mercato migrate`, as the tables' owner", **_POSTGRES),
    ] = ""
    database_pool: Annotated[
        int, _doc("connections of a process to a database, for each of the two roles", ge=1, le=1_000)
    ] = 10
    database_set_local: Annotated[
        bool, _doc("whether each transaction names its store anew, as poolers by transaction need it")
    ] = False
    host: Annotated[str, _doc("address to listen on", min_length=1)] = "127.0.0.1"
    port: Annotated[int, _doc("port to listen on", ge=1, le=65_535)] = 8080
    onboarding: Annotated[Literal["open", "operator"], _doc("who may open a store")] = "open"
    default_tier: Annotated[
        Literal["basic", "advanced", "premium", "unlimited"],
        _doc("tier of a store whose opener may not choose"),
    ] = "unlimited"
    tier_basic: Annotated[str, _TIER] = "10/10/1000"
    tier_advanced: Annotated[str, _TIER] = "15/15/2000"
    tier_premium: Annotated[str, _TIER] = "300/300/6000"
    tier_unlimited: Annotated[str, _TIER] = "0/0/0"
    address_rate: Annotated[_Count, _doc("requests per second of one client address; 0 is no limit")] = 0
    address_burst: Annotated[_Count, _doc("requests at once of one client address")] = 200
    redis_url: Annotated[
        str,
        _doc(
            "Redis that replicas share limits, token cuts and news of changes through; empty for none",
            pattern=r"^\Z|^(rediss?|unix)://",
            form="a URL that begins with redis://, rediss:// or unix://, or nothing",
            secret=True,
        ),
    ] = ""
    redis_prefix: Annotated[
        str,
        _doc(
            "begin of every name in Redis",
            pattern=r"^[A-Za-z0-9._-]{1,64}\Z",
            form="1 to 64 letters, digits, dots, dashes and underscores",
        ),
    ] = "mercato"
    unheard_tokens: Annotated[
        Literal["accept", "refuse"],
        _doc("whether a service accepts tokens while Redis cannot tell it which of them were cut off"),
    ] = "accept"
    tenant_domain: Annotated[str, _doc("domain below which each store has a host; empty for none")] = ""
    max_body: Annotated[_Bytes, _doc("bytes of a request's body")] = 1024 * 1024
    max_import: Annotated[_Bytes, _doc("bytes of an import, which is read while it arrives")] = 1 << 30
    issuer: Annotated[str, _doc("issuer of the tokens, a URL", min_length=1)] = "http://localhost:8080"
    audience: Annotated[str, _doc("audience of the tokens", min_length=1)] = "mercato"
    token_ttl: Annotated[float, _doc("seconds an access token is valid", ge=1, le=86_400)] = 900.0
    refresh_ttl: Annotated[int, _doc("days a refresh token is valid", ge=1, le=365)] = 30
    link_url: Annotated[
        str,
        _doc(
            "page that links in emails lead to; {action} and {token} are filled in; empty: our own",
            pattern=r"^\Z|\{token\}",
            form="a URL with {token} in it, or nothing",
        ),
    ] = ""
    cors_origins: Annotated[str, _doc("other origins that browsers may call from, comma-separated, or *")] = (
        ""
    )
    sockets: Annotated[
        int, _doc("open sockets and event streams of a process, which subscriptions need", ge=1, le=1_000_000)
    ] = 1_000
    address_sockets: Annotated[int, _doc("those of one client address", ge=1, le=1_000_000)] = 100
    socket_operations: Annotated[int, _doc("operations at once over one socket", ge=1, le=10_000)] = 50
    socket_ping: Annotated[_Seconds, _doc("seconds until a silent socket is asked, and cut off after")] = 20.0
    request_deadline: Annotated[_Seconds, _doc("seconds a request may take")] = 30.0
    drain_deadline: Annotated[_Seconds, _doc("seconds that requests under way get to finish at a stop")] = (
        30.0
    )
    queue_delay: Annotated[
        float,
        _doc("seconds the requests of a store may wait for a busy process; 0: all are begun", ge=0, le=60),
    ] = 0.2
    dependency_calls: Annotated[
        int,
        _doc("calls of another service made at a time; as many more wait", ge=1, le=100_000),
    ] = 128
    hold: Annotated[_Seconds, _doc("seconds an order's stock is held for its payment")] = 900.0
    orphan_grace: Annotated[_Seconds, _doc("seconds after a hold's end until its order is asked for")] = 60.0
    payment_provider: Annotated[Literal["sandbox", "stripe"], _doc("who moves the money")] = "sandbox"
    sandbox_webhooks: Annotated[
        Literal["off", "on", "late", "twice", "shuffled"], _doc("how the sandbox reports what it did")
    ] = "off"
    stripe_key: Annotated[str, _doc("secret key of the Stripe account", secret=True)] = ""
    stripe_webhook_secret: Annotated[str, _doc("what Stripe signs its webhooks with", secret=True)] = ""
    stripe_url: Annotated[str, _doc("where Stripe's API is", min_length=1)] = "https://api.stripe.com"
    provider_timeout: Annotated[_Seconds, _doc("seconds a payment provider gets to answer")] = 10.0
    mail_sender: Annotated[
        Literal["mailbox", "smtp"], _doc("who takes emails: the local mailbox, or a server")
    ] = "mailbox"
    mail_from: Annotated[str, _doc("address that emails come from", pattern=_ADDRESS, form=_ADDRESS_FORM)] = (
        _MAIL_FROM
    )
    mail_reply_to: Annotated[
        str,
        _doc(
            "address that answers to emails go to; empty for none",
            pattern=rf"^\Z|{_ADDRESS}",
            form=f"{_ADDRESS_FORM}, or nothing",
        ),
    ] = ""
    mailbox_keep: Annotated[
        int, _doc("emails that the local mailbox keeps of each store", ge=1, le=100_000)
    ] = 1_000
    mail_attempts: Annotated[int, _doc("attempts to send an email, ever further apart", ge=1, le=100)] = 15
    mail_retention: Annotated[int, _doc("days that it is kept to whom what email went", ge=1, le=36_500)] = (
        365
    )
    mail_retry: Annotated[_Seconds, _doc("seconds until the second attempt to send an email")] = 10.0
    smtp_host: Annotated[str, _doc("mail server")] = ""
    smtp_port: Annotated[int, _doc("the mail server's port", ge=1, le=65_535)] = 587
    smtp_user: Annotated[str, _doc("login at the mail server; empty for none")] = ""
    smtp_password: Annotated[str, _doc("password at the mail server", secret=True)] = ""
    smtp_tls: Annotated[
        Literal["none", "starttls", "implicit"], _doc("how the connection to the mail server is encrypted")
    ] = "starttls"
    smtp_timeout: Annotated[_Seconds, _doc("seconds that the mail server gets to take an email")] = 30.0
    outbox_retention: Annotated[_Seconds, _doc("seconds that sent events are kept")] = 86_400.0
    audit_retention: Annotated[int, _doc("days that entries of the audit log are kept", ge=1, le=36_500)] = (
        365
    )
    broker_url: Annotated[
        str,
        _doc(
            "RabbitMQ between the services' processes, amqp://USER:PASSWORD@HOST:PORT/VHOST or amqps://;"
            " empty: events stay in the process",
            secret=True,
        ),
    ] = ""
    users_url: Annotated[str, _doc("where the users service is", **_PLACE)] = "http://127.0.0.1:8081"
    products_url: Annotated[str, _doc("where the products service is", **_PLACE)] = "http://127.0.0.1:8084"
    orders_url: Annotated[str, _doc("where the orders service is", **_PLACE)] = "http://127.0.0.1:8082"
    payments_url: Annotated[str, _doc("where the payments service is", **_PLACE)] = "http://127.0.0.1:8083"
    notifications_url: Annotated[str, _doc("where the notifications service is", **_PLACE)] = (
        "http://127.0.0.1:8085"
    )
    cluster_secret: Annotated[
        str,
        _doc(
            "what services sign their calls of each other with, 32 characters or more; empty: no calls",
            pattern=r"^(.{32,})?\Z",
            form="32 characters or more, or nothing",
            secret=True,
        ),
    ] = ""
    trusted_proxies: Annotated[
        str,
        _doc("addresses and networks, comma-separated, whose X-Forwarded headers the gateway believes"),
    ] = ""
    graphql_max_body: Annotated[_Bytes, _doc("bytes of a body at /graphql")] = 100 * 1024
    graphql_max_document: Annotated[_Bytes, _doc("bytes of a GraphQL document")] = 64 * 1024
    graphql_max_tokens: Annotated[int, _doc("tokens of a GraphQL document", ge=1, le=100_000)] = 1_000
    graphql_max_depth: Annotated[int, _doc("fields within fields of an operation", ge=1, le=100)] = 10
    graphql_max_aliases: Annotated[_Count, _doc("aliases of an operation")] = 30
    graphql_max_cost: Annotated[
        int, _doc("cost of an operation, which each answer tells in extensions.cost", ge=1, le=1_000_000_000)
    ] = 5_000
    graphql_max_batch: Annotated[int, _doc("operations of one request to /graphql", ge=1, le=1_000)] = 10
    graphql_deadline: Annotated[_Seconds, _doc("seconds a GraphQL query or mutation may take")] = 20.0
    graphql_introspection: Annotated[bool, _doc("whether the GraphQL schema may be asked for")] = True
    graphql_playground: Annotated[bool, _doc("whether browsers are shown a page at /graphql")] = True
    graphql_persisted_queries: Annotated[
        bool, _doc("whether clients may send a document once and then its hash (automatic persisted queries)")
    ] = True
    graphql_documents: Annotated[
        str,
        _doc("file or folder of the only GraphQL documents that are executed; empty: any document"),
    ] = ""
    graphql_public_age: Annotated[
        int,
        _doc(
            "seconds that caches may keep a GET's answer that is the same for all; 0: none", ge=0, le=86_400
        ),
    ] = 60
    workers: Annotated[int, _doc("processes of a service, which share its port", ge=1, le=256)] = 1
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], _doc("what is logged besides requests")
    ] = "info"
    log_format: Annotated[
        Literal["auto", "json", "pretty"], _doc("how it is logged; auto is pretty on a terminal")
    ] = "auto"
    access_log: Annotated[bool, _doc("whether each request is logged")] = True
    traces: Annotated[
        Literal["off", "console", "file", "otlp"],
        _doc("where recorded traces go: the console, a file in the data folder, or a collector by OTLP"),
    ] = "off"
    traces_sample: Annotated[float, _doc("share of the traces that is recorded, from 0 to 1", ge=0, le=1)] = (
        0.01
    )
    traces_endpoint: Annotated[
        str, _doc("the collector's URL, to which /v1/traces is added: OTLP over HTTP", min_length=1)
    ] = "http://localhost:4318"
    traces_headers: Annotated[
        str, _doc("headers for the collector, as name=value,name=value", secret=True)
    ] = ""
    traces_service: Annotated[
        str, _doc("service.name of the process in traces; empty: mercato, or mercato- and its service")
    ] = ""
    traces_resource: Annotated[
        str, _doc("what else is told of the process in traces, as name=value,name=value")
    ] = ""

    __repr__ = discreet

    @property
    def folder(self) -> Path:
        """The data folder."""
        return Path(self.data)

    @property
    def own_url(self) -> str:
        """Where this machine reaches the process."""
        host = reachable(self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def url_of(self, service: str) -> str:
        """Where a service is, in a process per service."""
        return str(getattr(self, f"{service}_url"))

    def allowance(self, tier: Tier) -> Allowance:
        """Return what a tier allows."""
        given: dict[Tier, str] = {
            Tier.BASIC: self.tier_basic,
            Tier.ADVANCED: self.tier_advanced,
            Tier.PREMIUM: self.tier_premium,
            Tier.UNLIMITED: self.tier_unlimited,
        }
        per_s, burst, per_day = map(int, given[tier].split("/"))
        return Allowance(per_s, burst, per_day)

    def limits(self, quotas: QuotaStore | None) -> Limits:
        """Return the limits; without `quotas` the day's counts end with the process."""
        return Limits(
            {tier: self.allowance(tier) for tier in Tier},
            address=Allowance(self.address_rate, self.address_burst),
            quotas=quotas,
        )


def reachable(host: str) -> str:
    """Return an address at which this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  compared, not bound


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


def given(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the variables of settings that somebody has set, in the environment or in `.env`."""
    found = {**_dotenv(), **environ}
    return {name: value for name, value in found.items() if name.startswith(PREFIX)}


def describe(environ: Mapping[str, str], **options: object) -> list[Described]:
    """Return every setting with its value, default and source. Raises WrongSetting."""
    settings, sources = _read(environ, options)
    defaults = Settings()
    return [
        Described(
            variable(field.name),
            shown(getattr(settings, field.name), field.type),
            str(getattr(defaults, field.name)),
            sources.get(field.name, "default"),
            ", also ".join([description(field.type), *_aliases_of(field.name)]),
        )
        for field in msgspec.structs.fields(Settings)
    ]


def secrets_of(settings: Settings) -> frozenset[str]:
    """Return what of these settings must never be told: secrets, and the passwords in URLs."""
    fields = msgspec.structs.fields(Settings)
    values = [str(getattr(settings, field.name)) for field in fields if is_secret(field.type)]
    passwords = [urlsplit(value).password or "" for value in values if "://" in value]
    told = (*values, *passwords, *map(unquote, passwords))
    # What is as short as a word would be found in words.
    return frozenset(each for each in told if len(each) >= _SECRET_LENGTH)


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
        for source, said, value in (
            ("option", name, options.get(field.name)),
            ("environment", name, environ.get(name)),
            (".env", name, dotenv.get(name)),
            *_by_alias(field.name, "environment", environ),
            *_by_alias(field.name, ".env", dotenv),
        ):
            if value is not None:
                values[field.name] = _convert(said, value, field.type)
                sources[field.name] = source
                break
    return Settings(**values), sources


def _aliases_of(name: str) -> list[str]:
    return [alias for alias, told in ALIASES.items() if told.of == name]


def _by_alias(name: str, where: str, given: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return what the aliases of a setting set there: the source, the alias, and the value."""
    return [(f"{where} ({alias})", alias, given[alias]) for alias in _aliases_of(name) if given.get(alias)]


def _dotenv() -> Mapping[str, str]:
    if not DOTENV.is_file():
        return {}
    from dotenv import dotenv_values  # noqa: PLC0415  most starts have no .env
    from dotenv.parser import parse_stream  # noqa: PLC0415

    try:
        written = DOTENV.read_text("utf-8")
    except UnicodeDecodeError:
        raise WrongSetting(f"{DOTENV} cannot be read: it is no text in UTF-8.") from None
    for line in parse_stream(StringIO(written)):
        # It would be left out without a word.
        if line.error:
            raise WrongSetting(f"{DOTENV} cannot be understood from line {line.original.line} on.")
    return {name: value or "" for name, value in dotenv_values(stream=StringIO(written)).items()}


def _refuse_unknown(given: Mapping[str, str], known: Mapping[str, object], where: str) -> None:
    """Refuse a misspelt setting, which would silently do nothing."""
    for name in given:
        if name.startswith(PREFIX) and name not in known:
            raise WrongSetting(f"{name}, in {where}, is not a setting; `mercato config` lists them all.")


def _convert(name: str, value: object, kind: Any) -> Any:  # noqa: ANN401  the field's own type
    if name in ALIASES and (meanings := ALIASES[name].meanings):
        meant = meanings.get(str(value).lower())
        if meant is None:
            raise WrongSetting(
                f"{name} is {value!r}, which is not acceptable: it takes {one_of(list(meanings))}."
            )
        value = meant
    try:
        # The environment may hold bytes that are no text.
        str(value).encode()
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError:
        told = ", which is not shown," if is_secret(kind) else f" is {str(value)!r}, which"
        raise WrongSetting(f"{name}{told} is not acceptable: it takes {taken(kind)}.") from None
    except UnicodeEncodeError:
        raise WrongSetting(f"{name} is no text: it is not in UTF-8.") from None
