"""A conversation with a platform that its own description leads.

Each operation is called with its example, on objects made for it by the operations that link to
it, so none meets what another has left behind.
"""

import asyncio
import itertools
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from openapi_schema_validator import OAS31Validator, oas31_format_checker

from tests.running import Answer, Platform, Shopper

Json = dict[str, Any]
PASSWORD = "a-good-password"
_JSON = "application/json"
_UNIQUE = ("email", "sku")
_TOLD_OF = {
    "notification_id": "/api/v1/notifications?status=sent",
    "mail_id": "/api/v1/mailbox",
}
"""What no call makes: it comes of what a call has made happen, and is listed there."""
_number = itertools.count(1)


@dataclass(frozen=True)
class Operation:
    """One operation, as described."""

    method: str
    path: str
    described: Json

    @property
    def id(self) -> str:
        return str(self.described["operationId"])

    @property
    def placeholders(self) -> list[str]:
        return re.findall(r"\{(\w+)\}", self.path)

    @property
    def content(self) -> tuple[str, Json]:
        """The media type and the description of the body; empty if it takes none."""
        content = self.described.get("requestBody", {}).get("content", {})
        return next(iter(content.items()), ("", {}))

    @property
    def successes(self) -> set[int]:
        return {int(status) for status in self.described["responses"] if status < "300"}

    @property
    def creates(self) -> bool:
        return self.method == "POST" and 201 in self.successes


@dataclass
class Person:
    """Somebody who was registered for one call."""

    email: str
    token: str
    refresh_token: str
    id: str


