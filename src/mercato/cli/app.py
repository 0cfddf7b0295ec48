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

Service = Literal["users", "products", "orders", "payments", "notifications"]


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
        Port to listen on (users 8081, orders 8082, payments 8083, products 8084, notifications 8085).
    data
        Data folder (MERCATO_DATA, mercato-data).

    """
    from mercato.cli.serving import serve_one  # noqa: PLC0415  commands import what they need

    serve_one(service, host=host, port=port, data=data)


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
def export(
    *,
    tenant: str | None = None,
    out: str | None = None,
    data: DataOption = None,
    json: JsonFlag = False,
) -> None:
    """Write the whole instance to one file, its backup, also while it is in use; or what one store owns.

    The file is there whole or not at all. Of an instance it holds everything that `mercato import` makes
    the same instance of, passwords' hashes and signing keys too: keep it as a secret. Of one store it holds
    a JSON object a line, without passwords, secrets and tokens.

    Parameters
    ----------
    tenant
        The store's id; without one the whole instance is written.
    out
        The file; if left out, mercato-YYYYmmdd-HHMMSS.export.gz or TENANT.ndjson in the working directory.
    data
        Data folder (MERCATO_DATA, mercato-data).
    json
        Print JSON.

    """
    if tenant is None:
        from mercato.cli.instance import write  # noqa: PLC0415  commands import what they need

        write(out=out, data=data, json=json)
        return
    from mercato.cli.transfer import run  # noqa: PLC0415  commands import what they need

    run(tenant, out=out, data=data, json=json)


@app.command(name="import")
def import_(file: str, /, *, data: DataOption = None, json: JsonFlag = False) -> None:
    """Make a new instance of a file that `mercato export` wrote, and check that its books balance.

    It is there whole or not at all. Exits 1 if the books do not balance, naming each difference.

    Parameters
    ----------
    file
        The file.
    data
        Data folder to make; it must be empty or not there (MERCATO_DATA, mercato-data).
    json
        Print JSON.

    """
    from mercato.cli.instance import read  # noqa: PLC0415  commands import what they need

    read(file, data=data, json=json)


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
