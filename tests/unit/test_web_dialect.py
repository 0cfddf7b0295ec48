"""The flat dialect: bare answers and `{"error": …}`, in all that can befall a request."""

import logging
from decimal import Decimal
from typing import Annotated

import msgspec
import pytest

from mercato.kernel.errors import Conflict, FieldError, NotFound, Unavailable, ValidationFailed
from mercato.web import dialect
from mercato.web.call import Call
from mercato.web.endpoint import ADMINS, PUBLIC, SIGNED_IN, Routes
from mercato.web.envelope import Encoded, Page, PageMeta, Reply
from mercato.web.flat import FlatBody, FlatListQuery, FlatView, local_id
from mercato.web.paging import window
from tests.asgi_client import Answer, Client
from tests.shop import CAUSE, Shop, bearer, fault_routes, item_routes, open_shop


class NewThing(FlatBody, frozen=True):
    """A new thing."""

    thing_name: Annotated[str, msgspec.Meta(min_length=1, max_length=20)]
    how_many: int = 1


class ThingView(FlatView, frozen=True):
    """A thing."""

    thing_id: str
    unit_price: Decimal


THING = ThingView("1", Decimal("19.90"))


class Short(Conflict):
    """There is too little."""

    code = "SHORT"


def thing_routes() -> Routes:
    """Endpoints in the flat dialect beside enveloped ones."""
    routes = Routes("things", prefix="/api/v1")
    flat = routes.speaking(dialect.flat({"name": "thingName", "items": "orderProducts"}), prefix="/things")

    @flat.get("", allow=PUBLIC)
    async def list_things(call: Call, query: FlatListQuery) -> Page[ThingView]:
        """List things."""
        seen = window(query.listed)
        more = None if seen.after == "last" else "bGFzdA"
        return Page([THING], PageMeta(seen.limit, seen.limit, has_more=more is not None, next_cursor=more))

    @flat.get("/kept", allow=PUBLIC)
    async def kept(call: Call) -> Encoded[Page[ThingView]]:
        """List things that are kept."""
        meta = PageMeta(1, 1, has_more=True, next_cursor="bGFzdA")
        return Encoded(b"[1]", (("x-cache", "HIT"),), meta=meta)

    @flat.post("", status=201, allow=ADMINS, raises=(Short,))
    async def make(call: Call, body: NewThing) -> Reply[ThingView]:
        """Make a thing."""
        if body.thing_name == "short":
            raise Short("Not enough.", [FieldError("items[0].quantity", "only 3 are left")])
        if body.thing_name == "bad":
            raise ValidationFailed.of(FieldError("name", "must be another"), FieldError("other", "is odd"))
        return Reply(THING, headers=(("etag", '"1"'),))

    @flat.get("/{thing_id}", allow=SIGNED_IN)
    async def thing(call: Call, thing_id: str) -> ThingView:
        """Show a thing."""
        match local_id(call, thing_id):
            case "crash":
                raise RuntimeError(CAUSE)
            case "away":
                raise Unavailable("Away.", retry_after=7)
            case "1":
                return THING
        raise NotFound("There is no such thing.")

    return routes


@pytest.fixture
def shop() -> Shop:
    return open_shop(thing_routes(), item_routes(), fault_routes())


@pytest.fixture
def send(shop: Shop) -> Client:
    return Client(shop.app)


def refused(answer: Answer, status: int, error: str) -> None:
    assert (answer.status, answer.json) == (status, {"error": error})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"]


async def test_an_answer_is_the_bare_object_in_camel_case(send: Client) -> None:
    made = await send("POST", "/things", {"thingName": "cup", "howMany": 2}, headers=bearer("adam"))
    assert (made.status, made.body) == (201, b'{"thingId":"1","unitPrice":19.90}')
    assert made.headers["etag"] == '"1"'


