"""Stripe, as far as payments use it: a real server that keeps state, forgets keys and misbehaves.

It answers as https://docs.stripe.com/api says: PaymentIntents that are made and then confirmed,
refunds, idempotency keys with the stored answer of the first request, and errors by type and code.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

API_KEY = "sk_test_of_a_double"
_DECLINING = {
    "tok_declined": "generic_decline",
    "tok_insufficient_funds": "insufficient_funds",
    "tok_3ds": "authentication_required",
}
_LEAVING_OPEN = {"tok_processing": "processing", "tok_redirect": "requires_action"}

Answer = tuple[int, dict[str, Any]]


@dataclass
class StripeDouble:
    """The server's state, which tests look at, and how it is told to misbehave."""

    url: str = ""
    intents: dict[str, dict[str, Any]] = field(default_factory=dict)
    refunds: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: dict[str, tuple[Any, Answer | None]] = field(default_factory=dict)
    """By idempotency key: what was asked, and what was answered, unless it is under way."""
    requests: list[str] = field(default_factory=list)
    slow_s: float = 0.0
    """How long a charge and a refund take."""
    lose: set[str] = field(default_factory=set)
    """The last words of paths whose answers are lost, after the work is done."""
    fail: dict[str, int] = field(default_factory=dict)
    """The last words of paths that answer with a status, before any work."""
    refunds_are: str = "succeeded"

    @property
    def charges(self) -> list[dict[str, Any]]:
        return [intent for intent in self.intents.values() if intent["status"] == "succeeded"]

    def forget_keys(self) -> None:
        """Do as Stripe may after a day."""
        self.keys.clear()

    async def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer | None:
        """Answer one request; None is no answer at all."""
        address = urlsplit(target)
        form = dict(parse_qsl((body or address.query.encode()).decode()))
        word = address.path.rsplit("/", 1)[-1]
        self.requests.append(f"{method} {address.path}")
        if headers.get("authorization") != f"Bearer {API_KEY}":
            return 401, _error("invalid_request_error", "api_key_invalid")
        if "stripe-version" not in headers:
            return 400, _error("invalid_request_error", "no_version")
        if word in self.fail:
            return self.fail[word], _error("api_error", None)
        answer = await self._once(method, address.path, form, headers.get("idempotency-key"))
        return None if word in self.lose else answer

    async def _once(self, method: str, path: str, form: dict[str, str], key: str | None) -> Answer:
        if key is None or method != "POST":
            return await self._work(method, path, form)
        asked = (path, tuple(sorted(form.items())))
        if key in self.keys:
            first, answer = self.keys[key]
            if answer is None:
                return 409, _error("idempotency_error", "idempotency_key_in_use")
            if first != asked:
                return 400, _error("idempotency_error", None)
            return answer
        self.keys[key] = (asked, None)
        answer = await self._work(method, path, form)
        # What a request stands for is kept as it was, not as it is later.
        kept = answer[0], msgspec.json.decode(msgspec.json.encode(answer[1]))
        self.keys[key] = (asked, kept)
        if answer[0] == 400:
            del self.keys[key]
        return kept

    async def _work(self, method: str, path: str, form: dict[str, str]) -> Answer:
        asked = [method, *path.strip("/").split("/")[1:]]
        if asked[1] == "refunds":
            return await self._about_refunds(asked, form)
        match asked:
            case ["POST", "payment_intents"]:
                return self._create(form)
            case ["GET", "payment_intents", "search"]:
                wanted = form["query"].split("'")[3]
                found = [i for i in self.intents.values() if i["metadata"].get("mercato_key") == wanted]
                return 200, {"data": found[:1], "has_more": False}
            case ["GET", "payment_intents", intent_id]:
                return _found(self.intents, intent_id)
            case ["POST", "payment_intents", intent_id, "confirm"]:
                return await self._confirm(intent_id, form)
            case ["POST", "payment_intents", intent_id, "cancel"]:
                return self._cancel(intent_id)
        return 404, _error("invalid_request_error", "resource_missing")

    async def _about_refunds(self, asked: list[str], form: dict[str, str]) -> Answer:
        match asked:
            case ["POST", "refunds"]:
                return await self._refund(form)
            case ["GET", "refunds"]:
                return self._list_refunds(form)
            case ["GET", "refunds", refund_id]:
                return _found(self.refunds, refund_id)
        return 404, _error("invalid_request_error", "resource_missing")

    def _create(self, form: dict[str, str]) -> Answer:
        if int(form["amount"]) < 50:
            return 400, _error("invalid_request_error", "amount_too_small")
        intent = {
            "id": f"pi_{len(self.intents)}",
            "object": "payment_intent",
            "amount": int(form["amount"]),
            "currency": form["currency"],
            "status": "requires_payment_method",
            "metadata": _metadata(form),
            "last_payment_error": None,
        }
        self.intents[str(intent["id"])] = intent
        return 200, intent

    async def _confirm(self, intent_id: str, form: dict[str, str]) -> Answer:
        await asyncio.sleep(self.slow_s)
        intent = self.intents.get(intent_id)
        if intent is None:
            return 404, _error("invalid_request_error", "resource_missing")
        if intent["status"] not in {"requires_payment_method", "requires_confirmation"}:
            return 400, _error("invalid_request_error", "payment_intent_unexpected_state")
        token = form.get("payment_method") or form.get("payment_method_data[card][token]", "")
        if token in _DECLINING:
            error = _error("card_error", "card_declined", _DECLINING[token])
            intent["last_payment_error"] = error["error"]
            return 402, error
        if token not in {"tok_visa", "pm_card_visa", *_LEAVING_OPEN}:
            return 400, _error("invalid_request_error", "resource_missing")
        intent["status"] = _LEAVING_OPEN.get(token, "succeeded")
        return 200, intent

    def _cancel(self, intent_id: str) -> Answer:
        intent = self.intents[intent_id]
        if intent["status"] in {"succeeded", "processing", "canceled"}:
            return 400, _error("invalid_request_error", "payment_intent_unexpected_state")
        intent["status"] = "canceled"
        return 200, intent

    async def _refund(self, form: dict[str, str]) -> Answer:
        await asyncio.sleep(self.slow_s)
        intent = self.intents.get(form["payment_intent"])
        if intent is None:
            return 404, _error("invalid_request_error", "resource_missing")
        gone = sum(r["amount"] for r in self.refunds.values() if r["payment_intent"] == intent["id"])
        if gone + int(form["amount"]) > intent["amount"]:
            return 400, _error("invalid_request_error", "charge_already_refunded")
        refund = {
            "id": f"re_{len(self.refunds)}",
            "amount": int(form["amount"]),
            "payment_intent": intent["id"],
            "status": self.refunds_are,
            "metadata": _metadata(form),
        }
        self.refunds[str(refund["id"])] = refund
        return 200, refund

    def _list_refunds(self, form: dict[str, str]) -> Answer:
        newest = [r for r in self.refunds.values() if r["payment_intent"] == form["payment_intent"]][::-1]
        if "starting_after" in form:
            newest = list(itertools.dropwhile(lambda r: r["id"] != form["starting_after"], newest))[1:]
        size = int(form["limit"])
        return 200, {"data": newest[:size], "has_more": len(newest) > size}


