"""`mercato`: the commands, and how a failure is told."""

import sys
from typing import Annotated, Literal

from cyclopts import App, Parameter

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

Service = Literal["users", "products", "orders", "payments", "gateway"]


@app.command
def up(
    *,
    host: str | None = None,
    port: int | None = None,
    data: DataOption = None,
    demo: Annotated[bool, Parameter(negative=())] = False,
    split: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Run every service in one process, migrated and ready, everything on one port.

    Parameters
    ----------
    host
        Address to listen on (MERCATO_HOST, 127.0.0.1).
    port
        Port to listen on (MERCATO_PORT, 8080; with --split 4000).
    data
        Data folder (MERCATO_DATA, mercato-data).
    demo
        Fill a store with sample data and run a purchase once it is up.
    split
        Run a process per service, and the gateway before them, on this machine.

    """
    from mercato.cli.serving import serve_all, serve_split  # noqa: PLC0415  commands import what they need

    start = serve_split if split else serve_all
    start(host=host, port=port, data=data, demo=demo)


@app.command
def serve(
    service: Service,
    /,
    *,
    host: str | None = None,
    port: int | None = None,
    data: DataOption = None,
    workers: int | None = None,
) -> None:
    """Run one service on its own database, or the gateway before all of them.

    Parameters
    ----------
    service
        Which one.
    host
        Address to listen on (MERCATO_HOST, 127.0.0.1).
    port
        Port to listen on (gateway 4000, users 8081, orders 8082, payments 8083, products 8084).
    data
        Data folder (MERCATO_DATA, mercato-data).
    workers
        Processes that share the port (MERCATO_WORKERS, 1); more than one need PostgreSQL.

    """
    from mercato.cli.serving import serve_one  # noqa: PLC0415  commands import what they need

    serve_one(service, host=host, port=port, data=data, workers=workers)


@app.command
def demo(*, url: str = "http://127.0.0.1:8080") -> None:
    """Open a store with 20 products on a running platform and run a shopper's purchase.

    Running it again uses the same store for another purchase.

    Parameters
    ----------
    url
        Where the platform is.

    """
    from mercato.cli.demo import run  # noqa: PLC0415  commands import what they need

    run(url)


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
def reconcile(
    *,
    data: DataOption = None,
    json: JsonFlag = False,
    services: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Compare the books of orders, stock, payments and provider, also while they are in use.

    Exits 0 when they balance, 1 when not, naming each difference.

    Parameters
    ----------
    data
        Data folder (MERCATO_DATA, mercato-data).
    json
        Print JSON.
    services
        Ask the running services at their URLs (MERCATO_ORDERS_URL and the like), not the databases.

    """
    from mercato.cli.reconcile import run  # noqa: PLC0415  commands import what they need

    run(data=data, json=json, services=services)


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
