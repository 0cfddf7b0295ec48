"""`mercato`: the commands, and how a failure is told."""

import signal
import sys
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Group, Parameter, UnusedCliTokensError, validators

from mercato import __version__
from mercato.cli.common import Refused, refused
from mercato.cli.completion import Shell, script
from mercato.cli.dlq import dlq
from mercato.cli.keys import keys
from mercato.cli.migrate import migrate
from mercato.cli.options import (
    KEEPING,
    KNOWING,
    LOOKING,
    RUNNING,
    DataOption,
    HostOption,
    JsonFlag,
    PortOption,
    examples,
    flag,
)
from mercato.cli.outbox import outbox
from mercato.cli.tenants import tenants

app = App(
    name="mercato",
    help="A commerce backend for many stores at once. `mercato up` starts everything in one process.",
    help_epilogue=(
        "Settings are environment variables named MERCATO_..., or lines of a .env file; `mercato config`"
        " lists them. Every command has --help, with examples.\n\n"
        + examples("up --demo", "doctor", "tenants create-operator --email you@example.com")
    ),
    version=__version__,
    help_format="plaintext",
)
for each in (migrate, tenants, dlq, keys, outbox):
    app.command(each)
_OPTIONS = Group("Options", sort_key=9)
for name in ("--help", "--version"):
    app[name].group = (_OPTIONS,)

_Seed = Annotated[
    int,
    Parameter(
        validator=validators.Number(gte=1, lte=999_999),
        help="What the stores are drawn from; each seed has stores of its own.",
    ),
]
_Url = Annotated[str, Parameter(help="Where the platform is.")]
_Shell = Annotated[Shell, Parameter(help="Which one.")]
_PORTS = "gateway 4000, users 8081, orders 8082, payments 8083, products 8084, notifications 8085"
Service = Literal["users", "products", "orders", "payments", "notifications", "gateway"]


@app.command(
    group=RUNNING,
    sort_key=1,
    help_epilogue=examples("up", "up --demo --port 9000", "up --data ~/shop"),
)
def up(
    *,
    host: HostOption = None,
    port: PortOption = None,
    data: DataOption = None,
    demo: Annotated[bool, flag("Make the demo's stores once it is up.")] = False,
    reload: Annotated[bool, flag("Start anew when the source or .env changes: for developers.")] = False,
    split: Annotated[bool, flag("Run a process per service, and the gateway before them.")] = False,
) -> None:
    """Run every service in one process, migrated and ready, everything on one port."""
    if reload:
        from mercato.cli.reload import watch  # noqa: PLC0415  commands import what they need

        given = {"--host": host, "--port": port, "--data": data}
        words = [word for name, value in given.items() if value is not None for word in (name, str(value))]
        watch(["up", *words, *(["--demo"] if demo else []), *(["--split"] if split else [])])
        return
    from mercato.cli.serving import serve_all, serve_split  # noqa: PLC0415  commands import what they need

    start = serve_split if split else serve_all
    start(host=host, port=port, data=data, demo=demo)


@app.command(group=RUNNING, sort_key=2, help_epilogue=examples("serve orders", "serve users --port 9001"))
def serve(
    service: Annotated[Service, Parameter(help="Which one.")],
    /,
    *,
    host: HostOption = None,
    port: Annotated[int | None, Parameter(help=f"Port to listen on (MERCATO_PORT; {_PORTS}).")] = None,
    data: DataOption = None,
    workers: Annotated[
        int | None,
        Parameter(help="Processes that share the port (MERCATO_WORKERS, 1); more than one need PostgreSQL."),
    ] = None,
) -> None:
    """Run one service on its own database, or the gateway before all of them."""
    from mercato.cli.serving import serve_one  # noqa: PLC0415  commands import what they need

    serve_one(service, host=host, port=port, data=data, workers=workers)


@app.command(
    group=RUNNING, sort_key=3, help_epilogue=examples("demo", "demo --url http://shop:9000 --seed 7")
)
def demo(*, url: _Url = "http://127.0.0.1:8080", seed: _Seed = 1, json: JsonFlag = False) -> None:
    """Fill a running platform with two believable stores, their customers, orders and payments.

    Made through the public API. Run again, it makes only what is missing, and changes nothing.
    """
    from mercato.cli.demo.command import run  # noqa: PLC0415  commands import what they need

    run(url, seed=seed, json=json)


@app.command(group=LOOKING, help_epilogue=examples("doctor", "doctor --data /var/lib/mercato --json"))
def doctor(
    *,
    host: HostOption = None,
    port: PortOption = None,
    data: DataOption = None,
    json: JsonFlag = False,
) -> None:
    """Look for what is wrong, or soon will be, and say what to do. Nothing is changed.

    Exits 0 without problems, 1 with some.
    """
    from mercato.cli.doctor.command import run  # noqa: PLC0415  commands import what they need

    run(data=data, host=host, port=port, json=json)


@app.command(group=KNOWING, help_epilogue=examples("config", "config --json"))
def config(*, data: DataOption = None, json: JsonFlag = False) -> None:
    """List every setting: its variable, value, where that comes from, its default, and what it is for."""
    from mercato.cli.config import show  # noqa: PLC0415  commands import what they need

    show(data=data, json=json)