@dataclass
class Conversation:
    """One platform, its description, and those who speak to it."""

    platform: Platform
    spec: Json
    shopper: Shopper
    store: str
    tokens: Mapping[str, str]
    """By role: admin and operator."""
    before: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What must have been done to an object before an operation has something to do."""

    @property
    def operations(self) -> dict[str, Operation]:
        found = [
            Operation(method.upper(), path, described)
            for path, methods in self.spec["paths"].items()
            for method, described in methods.items()
        ]
        return {each.id: each for each in found}

    async def carry_out(self, operation: Operation) -> Answer:
        """Call an operation as its example says, on objects of its own."""
        ids: dict[str, str] = {}
        for name in operation.placeholders:
            ids[name] = await self._make(name)
        for earlier in self.before.get(operation.id, ()):
            found = await self._call(self.operations[earlier], ids)
            assert found.status in self.operations[earlier].successes, (earlier, found)
        return await self._call(operation, ids)

    async def _call(self, operation: Operation, ids: Mapping[str, str]) -> Answer:
        kind, content = operation.content
        person = await self.sign_up() if _is_personal(operation, content.get("example")) else None
        body = await self._filled(operation, content.get("example"), person, ids)
        path = operation.path.format(**ids)
        roles = [person.token] if person else [self.tokens["admin"], self.tokens["operator"]]
        public = {} in operation.described["security"]
        for token in [None] if public else roles:
            answer = await self._send(operation, path, kind, body, token)
            # The store of an object may be another, or the object none that a store's staff may see.
            if answer.status not in (403, 404):
                break
        return answer

    async def _send(
        self, operation: Operation, path: str, kind: str, body: object, token: str | None
    ) -> Answer:
        headers = {"X-Tenant-Id": self.store}
        if kind and kind != _JSON:
            assert isinstance(body, str)
            return await self.shopper.send(operation.method, path, kind, body.encode(), token, headers)
        return await self.shopper.call(operation.method, path, body, token=token, headers=headers)

    async def _filled(
        self, operation: Operation, example: Any, person: Person | None, ids: Mapping[str, str]
    ) -> Any:
        """Return a body like the example, of things that are there and names that are free."""
        if isinstance(example, list):
            return [await self._filled(operation, each, person, ids) for each in example]
        if not isinstance(example, dict):
            return example
        filled: Json = {}
        for name, value in example.items():
            if name in self._makers and isinstance(value, str):
                filled[name] = ids.get(name) or await self._make(name)
            elif isinstance(value, str) and (given := self._given(operation, name, value, person)):
                filled[name] = given
            else:
                filled[name] = await self._filled(operation, value, person, ids)
        if "client_secret" in example:
            made = (await self._call(self.operations["api_clients_create"], {})).data
            filled |= {"client_id": made["client_id"], "client_secret": made["client_secret"]}
        return filled

    def _given(self, operation: Operation, name: str, value: str, person: Person | None) -> str | None:
        if operation.creates and name in _UNIQUE:
            return f"{next(_number)}-{value}"
        if operation.id == "tenants_onboard" and name == "id":
            return f"{value}-{next(_number)}"
        if person is not None:
            known = {"email": person.email, "refresh_token": person.refresh_token}
            return PASSWORD if name in ("password", "current_password") else known.get(name)
        return None

    @property
    def _makers(self) -> dict[str, tuple[Operation, str]]:
        """By placeholder: the operation whose answer links its id on, and where in the answer it is."""
        found: dict[str, tuple[Operation, str]] = {}
        for operation in self.operations.values():
            links = operation.described["responses"].get("201", {}).get("links", {})
            for link in links.values():
                for name, expression in link.get("parameters", {}).items():
                    found[name] = (operation, expression.removeprefix("$response.body#/"))
        return found

    async def _make(self, name: str) -> str:
        """Make an object for a placeholder and return its id."""
        maker, pointer = self._makers.get(name, (None, ""))
        if name in _TOLD_OF:
            return await self._told_of(name)
        if maker is None:
            assert name == "user_id", f"nothing described makes a {name}"
            return (await self.sign_up()).id
        answer = await self._call(maker, {})
        assert answer.status in maker.successes, (maker.id, answer)
        part = answer.json
        for step in pointer.split("/"):
            part = part[step]
        return str(part)

    async def _told_of(self, name: str) -> str:
        """Wait until somebody who has signed up is written to; return the id of what is there then."""
        await self.sign_up()
        deadline = time.monotonic() + 15
        while not (found := (await self.shopper.get(_TOLD_OF[name], token=self.tokens["admin"])).data):
            assert time.monotonic() < deadline, f"no {name} came"
            await asyncio.sleep(0.02)
        return str(found[0]["id"])

    async def sign_up(self) -> Person:
        """Register somebody new."""
        body = {"password": PASSWORD, "first_name": "Ann", "last_name": "Other"}
        email = f"person-{next(_number)}@{self.store}.example"
        signed_in = await self.shopper.post(
            "/api/v1/users/register", {"email": email, **body}, headers={"X-Tenant-Id": self.store}
        )
        data = signed_in.data
        return Person(email, data["token"], data["refresh_token"], data["user"]["id"])

    def problems_of(self, operation: Operation, answer: Answer) -> list[str]:
        """Say in what an answer differs from what is described."""
        described = operation.described["responses"].get(str(answer.status))
        if described is None:
            return [f"status {answer.status} is not described"]
        described = self._resolved(described)
        problems = [
            f"the header {name} is missing"
            for name, header in described.get("headers", {}).items()
            if self._resolved(header)["required"] and name.lower() not in answer.headers
        ]
        content = described.get("content", {})
        if not content:
            return problems + (["it has a body, and none is described"] if answer.body else [])
        kind = answer.headers.get("content-type", "").partition(";")[0]
        if kind not in content and "*/*" not in content:
            return [*problems, f"it is {kind}, not {' or '.join(content)}"]
        if kind == _JSON:
            problems += self.misfits(content[kind]["schema"], answer.json)
        return problems

    def misfits(self, schema: Json, value: object) -> list[str]:
        """Say where a value does not fit a schema of the description."""
        validator = OAS31Validator(
            {**schema, "components": self.spec["components"]}, format_checker=oas31_format_checker
        )
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]

    def _resolved(self, part: Json) -> Json:
        while "$ref" in part:
            found: Any = self.spec
            for step in part["$ref"].removeprefix("#/").split("/"):
                found = found[step]
            part = found
        return part


def _is_personal(operation: Operation, example: object) -> bool:
    """Say whether a body holds what only the person of the call knows."""
    if operation.creates or not isinstance(example, dict):
        return False
    return bool({"password", "current_password", "refresh_token"} & set(example))


def described(answer: Answer) -> Json:
    """Return the description as it was served."""
    spec: Json = msgspec.json.decode(answer.body)
    return spec
