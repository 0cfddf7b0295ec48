"""The generated files of the client, made in memory."""

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from tools.client.kinds import SHARED, Names
from tools.client.models import models
from tools.client.operations import Operation, api

Json = dict[str, Any]

ROOT = Path(__file__).parents[2]
HOME = ROOT / "clients" / "python" / "mercato_client"
HEADER = "# Made by `make client` from the OpenAPI document; edits are lost.\n"
_FOLDERS = ("api", "models")
_CLIENT = "client.py"


def document() -> Json:
    """Return the present OpenAPI document."""
    from mercato.cli.openapi import describe  # noqa: PLC0415  the platform is slow to import

    described: Json = msgspec.json.decode(asyncio.run(describe()))
    return described


def present() -> set[str]:
    """Return the generated files that are there, relative to the package."""
    found = {f"{folder}/{path.name}" for folder in _FOLDERS for path in (HOME / folder).glob("*.py")}
    return found | {_CLIENT}


def generated(described: Json | None = None) -> dict[str, str]:
    """Return each generated file's text, made from the document. Raises ValueError for what is no client."""
    described = described or document()
    operations = [
        Operation(method, path, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = described["components"]["schemas"]
    by_resource = {
        tag["name"]: [each for each in operations if each.resource == tag["name"]]
        for tag in described["tags"]
    }
    names = Names(schemas, {name: [each.described for each in of] for name, of in by_resource.items()})
    files = {"api/__init__.py": '"""What can be called, by resource."""\n'}
    files["models/__init__.py"] = _all_models(names, [SHARED, *by_resource])
    for module in (SHARED, *by_resource):
        files[f"models/{module}.py"] = models(module, names)
    for tag in described["tags"]:
        files[f"api/{tag['name']}.py"] = api(tag, by_resource[tag["name"]], names)
    files[_CLIENT] = _client(described["tags"])
    return _formatted({name: HEADER + text for name, text in files.items()})


def _all_models(names: Names, modules: list[str]) -> str:
    """Name every model in one place: which module one is in changes with who else uses it."""
    lines = ['"""What is sent and what comes back, by name."""', ""]
    for module in modules:
        found = ", ".join(sorted(names.of(module)))
        lines += [f"from mercato_client.models.{module} import {found}"] if found else []
    everything = sorted(name for module in modules for name in names.of(module))
    lines += ["", "__all__ = [", *(f'    "{name}",' for name in everything), "]"]
    return "\n".join(lines) + "\n"


def _client(tags: list[Json]) -> str:
    lines = ['"""The client of a whole platform."""', "", "from functools import cached_property", ""]
    lines += [
        f"from mercato_client.api.{tag['name']} import {class_of(tag['name'])}"
        for tag in sorted(tags, key=lambda each: str(each["name"]))
    ]
    lines += ["from mercato_client.transport import Transport", "", ""]
    lines += ["class Mercato(Transport):", '    """A platform, with its resources as attributes."""', ""]
    for tag in tags:
        kind = class_of(tag["name"])
        lines += ["    @cached_property", f"    def {tag['name']}(self) -> {kind}:"]
        lines += [f'        """{tag["description"]}"""', f"        return {kind}(self)", ""]
    return "\n".join(lines)


def class_of(resource: str) -> str:
    """Return the name of a resource's class."""
    return "".join(word.capitalize() for word in resource.split("_"))


def _formatted(files: dict[str, str]) -> dict[str, str]:
    """Sort imports and format, as `make fmt` would."""
    ruff = [str(Path(sys.executable).parent / "ruff")]
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder) / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        config = ["--config", str(ROOT / "pyproject.toml"), "--no-cache", "--quiet", folder]
        first_party = ["--config", 'lint.isort.known-first-party=["mercato_client"]']
        for command in (["check", "--select", "I,F401", "--fix", *first_party], ["format"]):
            subprocess.run([*ruff, *command, *config], check=True)
        return {name: (Path(folder) / name).read_text() for name in files}
