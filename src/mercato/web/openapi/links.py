"""Links: what can be done next with what an operation has made.

A POST that answers 201 with an id, its own or one of what it made, makes a resource. Its id fits
the placeholder that follows its path elsewhere (`POST /orders` and `/orders/{order_id}`), wherever
that placeholder stands, and the fields of that name in other operations' bodies.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mercato.web.endpoint import Endpoint
from mercato.web.openapi.answered import answered

_Json = dict[str, Any]


def links_of(endpoint: Endpoint, endpoints: Iterable[Endpoint]) -> _Json:
    """Return the links of an operation's success, by the operations they lead to."""
    noun = endpoint.path.rpartition("/")[2].removesuffix("s").replace("-", "_")
    pointer = answered(endpoint.returns).id_at(noun)
    if endpoint.method != "POST" or endpoint.status != 201 or pointer is None:
        return {}
    everything = list(endpoints)
    name = _name_of(endpoint.path, everything)
    if name is None:
        return {}
    value = f"$response.body#{pointer}"
    found: _Json = {}
    for other in everything:
        if other.path_parameters == [name]:
            found[other.operation_id] = {"operationId": other.operation_id, "parameters": {name: value}}
        elif not other.path_parameters and other is not endpoint and other.example is not None:
            body = _filled(other.example, name, value)
            if body != other.example:
                found[other.operation_id] = {"operationId": other.operation_id, "requestBody": body}
    return found


def _name_of(path: str, endpoints: Sequence[Endpoint]) -> str | None:
    """Return the placeholder that stands for the id of what `path` makes."""
    names = {
        other.path_parameters[0]
        for other in endpoints
        if len(other.path_parameters) == 1 and other.path == f"{path}/{{{other.path_parameters[0]}}}"
    }
    return names.pop() if len(names) == 1 else None


def _filled(example: Any, name: str, value: str) -> Any:  # noqa: ANN401  any part of a body
    """Return a copy of an example whose fields of that name have the value."""
    if isinstance(example, Mapping):
        return {
            key: value if key == name and isinstance(part, str) else _filled(part, name, value)
            for key, part in example.items()
        }
    if isinstance(example, (list, tuple)):
        return [_filled(part, name, value) for part in example]
    return example
