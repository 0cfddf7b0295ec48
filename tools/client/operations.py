"""The client's methods, a class per resource."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tools.client.kinds import IMPORTS, Names, docstring, identifier, kind_of
from tools.client.models import optional

Json = dict[str, Any]

_JSON = "application/json"
_PAGING = ("page", "page_size", "limit", "offset", "after", "count")


@dataclass(frozen=True)
class Operation:
    """One operation of the document."""

    method: str
    path: str
    operation: Json

    @property
    def resource(self) -> str:
        """Whose it is."""
        return str(self.operation["tags"][0])

    @property
    def name(self) -> str:
        """The method's name: the operation's, without its resource."""
        return identifier(str(self.operation["operationId"]).removeprefix(f"{self.resource}_"))

    @cached_property
    def success(self) -> Json:
        """The first response of success."""
        found: Json = next(
            each for status, each in self.operation["responses"].items() if status.startswith("2")
        )
        return found

    @property
    def described(self) -> Json:
        """What names the schemas that the method needs."""
        return {
            "parameters": self.operation["parameters"],
            "body": self.body,
            "success": self.success,
        }

    @property
    def body(self) -> Json:
        """The request's content, by media type."""
        found: Json = self.operation.get("requestBody", {}).get("content", {})
        return found

    @property
    def uploads(self) -> tuple[str, ...]:
        """The media types of a body that is no JSON."""
        return tuple(kind for kind in self.body if kind != _JSON)

    @property
    def downloads(self) -> bool:
        """Whether what comes back is no JSON."""
        return "content" in self.success and _JSON not in self.success["content"]

    @property
    def answer(self) -> Json | None:
        """The envelope's properties, or None for an answer without a body."""
        if "content" not in self.success or self.downloads:
            return None
        found: Json = self.success["content"][_JSON]["schema"]["properties"]
        return found

    def parameters(self, where: str) -> list[Json]:
        """Return the parameters of one sort."""
        return [each for each in self.operation["parameters"] if each["in"] == where]

    def takes(self, header: str) -> bool:
        """Say whether the operation reads a header."""
        return any(each["name"] == header for each in self.parameters("header"))


def api(tag: Json, operations: list[Operation], names: Names) -> str:
    """Return the text of a resource's module."""
    kind = "".join(word.capitalize() for word in tag["name"].split("_"))
    lines = [f'"""{tag["description"]}"""', "", *IMPORTS]
    lines += ["from mercato_client.answers import Answer, Listed, Page, each_of"]
    runtime = "Request, Transport, decode, encode, new_key, path_of"
    lines += [f"from mercato_client.transport import {runtime}"]
    lines += names.imports("", [[each.described, _body(each, names)[1]] for each in operations])
    lines += ["", "", f"class {kind}:", *docstring(tag["description"], "    "), ""]
    lines += ["    def __init__(self, transport: Transport) -> None:", "        self._transport = transport"]
    for each in operations:
        lines += ["", *_Method(each, names).lines()]
    return "\n".join(lines) + "\n"


