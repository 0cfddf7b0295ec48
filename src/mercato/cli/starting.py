"""`mercato up` and `mercato serve` as they are usually written, without the command line's library.

Importing that takes longer than making the databases does. Whatever is written in another way, help
and mistakes included, is left to it.
"""

from collections.abc import Callable, Sequence

from mercato.cli.common import refused

SERVICES = ("users", "products", "orders", "payments", "notifications")


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
            service, flags = None, {"--demo"}
        case ["serve", str(service), *rest] if service in SERVICES:
            flags = set()
        case _:
            return None
    options: dict[str, str] = {}
    demo = False
    while rest:
        name, *rest = rest
        if name in flags:
            demo = True
        elif name in {"--host", "--port", "--data"} and rest and not rest[0].startswith("-"):
            options[name], *rest = rest
        else:
            return None
    port = options.get("--port")
    if port is not None and not (port.isascii() and port.isdigit()):
        return None
    host, data = options.get("--host"), options.get("--data")
    return lambda: _start(service, host, None if port is None else int(port), data, demo=demo)


def _start(service: str | None, host: str | None, port: int | None, data: str | None, *, demo: bool) -> None:
    with refused():
        from mercato.cli.serving import serve_all, serve_one  # noqa: PLC0415  a refusal is told

        if service is None:
            serve_all(host=host, port=port, data=data, demo=demo)
        else:
            serve_one(service, host=host, port=port, data=data)
