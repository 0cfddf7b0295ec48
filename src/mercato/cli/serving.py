"""`mercato up` and `mercato serve`."""

import os
import sys
import threading
import time
from contextlib import nullcontext

from mercato import __version__
from mercato.cli.common import settings
from mercato.runtime.server import run
from mercato.runtime.settings import load

PORTS = {"users": 8081, "orders": 8082, "payments": 8083, "products": 8084, "notifications": 8085}

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
        _say(f"  health     {url}/health   (metrics: {url}/metrics)")
        if chosen.mail_sender == "mailbox":
            _say(f"  mailbox    {url}/mailbox   (emails are kept there, and go no further)")
        _say(f"  data       {chosen.folder.resolve()}")
        _say("  stop       Ctrl-C")
        if demo:
            # A client like any other: in its own thread, over HTTP.
            threading.Thread(target=_demo, args=(url,), daemon=True).start()

    run(chosen, SCHEMAS, lambda: Embedded(chosen).process, ready)
    end()


def serve_one(service: str, *, host: str | None, port: int | None, data: str | None) -> None:
    """Run one service until a signal ends it."""
    from mercato.runtime.alone import alone  # noqa: PLC0415  after the settings were found good

    chosen = load(os.environ, {"port": PORTS[service], **_APART}, host=host, port=port, data=data)

    def ready() -> None:
        folder = chosen.folder.resolve()
        _say(f"Mercato {__version__}: {service} alone at {chosen.own_url}, data in {folder}")

    run(chosen, [service], lambda: alone(service, chosen), ready)
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