async def test_a_list_is_a_bare_array_and_a_link_leads_to_the_next_page(send: Client) -> None:
    first = await send("GET", "/things?limit=1")
    assert first.body == b'[{"thingId":"1","unitPrice":19.90}]'
    assert first.headers["link"] == '<?limit=1&after=bGFzdA>; rel="next"'
    last = await send("GET", "/things?limit=1&after=bGFzdA")
    assert "link" not in last.headers
    assert (await send("GET", "/things")).headers["link"].startswith("<?limit=1000&")
    kept = await send("GET", "/things/kept")
    assert (kept.body, kept.headers["link"]) == (b"[1]", '<?limit=1&after=bGFzdA>; rel="next"')


async def test_a_refusal_says_all_that_is_wrong_in_one_text(send: Client) -> None:
    adam = bearer("adam")
    answer = await send("POST", "/things", {"howMany": "2", "thing_name": "x", "name": 1}, headers=adam)
    refused(
        answer,
        400,
        "thing_name is not a known field; name is not a known field; thingName is required;"
        " howMany must be a whole number.",
    )
    refused(await send("POST", "/things", b"{", headers=adam), 400, "The body is not valid JSON.")
    refused(await send("GET", "/things?limit=0"), 400, "limit must be a whole number from 1 to 1000.")
    refused(await send("GET", "/things?page=1"), 400, "page is not a known field.")
    nul = {"thingName": "a\0"}
    refused(await send("POST", "/things", nul, headers=adam), 400, "thingName must not contain NUL.")


async def test_fields_of_the_services_are_called_as_the_clients_call_them(send: Client) -> None:
    adam = bearer("adam")
    bad = await send("POST", "/things", {"thingName": "bad"}, headers=adam)
    refused(bad, 400, "thingName must be another; other is odd.")
    short = await send("POST", "/things", {"thingName": "short"}, headers=adam)
    refused(short, 409, "Not enough. orderProducts[0].quantity only 3 are left.")


async def test_each_sort_of_refusal_is_flat(
    send: Client, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    ann = bearer("ann")
    refused(await send("GET", "/things/1"), 401, "Sign in first.")
    refused(await send("POST", "/things", {}, headers=ann), 403, "Your role may not do this.")
    refused(await send("GET", "/things/2", headers=ann), 404, "There is no such thing.")
    away = await send("GET", "/things/away", headers=ann)
    refused(away, 503, "Away.")
    assert away.headers["retry-after"] == "7"
    large = b'{"thingName":"' + b"x" * (1024 * 1024) + b'"}'
    answer = await send("POST", "/things", large, headers=bearer("adam"))
    refused(answer, 413, "The body must not exceed 1048576 bytes.")
    with caplog.at_level(logging.ERROR):
        crashed = await send("GET", "/things/crash", headers=ann)
    refused(crashed, 500, "Something went wrong on our side.")
    assert CAUSE in caplog.text


async def test_what_is_not_there_below_a_flat_path_is_told_flatly_and_elsewhere_enveloped(
    send: Client,
) -> None:
    refused(await send("GET", "/things/1/parts"), 404, "There is nothing at this path.")
    answer = await send("PATCH", "/things")
    refused(answer, 405, "Use GET, HEAD, OPTIONS, POST here.")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    refused(
        await send("GET", "/things", headers={"X-Long": "x" * 33_000}),
        431,
        "The headers must not exceed 32768 bytes.",
    )
    for path in ("/nowhere", "/api/v1/things", "/items/7/nothing", "/thingss", "//things", "/"):
        assert (await send("GET", path)).code == "NOT_FOUND"


async def test_an_id_may_be_written_with_its_own_store_and_no_other(send: Client) -> None:
    ann = bearer("ann")
    assert (await send("GET", "/things/default:1", headers=ann)).json["thingId"] == "1"
    for name in ("other:1", "default:default:1", ":1", "1:default", "DEFAULT:1", "default:", "default"):
        refused(await send("GET", f"/things/{name}", headers=ann), 404, "There is no such thing.")


def test_the_flat_endpoints_are_in_no_openapi_document() -> None:
    assert [each.route for each in thing_routes().endpoints if each.is_described] == []
    assert all(each.is_described for each in item_routes().endpoints)
