"""`mercato up` and `mercato serve gateway`, with a stand-in for the engine of GraphQL plugged in."""

import os
import sys
from dataclasses import replace

from prometheus_client import CollectorRegistry

from mercato.runtime.edge import Edge, declared
from mercato.runtime.embedded import Embedded
from mercato.runtime.folder import SCHEMAS
from mercato.runtime.live import Live, Plugged
from mercato.runtime.process import Process
from mercato.runtime.server import Served, run, run_process
from mercato.runtime.settings import Settings, load
from mercato.web.access_log import Write
from tests.live_stand_in import StandIn, endpoints_of


def plug(live: Live) -> Plugged:
    stand_in = StandIn(live.feed)
    return Plugged(stand_in, endpoints_of(live.streams, stand_in))


def up(settings: Settings) -> None:
    """Serve everything in one process."""

    def build() -> Process:
        process = Embedded(settings).process
        process.composition = replace(process.composition, graphql=plug)
        return process

    run_process(settings, SCHEMAS, build, lambda: None)


def gateway(settings: Settings) -> None:
    """Serve the gateway alone."""
    endpoints = declared(settings)

    def build(write: Write, registry: CollectorRegistry) -> Served:
        return Edge(settings, endpoints, write, registry, graphql=lambda live, _: plug(live))

    run(settings, [], build, lambda: None)


def main(program: str, *words: str) -> None:
    """Run a program with `--port` and `--data`."""
    options = dict(zip(words[::2], words[1::2], strict=True))
    settings = load(os.environ, port=int(options["--port"]), data=options["--data"])
    {"up": up, "gateway": gateway}[program](settings)


if __name__ == "__main__":
    main(*sys.argv[1:])
