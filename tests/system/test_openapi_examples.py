"""The OpenAPI document as it is served: every example is accepted, every answer is as described."""

import itertools
from collections.abc import AsyncIterator
from pprint import pformat

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.conversation import PASSWORD, Conversation, described
from tests.running import Platform, open_store

_number = itertools.count(1)

BEFORE = {
    "payments_refund": ("payments_process",),
    "orders_delete": ("orders_cancel",),
    "payments_latest": ("payments_create",),
}
"""What must have been done to an object before an operation has something to do."""

ELSEWHERE = {
    "dead_letters_get": "there is a dead letter only where something keeps failing",
    "dead_letters_replay": "there is a dead letter only where something keeps failing",
    "users_reset": "the token is in an email",
    "users_verify": "the token is in an email",
    "users_accept_invitation": "the token is in an email",
    "dead_letters_drop": "there is a dead letter only where something keeps failing",
}
"""Operations that no client can bring about by calling others; they have tests of their own."""


@pytest.fixture
async def conversation(platform: Platform) -> AsyncIterator[Conversation]:
    store_id = f"examples-{next(_number)}"
    operator = f"operator@{store_id}.example"
    made = platform.command("tenants", "create-operator", "--email", operator, "--password", PASSWORD)
    assert made.returncode == 0, made.stderr
    store = await open_store(platform, store_id)
    async with platform.client() as shopper:
        signed_in = await shopper.post("/api/v1/users/login", {"email": operator, "password": PASSWORD})
        tokens = {"admin": store.admin, "operator": signed_in.data["token"]}
        spec = described(await shopper.get("/openapi.json"))
        yield Conversation(platform, spec, shopper, store_id, tokens, BEFORE)


async def test_every_example_is_accepted_and_answered_as_described(conversation: Conversation) -> None:
    OpenAPIV31SpecValidator(conversation.spec).validate()
    operations = conversation.operations
    problems: dict[str, object] = {}
    for name, operation in operations.items():
        kind, content = operation.content
        if kind and "example" not in content:
            problems[name] = "its body has no example"
        elif kind == "application/json" and (
            bad := conversation.misfits(content["schema"], content["example"])
        ):
            problems[name] = bad
        elif name not in ELSEWHERE:
            answer = await conversation.carry_out(operation)
            if answer.status not in operation.successes:
                problems[name] = (answer.status, answer.body)
            elif bad := conversation.problems_of(operation, answer):
                problems[name] = bad
    assert not problems, pformat(problems)
    assert set(ELSEWHERE) <= set(operations)


async def test_refusals_are_as_described_too(conversation: Conversation) -> None:
    problems: dict[str, list[str]] = {}
    for name, operation in conversation.operations.items():
        path = operation.path.format(**dict.fromkeys(operation.placeholders, "nothing-of-this-name"))
        for token in (None, "no-token", conversation.tokens["admin"]):
            answer = await conversation.shopper.call(operation.method, path + "?wrong=1", {}, token=token)
            assert 400 <= answer.status < 500, (name, answer)
            if bad := conversation.problems_of(operation, answer):
                problems[f"{name}: {answer.status} {answer.code}"] = bad
    assert not problems, pformat(problems)
