"""`mercato up` and `mercato serve` as they are usually written, without the command line's library.

Importing that takes longer than making the databases does. Whatever is written in another way, help
and mistakes included, is left to it.
"""

from collections.abc import Callable, Sequence

from mercato.cli.common import refused

SERVICES = ("users", "products", "orders", "payments", "notifications", "gateway")


def run(words: Sequence[str]) -> None:
    """Run the command that these words, the program's own, are."""
    start = usual(words)
    if start is not None:
        start()
        return
    from mercato.cli.app import main  # noqa: PLC0415  slow to import

    main()


def usual(words: Sequence[str]) -> Callable[[], None] | None:
    """Return what starts the platform, or None for words that this does not know."""
    match words:
        case ["up", *rest]:
            service, flags = None, {"--demo", "--split"}
        case ["serve", str(service), *rest] if service in SERVICES:
            flags = set()
        case _:
            return None
    options: dict[str, str] = {}
    given: set[str] = set()
    while rest:
        name, *rest = rest
        if name in flags:
            given.add(name)
        elif name in {"--host", "--port", "--data"} and rest and not rest[0].startswith("-"):
            options[name], *rest = rest
        else:
            return None
    port = options.get("--port")
    if port is not None and not (port.isascii() and port.isdigit()):
        return None
    host, data = options.get("--host"), options.get("--data")
    return lambda: _start(service, host, None if port is None else int(port), data, frozenset(given))


def _start(
    service: str | None, host: str | None, port: int | None, data: str | None, given: frozenset[str]
) -> None:
    with refused():
        from mercato.cli.serving import serve_all, serve_one, serve_split  # noqa: PLC0415  a refusal is told

        if service is None:
            serve = serve_split if "--split" in given else serve_all
            serve(host=host, port=port, data=data, demo="--demo" in given)
        else:
            serve_one(service, host=host, port=port, data=data, workers=None)
