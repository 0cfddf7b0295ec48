"""GraphQL, put together from the settings: a schema, and what may be asked of it over HTTP."""

from collections.abc import Callable, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry

from mercato.gateway.graphql.bindings import Bound, Context
from mercato.gateway.graphql.limits import Limits
from mercato.gateway.graphql_http.answering import Answering, Streams
from mercato.gateway.graphql_http.counts import Counts
from mercato.gateway.graphql_http.documents import Documents, hashes
from mercato.gateway.graphql_http.operations import Operations, Prepare
from mercato.gateway.graphql_http.routes import Offer, routes
from mercato.gateway.graphql_http.trusted import BadDocuments, load
from mercato.kernel.tracing import UNTRACED, Tracing
from mercato.runtime.settings import Settings, WrongSetting, variable
from mercato.web.call import Call
from mercato.web.endpoint import Endpoint

_READING_S = 10.0
"""How much longer a request may take than its operations: for its body."""


def operations(
    settings: Settings,
    bound: Callable[[], Bound],
    context: Callable[[Call], Context],
    registry: CollectorRegistry,
    traces: Tracing = UNTRACED,
) -> Operations:
    """Return the operations on a schema. `context` is what its bindings get of a call.

    The schema is read when the first operation comes. Raises WrongSetting for trusted documents that cannot
    be used.
    """
    trusted = _trusted(settings)

    def load_engine() -> Prepare:
        # It takes long to import, and nothing but an operation needs it.
        from mercato.gateway.graphql.engine import Engine, Operation  # noqa: PLC0415

        engine = Engine(
            bound(),
            limits_of(settings),
            introspection=settings.graphql_introspection,
            trusted=None if trusted is None else hashes(trusted),
        )
        return lambda query, variables, name: engine.prepare(Operation(query, variables, name))

    documents = Documents(trusted, persisted=settings.graphql_persisted_queries)
    return Operations(
        load_engine,
        documents,
        context,
        Counts(registry),
        deadline_s=settings.graphql_deadline,
        traces=traces,
    )


def endpoints(settings: Settings, carried_out: Operations, streams: Streams | None) -> list[Endpoint]:
    """Return where operations are asked for over HTTP. Without `streams` there are no subscriptions there."""
    answering = Answering(carried_out, settings.graphql_public_age, streams)
    offer = Offer(
        max_body=settings.graphql_max_body,
        batch=settings.graphql_max_batch,
        deadline_s=settings.graphql_deadline + _READING_S,
        # Where only trusted documents are executed, nothing can be asked on it.
        playground=settings.graphql_playground and not settings.graphql_documents,
    )
    return routes(answering, offer)


def limits_of(settings: Settings) -> Limits:
    """Return what documents may ask for."""
    return Limits(
        document_bytes=settings.graphql_max_document,
        tokens=settings.graphql_max_tokens,
        depth=settings.graphql_max_depth,
        aliases=settings.graphql_max_aliases,
        cost=settings.graphql_max_cost,
    )


def _trusted(settings: Settings) -> Mapping[str, str] | None:
    if not settings.graphql_documents:
        return None
    try:
        return load(Path(settings.graphql_documents))
    except BadDocuments as error:
        name = variable("graphql_documents")
        raise WrongSetting(f"{name} is {settings.graphql_documents!r}, which {error}.") from None