@app.command(group=LOOKING, help_epilogue=examples("reconcile", "reconcile --json", "reconcile --services"))
def reconcile(
    *,
    data: DataOption = None,
    json: JsonFlag = False,
    services: Annotated[
        bool, flag("Ask the running services at their URLs (MERCATO_ORDERS_URL, ...), not the databases.")
    ] = False,
) -> None:
    """Compare the books of orders, stock, payments and provider, also while they are in use.

    Exits 0 when they balance, 1 when not, naming each difference.
    """
    from mercato.cli.reconcile import run  # noqa: PLC0415  commands import what they need

    run(data=data, json=json, services=services)


@app.command(
    group=KEEPING, help_epilogue=examples("export", "export --tenant tea-house --out tea-house.ndjson")
)
def export(
    *,
    tenant: Annotated[
        str | None, Parameter(help="The store's id; without one the whole instance is written.")
    ] = None,
    out: Annotated[
        str | None,
        Parameter(
            help="The file; mercato-YYYYmmdd-HHMMSS.export.gz or TENANT.ndjson in the working directory if"
            " left out."
        ),
    ] = None,
    data: DataOption = None,
    json: JsonFlag = False,
) -> None:
    """Write the whole instance to one file, its backup, also while it is in use; or what one store owns.

    The file is there whole or not at all. Of an instance it holds everything that `mercato import` makes
    the same instance of, passwords' hashes and signing keys too: keep it as a secret. Of one store it holds
    a JSON object a line, without passwords, secrets and tokens.

    """
    if tenant is None:
        from mercato.cli.instance import write  # noqa: PLC0415  commands import what they need

        write(out=out, data=data, json=json)
        return
    from mercato.cli.transfer import run  # noqa: PLC0415  commands import what they need

    run(tenant, out=out, data=data, json=json)


@app.command(
    name="import",
    group=KEEPING,
    help_epilogue=examples("import mercato-20260131-120000.export.gz --data ~/shop"),
)
def import_(
    file: Annotated[str, Parameter(help="A file that `mercato export` wrote.")],
    /,
    *,
    data: Annotated[
        str | None,
        Parameter(help="Data folder to make; it must be empty or not there (MERCATO_DATA, mercato-data)."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Make a new instance of an export of a whole one, and check that its books balance.

    It is there whole or not at all, in the data folder or, where MERCATO_DATABASE_URL is set, in empty
    databases on PostgreSQL. Exits 1 if the books do not balance, naming each difference.
    """
    from mercato.cli.instance import read  # noqa: PLC0415  commands import what they need

    read(file, data=data, json=json)


@app.command(group=KNOWING, help_epilogue=examples("openapi --output openapi.json"))
def openapi(*, output: Annotated[str | None, Parameter(help="File to write it to instead.")] = None) -> None:
    """Print the OpenAPI document of the whole API."""
    from mercato.cli.openapi import write  # noqa: PLC0415  commands import what they need

    write(output)


@app.command(group=KNOWING, help_epilogue=examples("graphql-schema --output schema.graphql"))
def graphql_schema(
    *, output: Annotated[str | None, Parameter(help="File to write it to instead.")] = None
) -> None:
    """Print the GraphQL schema, in GraphQL's type system language."""
    from mercato.cli.openapi import write_schema  # noqa: PLC0415  commands import what they need

    write_schema(output)


@app.command(
    group=KNOWING,
    help_epilogue=(
        "bash:  mercato completion bash > ~/.local/share/bash-completion/completions/mercato\n"
        "zsh:   mercato completion zsh > ~/.zfunc/_mercato   (with ~/.zfunc in fpath)\n"
        "fish:  mercato completion fish > ~/.config/fish/completions/mercato.fish"
    ),
)
def completion(shell: _Shell, /) -> None:
    """Print the script with which a shell completes commands and options."""
    print(script(app, shell), end="")


@app.command(group=KNOWING, help_epilogue=examples("version --json"))
def version(*, json: JsonFlag = False) -> None:
    """Print the version."""
    print(f'{{"version": "{__version__}"}}' if json else f"mercato {__version__}")


def main() -> None:
    """Run the command line. A refusal is one sentence on standard error and exit code 2."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # What is half done is cleared away: an export's draft is a secret too. Servers do otherwise.
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with refused():
        try:
            app(print_error=False, exit_on_error=False)
        except CycloptsError as error:
            raise Refused(_in_a_sentence(error)) from None
    sys.exit(0)


def _in_a_sentence(error: CycloptsError) -> str:
    """Return what is wrong with a command line, and where it is told how it is written."""
    if isinstance(error, UnusedCliTokensError):
        told = f"Unknown: {' '.join(error.unused_tokens or ())}."
    else:
        # All commands there are would be no sentence.
        told, _, _ = " ".join(str(error).split()).partition(" Available commands: ")
    return f"{told} `{' '.join(('mercato', *(error.command_chain or ())))} --help` tells what there is."