class _Method:
    """One operation as a method."""

    def __init__(self, operation: Operation, names: Names) -> None:
        self._operation = operation
        self._queries = operation.parameters("query")
        self._paths = [identifier(each["name"]) for each in operation.parameters("path")]
        self._body_name, self._fields, self._required = _body(operation, names)
        taken = {*self._fields, *(each["name"] for each in self._queries)}
        # A body may have a field of the placeholder's name; the path's is the one given by place.
        self._path_arguments = [f"of_{name}" if name in taken else name for name in self._paths]

    def lines(self) -> list[str]:
        """Return the method's lines, and those of its iterator if it returns pages."""
        operation = self._operation
        signature = ", ".join(self._arguments())
        result = self._result()
        start = "def" if operation.downloads else "async def"
        lines = [f"    {start} {operation.name}({signature}) -> {result}:"]
        lines += [*docstring(_words(operation), "        "), *self._request()]
        send = "await self._transport.send(request)"
        answer = operation.answer
        if operation.downloads:
            lines += ["        return self._transport.stream(request)"]
        elif answer is None:
            lines += [f"        {send}"]
        elif "meta" in answer:
            item = kind_of(answer["data"]["items"])
            lines += [f"        listed = decode({send}, Listed[{item}])"]
            lines += ["        return Page(listed.data, listed.meta)", "", *self._iterator(item)]
        else:
            lines += [f"        return decode({send}, Answer[{result}]).data"]
        return lines

    def _result(self) -> str:
        answer = self._operation.answer
        if self._operation.downloads:
            return "AsyncGenerator[bytes, None]"
        if answer is None:
            return "None"
        data = answer["data"]
        if "meta" in answer:
            return f"Page[{kind_of(data['items'])}]"
        return f"tuple[{kind_of(data['items'])}, ...]" if data.get("type") == "array" else kind_of(data)

    def _arguments(self) -> list[str]:
        uploads = self._operation.uploads
        placed = ["self", *(f"{name}: str" for name in self._path_arguments)]
        if uploads:
            placed.append("content: bytes | AsyncIterable[bytes]")
        named = [self._field(name, part) for name, part in self._fields.items()]
        # Those that must be given come first, which keyword arguments need not, but readers like.
        named.sort(key=lambda each: "=" in each)
        named += [_query(each) for each in self._queries]
        if len(uploads) > 1:
            kinds = ", ".join(map(json.dumps, uploads))
            named.append(f"content_type: Literal[{kinds}] = {json.dumps(uploads[0])}")
        if self._operation.takes("If-Match"):
            named.append("version: int | None = None")
        if self._operation.takes("Idempotency-Key"):
            named.append("idempotency_key: str | None = None")
        return [*placed, "*", *named] if named else placed

    def _field(self, name: str, part: Json) -> str:
        if name in self._required:
            return f"{identifier(name)}: {kind_of(part)}"
        return f"{identifier(name)}: {optional(part)} = UNSET"

    def _request(self) -> list[str]:
        operation = self._operation
        template = json.dumps(operation.path)
        pairs = [
            f"{name}={argument}" for name, argument in zip(self._paths, self._path_arguments, strict=True)
        ]
        parts = [json.dumps(operation.method.upper())]
        parts.append(f"path_of({template}, {', '.join(pairs)})" if pairs else template)
        if self._queries:
            query = ", ".join(f"{json.dumps(e['name'])}: {identifier(e['name'])}" for e in self._queries)
            parts.append(f"query={{{query}}}")
        if operation.uploads:
            several = len(operation.uploads) > 1
            kind = "content_type" if several else json.dumps(operation.uploads[0])
            parts += ["content=content", f"content_type={kind}"]
        elif self._body_name:
            fields = ", ".join(f"{identifier(name)}={identifier(name)}" for name in self._fields)
            parts.append(f"content=encode({self._body_name}({fields}))")
        if operation.takes("Idempotency-Key"):
            parts.append("key=idempotency_key or new_key()")
        if operation.takes("If-Match"):
            parts.append("version=version")
        return [f"        request = Request({', '.join(parts)})"]

    def _iterator(self, item: str) -> list[str]:
        """Return a method that goes through all pages, with the list's own filters."""
        name = self._operation.name
        there = [each["name"] for each in self._queries]
        filters = [each for each in self._queries if each["name"] not in _PAGING]
        placed = [f"{argument}: str" for argument in self._path_arguments]
        arguments = ", ".join(["self", *placed, "*", *map(_query, filters), "limit: int = 100"])
        given = [*self._path_arguments]
        given += [f"{identifier(each['name'])}={identifier(each['name'])}" for each in filters]
        given += ["limit=limit", "after=after", *(["count=False"] if "count" in there else [])]
        own = "iterate" if name == "list" else f"iterate_{name}"
        return [
            f"    def {own}({arguments}) -> AsyncIterator[{item}]:",
            '        """Go through the whole list, which is fetched page by page."""',
            f"        return each_of(lambda after: self.{name}({', '.join(given)}))",
        ]


def _body(operation: Operation, names: Names) -> tuple[str, Json, list[str]]:
    """Return the name of a JSON body's struct, its fields, and which of them must be given."""
    schema = operation.body.get(_JSON, {}).get("schema")
    if schema is None:
        return "", {}, []
    name = kind_of(schema)
    found = names.schemas[name]
    return name, found.get("properties", {}), found.get("required", [])


def _query(parameter: Json) -> str:
    name, kind = identifier(parameter["name"]), kind_of(parameter["schema"])
    return f"{name}: {kind}" if parameter["required"] else f"{name}: {kind} | None = None"


def _words(operation: Operation) -> str:
    described = str(operation.operation.get("description", ""))
    return "\n".join([operation.operation["summary"] + ".", "", *described.splitlines()]).strip()