def _metadata(form: dict[str, str]) -> dict[str, str]:
    return {name[9:-1]: value for name, value in form.items() if name.startswith("metadata[")}


def _found(objects: dict[str, dict[str, Any]], object_id: str) -> Answer:
    found = objects.get(object_id)
    return (404, _error("invalid_request_error", "resource_missing")) if found is None else (200, found)


def _error(kind: str, code: str | None, decline: str | None = None) -> dict[str, Any]:
    words = "Your card 4242 4242 4242 4242 was declined; see tok_visa."
    return {"error": {"type": kind, "code": code, "decline_code": decline, "message": words}}


@asynccontextmanager
async def running_double() -> AsyncIterator[StripeDouble]:
    """Run one on a free port of this machine."""
    double = StripeDouble()

    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            while line := await reader.readline():
                method, target, _ = line.decode().split(" ", 2)
                headers: dict[str, str] = {}
                while (header := (await reader.readline()).decode().strip()) != "":
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                answer = await double.answer(method, target, headers, body)
                if answer is None:
                    return
                sent = msgspec.json.encode(answer[1])
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (answer[0], len(sent), sent))
                await writer.drain()
        except ConnectionError:
            # The client went away: it had waited long enough.
            return
        finally:
            writers.discard(writer)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    double.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield double
    finally:
        server.close()
        for writer in list(writers):
            writer.close()
        while writers:  # noqa: ASYNC110  each ends as soon as the loop gets to it
            await asyncio.sleep(0)
