"""`mercato up` and `mercato serve`."""

import os
import sys
import threading
import time
from contextlib import nullcontext

from mercato import __version__
from mercato.cli.common import settings
from mercato.runtime.prefork import GATEWAY, is_worker, serve_workers
from mercato.runtime.server import Build, run, run_process
from mercato.runtime.settings import Settings, load

PORTS = {
    GATEWAY: 4000,
    "users": 8081,
    "orders": 8082,
    "payments": 8083,
    "products": 8084,
    "notifications": 8085,
}

_LAST_LINES_S = 0.1

_APART: dict[str, object] = {"onboarding": "operator", "default_tier": "basic", "address_rate": 100}
"""What is closed by default where a service is not somebody's laptop."""


def serve_all(*, host: str | None, port: int | None, data: str | None, demo: bool) -> None:
    """Run every service until a signal ends it."""
    from mercato.runtime.embedded import Embedded  # noqa: PLC0415  after the settings were found good
    from mercato.runtime.folder import SCHEMAS  # noqa: PLC0415

    chosen = settings(host=host, port=port, data=data)

    def ready() -> None:
        url = chosen.own_url
        _say(f"Mercato {__version__} is up: every service at {url}")
        _say(f"  API        {url}/api/v1   (to read and try: {url}/docs)")
        _say(f"  GraphQL    {url}/graphql   (a browser is shown a page to ask on)")
        _say(f"  health     {url}/health   (metrics: {url}/metrics)")
        if chosen.mail_sender == "mailbox":
            _say(f"  mailbox    {url}/mailbox   (emails are kept there, and go no further)")
        _say(f"  data       {chosen.folder.resolve()}")
        _say("  stop       Ctrl-C")
        if demo:
            # A client like any other: in its own thread, over HTTP.
            threading.Thread(target=_demo, args=(url,), daemon=True).start()

    run_process(chosen, SCHEMAS, lambda traces: Embedded(chosen, traces=traces).process, ready)
    end()


def serve_one(
    service: str, *, host: str | None, port: int | None, data: str | None, workers: int | None = None
) -> None:
    """Run one service, or the gateway, until a signal ends it."""
    chosen = load(
        os.environ, {"port": PORTS[service], **_APART}, host=host, port=port, data=data, workers=workers
    )
    if chosen.workers > 1 and not is_worker():
        serve_workers(service, chosen)
        return

    def ready() -> None:
        where = f"http://{chosen.host}:{chosen.port}" if is_worker() else chosen.own_url
        if service == GATEWAY:
            _say(f"Mercato {__version__}: {GATEWAY} at {where}")
        else:
            _say(f"Mercato {__version__}: {service} alone at {where}, data in {_data_of(chosen)}")

    run(chosen, *_built(service, chosen), ready, name=service, shares_port=is_worker())
    end()


def end() -> None:
    """End a process that has stopped in order; where its HTTP client was in use, at once.

    The client's threads may still let go of what a request held. One that asks for the interpreter while
    that is being taken down aborts the process.
    """
    if "pyreqwest" in sys.modules:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def serve_split(*, host: str | None, port: int | None, data: str | None, demo: bool) -> None:
    """Run a process per service and the gateway before them until a signal ends them."""
    from mercato.runtime.settings import given  # noqa: PLC0415
    from mercato.runtime.split import Plan, run_split  # noqa: PLC0415

    chosen = load(os.environ, {"port": PORTS[GATEWAY]}, host=host, port=port, data=data)
    chosen.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    plan = Plan.of(chosen, [service for service in PORTS if service != GATEWAY])

    def ready() -> None:
        url = chosen.own_url
        _say(f"Mercato {__version__} is up: a process per service, and the gateway at {url}")
        _say(f"  API        {url}/api/v1   (to read and try: {url}/docs)")
        _say(f"  GraphQL    {url}/graphql   (a browser is shown a page to ask on)")
        _say(f"  health     {url}/health")
        for service in plan.services:
            _say(f"  {service:10} {plan.url(service)}")
        _say(f"  data       {_data_of(chosen)}")
        if not chosen.broker_url:
            _say(
                "  events     wait where they are: processes need a broker to pass them on, which"
                " MERCATO_BROKER_URL names; until then no order is confirmed"
            )
        _say("  stop       Ctrl-C")
        if demo:
            threading.Thread(target=_demo, args=(url,), daemon=True).start()

    run_split(plan, given(os.environ), ready)


def _built(service: str, chosen: Settings) -> tuple[list[str], Build]:
    """Return which databases of the data folder a service works on, and what builds it."""
    if service == GATEWAY:
        from mercato.runtime.edge import Edge, declared  # noqa: PLC0415  each process needs one of the two
        from mercato.runtime.edge_live import offered  # noqa: PLC0415

        endpoints, graphql = declared(chosen), offered(chosen)
        return [], lambda write, registry, traces: Edge(
            chosen, endpoints, write, registry, graphql=graphql, traces=traces
        )
    from mercato.runtime.apart import Apart  # noqa: PLC0415

    locked = [] if chosen.database_url else [service]
    return locked, lambda write, registry, traces: Apart(service, chosen, write, registry, traces=traces)


def _data_of(chosen: Settings) -> str:
    return "PostgreSQL" if chosen.database_url else str(chosen.folder.resolve())


def _demo(url: str) -> None:
    """Make the demo. On a terminal its requests, a thousand of them, are not logged."""
    from mercato.cli.common import Refused  # noqa: PLC0415  only with --demo
    from mercato.cli.demo.command import run as run_demo  # noqa: PLC0415
    from mercato.cli.demo.plan import DEFAULT_SEED  # noqa: PLC0415
    from mercato.runtime.logs import hushed  # noqa: PLC0415

    try:
        with hushed() if sys.stderr.isatty() else nullcontext():
            run_demo(url, seed=DEFAULT_SEED)
            # The access log is written a moment later than its requests are answered.
            time.sleep(_LAST_LINES_S)
    except Refused as error:
        print(f"mercato: {error}", file=sys.stderr)


def _say(line: str) -> None:
    print(line, flush=True)
