"""Where traces go is chosen by settings, and by OpenTelemetry's own variables."""

import pytest
from prometheus_client import CollectorRegistry

from mercato.kernel.tracing import UNTRACED
from mercato.runtime.settings import Settings, WrongSetting, describe, load
from mercato.runtime.traces import Traces

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def traces(settings: Settings) -> Traces:
    return Traces(settings, "orders", CollectorRegistry())


def test_nothing_is_recorded_unless_it_is_asked_for() -> None:
    # Others' programs on the machine may have a collector, of whatever kind.
    chosen = load({ENDPOINT: "collector:4317"})
    assert (chosen.traces, chosen.traces_endpoint) == ("off", "collector:4317")
    assert traces(chosen).tracing is UNTRACED


@pytest.mark.parametrize(
    "environ",
    [
        {"MERCATO_TRACES": "jaeger"},
        {"MERCATO_TRACES_SAMPLE": "2"},
        {"MERCATO_TRACES_SAMPLE": "-0.1"},
        {"MERCATO_TRACES_SAMPLE": "nan"},
        {"MERCATO_TRACES_SAMPLE": "all"},
    ],
    ids=["unknown", "more", "less", "none", "words"],
)
def test_a_value_that_means_nothing_is_refused_by_name(environ: dict[str, str]) -> None:
    (name,) = environ
    with pytest.raises(WrongSetting, match=f"{name} is .* it takes"):
        load(environ)


@pytest.mark.parametrize(
    "environ",
    [
        {ENDPOINT: "collector:4317"},
        {ENDPOINT: "ftp://collector"},
        {ENDPOINT: "http://"},
        {ENDPOINT: "http://collector:port"},
        {ENDPOINT: "http://collector/?a=b"},
        {"OTEL_EXPORTER_OTLP_HEADERS": "Bearer secret-word"},
        {"OTEL_RESOURCE_ATTRIBUTES": "=secret-word"},
    ],
    ids=["bare", "ftp", "nobody", "port", "query", "headers", "resource"],
)
def test_a_collector_that_cannot_be_is_refused_where_it_is_needed(environ: dict[str, str]) -> None:
    with pytest.raises(WrongSetting, match=r"MERCATO_TRACES_(ENDPOINT|HEADERS|RESOURCE)") as refused:
        traces(load({"MERCATO_TRACES": "otlp", **environ}))
    assert "secret-word" not in str(refused.value)


def test_headers_for_the_collector_are_never_shown() -> None:
    shown = describe({"OTEL_EXPORTER_OTLP_HEADERS": "authorization=secret-word"})
    assert "secret-word" not in repr(shown)
    told = {each.name: each.value for each in shown}
    assert told["MERCATO_TRACES_HEADERS"] == "(set)"


@pytest.mark.parametrize("where", ["console", "file", "otlp"])
def test_each_place_is_there_to_be_chosen(where: str) -> None:
    assert traces(load({"MERCATO_TRACES": where})).tracing.records
