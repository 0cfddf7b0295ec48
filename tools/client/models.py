"""The client's structs and enumerations, a module per resource."""

import json
from typing import Any

from tools.client.kinds import IMPORTS, Names, docstring, identifier, kind_of

Json = dict[str, Any]


def models(module: str, names: Names) -> str:
    """Return a module's text."""
    there = names.of(module)
    whose = "more than one resource" if module == "shared" else module.replace("_", " ")
    lines = [f'"""What {whose} send and answer."""', "", *IMPORTS]
    lines += names.imports(module, [names.schemas[name] for name in there])
    for name in there:
        lines += ["", "", *_model(name, names.schemas[name])]
    return "\n".join(lines) + "\n"


def _model(name: str, schema: Json) -> list[str]:
    if "properties" not in schema and schema.get("type") != "object":
        return [f"{name}: TypeAlias = {kind_of(schema)}", *docstring(schema.get("description", ""), "")]
    lines = [f"class {name}(msgspec.Struct, frozen=True, kw_only=True):"]
    lines += [*docstring(schema.get("description", ""), "    "), ""]
    sent = schema.get("additionalProperties") is False
    required = schema.get("required", ())
    for field, part in schema.get("properties", {}).items():
        lines.append(f"    {_field(field, part, required=field in required, sent=sent)}")
    return lines


def _field(name: str, schema: Json, *, required: bool, sent: bool) -> str:
    own, kind = identifier(name), kind_of(schema)
    if not required and sent:
        kind, default = optional(schema), "UNSET"
    elif required:
        default = ""
    else:
        default = _default(schema.get("default"))
    if own != name:
        given = f"default={default}, " if default else ""
        return f"{own}: {kind} = msgspec.field({given}name={json.dumps(name)})"
    return f"{own}: {kind} = {default}" if default else f"{own}: {kind}"


def optional(schema: Json) -> str:
    """Return the type of a field that may be left out of a body, which is not the same as null."""
    kinds = kind_of(schema).removesuffix(" | None")
    return f"{kinds} | UnsetType" + (" | None" if kinds != kind_of(schema) else "")


def _default(value: object) -> str:
    return "()" if value == [] else repr(value)
