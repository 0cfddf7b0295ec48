"""What is around a process: the broker, Redis, and the other services."""

import asyncio
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

import msgspec

from mercato import __version__
from mercato.cli.doctor.clocks import compared
from mercato.cli.doctor.findings import Finding, State, ok, problem, warning
from mercato.kernel.errors import MercatoError
from mercato.runtime.folder import SCHEMAS
from mercato.runtime.settings import Settings, WrongSetting, variable
from mercato.web.health import HealthReport

ANSWER_S = 3.0
"""How long a service may take to answer."""
_BROKER_S = 8.0
_MANY = 10_000
"""How many events in a queue are more than a hiccup."""


class Stranger(Exception):
    """Whoever answers is no Mercato."""


def ask_health(url: str) -> HealthReport:
    """Ask a process for its health. Raises ConnectionRefusedError, TimeoutError, and Stranger."""
    return _ask(url)[0]


def _ask(url: str) -> tuple[HealthReport, float | None]:
    """Ask a process for its health, and how far its machine's clock is ahead, if it tells the time."""
    where = urlsplit(url)
    kind = HTTPSConnection if where.scheme == "https" else HTTPConnection
    connection = kind(where.hostname or "", where.port, timeout=ANSWER_S)
    try:
        connection.request("GET", f"{where.path.rstrip('/')}/health")
        answer = connection.getresponse()
        report = msgspec.json.decode(answer.read(), type=HealthReport)
        there = (
            parsedate_to_datetime(answer.headers["date"]).timestamp() if "date" in answer.headers else None
        )
        # It tells seconds alone: half of one is the middle.
        return report, None if there is None else there + 0.5 - time.time()
    except (ConnectionRefusedError, TimeoutError):
        raise
    except (OSError, HTTPException, ValueError) as error:
        raise Stranger(str(error)) from None
    finally:
        connection.close()


def broker(found: Settings) -> Iterator[Finding]:
    """Look at RabbitMQ, and at the queues of all services."""
    from mercato.runtime.broker import CONSUMERS, broker_of  # noqa: PLC0415  slow to import

    if not found.broker_url:
        return
    try:
        broker_of(found, "doctor")
        from mercato.adapters.bus.rabbitmq_queues import queues_of  # noqa: PLC0415  an extra's driver

        queues = asyncio.run(queues_of(found.broker_url, CONSUMERS, _BROKER_S))
    except WrongSetting as error:
        yield problem("broker", str(error), "mend MERCATO_BROKER_URL")
        return
    except Exception as error:  # noqa: BLE001  the library fails in many words
        where = urlsplit(found.broker_url).hostname
        told = f"RabbitMQ at {where} cannot be used: {type(error).__name__}"
        yield problem("broker", told, "see that it runs, and that MERCATO_BROKER_URL names it, role and host")
        return
    missing = [name for name, queue in queues.items() if queue is None]
    if missing:
        told = f"reached; it has no queues of {', '.join(missing)} yet"
        yield ok("broker", told, "start any service: it makes them all")
    else:
        yield ok("broker", f"reached, with the queues of {len(queues)} services")
    for name, queue in queues.items():
        check = f"{name} queue"
        if queue is None:
            continue
        if queue.refused:
            told = f"{queue.refused} messages were refused for good"
            yield warning(check, told, f"look into the queue mercato.{name}.dead")
        if not queue.consumers and queue.events:
            told = f"{queue.events} events wait, and nobody takes them"
            yield warning(check, told, f"mercato serve {name}")
        elif queue.events > _MANY:
            yield warning(check, f"{queue.events} events wait", f"more replicas: mercato serve {name}")


def redis(found: Settings) -> Iterator[Finding]:
    """Look at whether Redis answers, and lets us write."""
    if not found.redis_url:
        return
    from mercato.runtime.shared import open_shared  # noqa: PLC0415  slow to import

    # What is logged of it is told here.
    logging.getLogger("mercato.adapters.redis").addHandler(logging.NullHandler())
    try:
        opened = open_shared(found)
    except WrongSetting as error:
        yield problem("redis", str(error), "install what is missing")
        return
    assert opened is not None  # noqa: S101  its URL is set

    async def probe() -> tuple[str | None, float]:
        try:
            fault = await opened.link.look()
            if fault is not None or not await opened.link.probe():
                return fault, 0.0
            return None, await opened.time() - time.time()
        finally:
            await opened.close()

    where = urlsplit(found.redis_url).hostname or "its socket"
    try:
        fault, apart_s = asyncio.run(probe())
    except (ValueError, MercatoError) as error:
        fault, apart_s = str(error), 0.0
    if fault is None:
        yield ok("redis", f"{where} answers, and takes what is written")
        yield compared("redis clock", "Redis's", apart_s)
    else:
        told = f"{where} cannot be used ({fault}); each process counts for itself"
        yield problem("redis", told, "see that it runs, is not full, and that MERCATO_REDIS_URL names it")


def services(found: Settings) -> Iterator[Finding]:
    """Ask every service at its address, all at the same time."""
    with ThreadPoolExecutor(len(SCHEMAS)) as threads:
        told = list(threads.map(lambda name: list(_service(found, name)), SCHEMAS))
    if not any(told):
        yield ok("services", "none runs in a process of its own at its address")
        return
    for name, findings in zip(SCHEMAS, told, strict=True):
        yield from findings or [
            problem(
                f"{name} service",
                f"nothing runs at {found.url_of(name)}",
                f"mercato serve {name}, or name its address: {variable(f'{name}_url')}",
            )
        ]


def _service(found: Settings, name: str) -> Iterator[Finding]:
    """Return how a service is, and its machine's clock if that is wrong; nothing where nothing listens."""
    check, url = f"{name} service", found.url_of(name)
    mend = f"name its address: {variable(f'{name}_url')}"
    try:
        report, ahead_s = _ask(url)
    except ConnectionRefusedError:
        return
    except TimeoutError:
        told = f"{url} does not answer within {ANSWER_S:.0f} s"
        yield problem(check, told, "look into its log, or restart it")
        return
    except Stranger:
        yield problem(check, f"what listens at {url} is no Mercato, or cannot be reached", mend)
        return
    yield _reported(name, url, report)
    clock = compared(f"{name} clock", f"that of {name}", ahead_s or 0.0, exact_s=1.0)
    if clock.state is not State.OK:
        yield clock


def _reported(name: str, url: str, report: HealthReport) -> Finding:
    """Tell what a service says of itself."""
    check = f"{name} service"
    if report.service != name:
        then = f"name its address: {variable(f'{name}_url')}"
        return problem(check, f"at {url} is {report.service}", then)
    failing = [each for each, how in report.checks.items() if how != "ok"]
    if failing:
        reasons = " ".join((report.reasons or {}).values())
        told = f"{report.phase} at {url}, but failing: {', '.join(failing)}. {reasons}".rstrip(" .")
        return problem(check, told, "look into its log")
    if report.version != __version__:
        told = f"{report.version} at {url}; this program is {__version__}"
        return warning(check, told, "restart it with this one")
    return ok(check, f"{report.phase} at {url}")
