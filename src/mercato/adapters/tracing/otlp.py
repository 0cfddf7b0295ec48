"""Spans in OpenTelemetry's own format (OTLP 1), as JSON and as Protocol Buffers.

Both are written from one document, in the words of the JSON form. The numbers are of the fields in
opentelemetry/proto/collector/trace/v1 and those that it imports.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from mercato.kernel.tracing import Recorded, Value

MOST_TEXT = 256
"""Characters of an attribute's text."""
_ERROR = 2
_SAMPLED = 1
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5

Document = dict[str, Any]


def document(resource: Mapping[str, Value], version: str, spans: Iterable[Recorded]) -> Document:
    """Return spans of one process, which `resource` describes, as a request to a collector."""
    scope = {"name": "mercato", "version": version}
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(resource)},
                "scopeSpans": [{"scope": scope, "spans": [_span(each) for each in spans]}],
            }
        ]
    }


def _span(span: Recorded) -> Document:
    context = span.context
    told: Document = {
        "traceId": context.trace_id,
        "spanId": context.span_id,
        "name": span.name,
        "kind": int(span.kind),
        # 64-bit numbers are texts in Protocol Buffers' JSON.
        "startTimeUnixNano": str(span.started_ns),
        "endTimeUnixNano": str(span.started_ns + span.duration_ns),
        "flags": _SAMPLED,
    }
    if span.parent_id:
        told["parentSpanId"] = span.parent_id
    if context.state:
        told["traceState"] = context.state
    attributes = span.attributes
    if span.error_type:
        attributes = {**attributes, "error.type": span.error_type}
        told["status"] = {"code": _ERROR}
    if attributes:
        told["attributes"] = _attributes(attributes)
    return told


def _attributes(values: Mapping[str, Value]) -> list[Document]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Value) -> Document:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value[:MOST_TEXT]}


to_json = msgspec.json.encode


_ATTRIBUTES = (1, "KeyValue")
_FIELDS: dict[str, dict[str, tuple[int, str]]] = {
    "Request": {"resourceSpans": (1, "ResourceSpans")},
    "ResourceSpans": {"resource": (1, "Resource"), "scopeSpans": (2, "ScopeSpans")},
    "Resource": {"attributes": _ATTRIBUTES},
    "ScopeSpans": {"scope": (1, "Scope"), "spans": (2, "Span")},
    "Scope": {"name": (1, "text"), "version": (2, "text")},
    "Span": {
        "traceId": (1, "id"),
        "spanId": (2, "id"),
        "traceState": (3, "text"),
        "parentSpanId": (4, "id"),
        "name": (5, "text"),
        "kind": (6, "number"),
        "startTimeUnixNano": (7, "moment"),
        "endTimeUnixNano": (8, "moment"),
        "attributes": (9, "KeyValue"),
        "status": (15, "Status"),
        "flags": (16, "flags"),
    },
    "Status": {"code": (3, "number")},
    "KeyValue": {"key": (1, "text"), "value": (2, "Value")},
    "Value": {
        "stringValue": (1, "text"),
        "boolValue": (2, "number"),
        "intValue": (3, "number"),
        "doubleValue": (4, "double"),
    },
}
"""Of each message its fields: their numbers, and of what kind they are, which may be a message."""


def to_protobuf(request: Document) -> bytes:
    """Return a document in the binary form."""
    return _message(request, "Request")


def _message(told: Mapping[str, Any], kind: str) -> bytes:
    written = bytearray()
    fields = _TAGGED[kind]
    for name, value in told.items():
        tag, of = fields[name]
        many: Sequence[Any] = value if isinstance(value, list) else (value,)
        for each in many:
            written += tag
            written += _content(of, each)
    return bytes(written)


def _content(kind: str, value: Any) -> bytes:  # noqa: ANN401  as JSON has it
    match kind:
        case "text":
            return _long(str(value).encode("utf-8", "replace"))
        case "number":
            return _varint(int(value))
        case "id":
            return _long(bytes.fromhex(value))
        case "moment":
            return struct.pack("<Q", int(value))
        case "double":
            return struct.pack("<d", value)
        case "flags":
            return struct.pack("<I", value)
        case _:
            return _long(_message(value, kind))


def _long(content: bytes) -> bytes:
    """Write something with its length before it."""
    return _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Write a number in groups of seven bits; a negative one as the 64 bits of its two's complement."""
    if 0 <= value <= 0x7F:
        return _ONE_BYTE[value]
    left = value & 0xFFFF_FFFF_FFFF_FFFF
    written = bytearray()
    while left > 0x7F:
        written.append(left & 0x7F | 0x80)
        left >>= 7
    written.append(left)
    return bytes(written)


_ONE_BYTE = [bytes([value]) for value in range(0x80)]
_WIRE = {"number": _VARINT, "moment": _FIXED64, "double": _FIXED64, "flags": _FIXED32}
_TAGGED = {
    kind: {name: (_varint(number << 3 | _WIRE.get(of, _LENGTH)), of) for name, (number, of) in fields.items()}
    for kind, fields in _FIELDS.items()
}
"""The same with what stands before each field's content: its number, and how its end is found."""
