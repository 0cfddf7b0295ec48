"""`mercato`: the commands, and how a failure is told."""

import sys
from typing import Annotated, Literal

from cyclopts import App, Parameter, validators

from mercato import __version__
from mercato.cli.common import refused
from mercato.cli.dlq import dlq
from mercato.cli.keys import keys
from mercato.cli.migrate import migrate
from mercato.cli.options import DataOption, JsonFlag
from mercato.cli.tenants import tenants

app = App(
    name="mercato",
    help="A commerce backend for many stores at once. `mercato up` starts everything in one process.",
    version=__version__,
    help_format="plaintext",
)
app.command(migrate)
app.command(tenants)
app.command(dlq)
app.command(keys)

_Seed = Annotated[int, Parameter(validator=validators.Number(gte=1, lte=999_999))]
Service = Literal["users", "products", "orders", "payments"]


@app.command
def up(
    *,
    host: str | None = None,
    port: int | None = None,
    data: DataOption = None,
    demo: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Run every service in one process, migrated and ready, everything on one port.

    Parameters
    ----------
    host
        Address to listen on (MERCATO_HOST, 127.0.0.1).
    port
        Port to listen on (MERCATO_PORT, 8080).
    data
        Data folder (MERCATO_DATA, mercato-data).
    demo
        Fill a store with sample data and run a purchase once it is up.

    """
    from mercato.cli.serving import serve_all  # noqa: PLC0415  commands import what they need

    serve_all(host=host, port=port, data=data, demo=demo)


@app.command
def serve(
    service: Service,
    /,
    *,
    host: str | None = None,
    port: int | None = None,
    data: DataOption = None,
) -> None:
    """Run one service alone on its own database.

    Parameters
    ----------
    service
        Which one.
    host
        Address to listen on (MERCATO_HOST, 127.0.0.1).
    port
        Port to listen on (users 8081, orders 8082, payments 8083, products 8084).
    data
        Data folder (MERCATO_DATA, mercato-data).

    """
    from mercato.cli.serving import serve_one  # noqa: PLC0415  commands import what they need

    serve_one(service, host=host, port=port, data=data)


@app.command
def demo(
    *,
    url: str = "http://127.0.0.1:8080",
    seed: _Seed = 1,
    json: JsonFlag = False,
) -> None:
    """Fill a running platform with two believable stores, their customers, orders and payments.

    Made through the public API. Run again, it makes only what is missing, and changes nothing.

    Parameters
    ----------
    url
        Where the platform is.
    seed
        What the stores are drawn from; each seed has stores of its own.
    json
        Print JSON.

    """
    from mercato.cli.demo.command import run  # noqa: PLC0415  commands import what they need

    run(url, seed=seed, json=json)


@app.command
def config(*, data: DataOption = None, json: JsonFlag = False) -> None:
    """List every setting: its variable, value, where that comes from, and what it is for.

    Parameters
    ----------
    data
        Data folder, as for the other commands.
    json
        Print JSON.

    """
    from mercato.cli.config import show  # noqa: PLC0415  commands import what they need

    show(data=data, json=json)


@app.command
def reconcile(*, data: DataOption = None, json: JsonFlag = False) -> None:
    """Compare the books of orders, stock, payments and provider, also while they are in use.

    Exits 0 when they balance, 1 when not, naming each difference.

    Parameters
    ----------
    data
        Data folder (MERCATO_DATA, mercato-data).
    json
        Print JSON.

    """
    from mercato.cli.reconcile import run  # noqa: PLC0415  commands import what they need

    run(data=data, json=json)


@app.command
def export(*, tenant: str, out: str | None = None, data: DataOption = None, json: JsonFlag = False) -> None:
    """Write all that a store owns to a file, a JSON object a line, also while it is in use.

    The file is there whole or not at all. Passwords, secrets and tokens are not in it.

    Parameters
    ----------
    tenant
        The store's id.
    out
        The file; TENANT.ndjson in the working directory if left out.
    data
        Data folder (MERCATO_DATA, mercato-data).
    json
        Print JSON.

    """
    from mercato.cli.transfer import run  # noqa: PLC0415  commands import what they need

    run(tenant, out=out, data=data, json=json)


@app.command
def outbox(*, data: DataOption = None, json: JsonFlag = False) -> None:
    """Show how many events wait to be sent, by service, and since when.

    Parameters
    ----------
    data
        Data folder (MERCATO_DATA, mercato-data).
    json
        Print JSON.

    """
    from mercato.cli.outbox import show  # noqa: PLC0415  commands import what they need

    show(data=data, json=json)


@app.command
def openapi(*, output: str | None = None) -> None:
    """Print the OpenAPI document of the whole API.

    Parameters
    ----------
    output
        File to write it to instead.

    """
    from mercato.cli.openapi import write  # noqa: PLC0415  commands import what they need

    write(output)


@app.command
def version(*, json: JsonFlag = False) -> None:
    """Print the version.

    Parameters
    ----------
    json
        Print JSON.

    """
    print(f'{{"version": "{__version__}"}}' if json else f"mercato {__version__}")


def main() -> None:
    """Run the command line. A refusal is one sentence on standard error and exit code 2."""
    with refused():
        app()
    sys.exit(0)
