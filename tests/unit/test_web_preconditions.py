"""If-None-Match on reads, If-Match on writes, and what makes an entity tag."""

import msgspec
import pytest

from mercato.kernel.versions import ANY_VERSION, Expected, VersionMismatch
from mercato.web import etag
from mercato.web.call import Call
from mercato.web.endpoint import PUBLIC, Routes
from mercato.web.envelope import Encoded
from tests.asgi_client import Client
from tests.shop import open_shop


class Thing(msgspec.Struct, frozen=True):
    """A thing with a version."""

    version: int


class Lamp(msgspec.Struct, frozen=True):
    """A thing that looks different lit."""

    version: int

    @property
    def etag(self) -> str:
        """Its own tag."""
        return etag.tag(self.version, "lit")


def client() -> Client:
    declared = Routes("things", prefix="/things")

    @declared.get("/thing", allow=PUBLIC)
    async def thing(call: Call) -> Thing:
        """Show a thing."""
        return Thing(7)

    @declared.get("/lamp", allow=PUBLIC)
    async def lamp(call: Call) -> Lamp:
        """Show a lamp."""
        return Lamp(7)

    @declared.get("/kept", allow=PUBLIC)
    async def kept(call: Call) -> Encoded[Thing]:
        """Show a thing from the cache."""
        return Encoded(b'{"version":7}', (("x-cache", "HIT"),), etag='"7"')

    @declared.get("/plain", allow=PUBLIC)
    async def plain(call: Call) -> dict[str, int]:
        """Show what has no version."""
        return {"a": 1}

    @declared.put("/thing", allow=PUBLIC, versioned=True)
    async def write(call: Call) -> Thing:
        """Write a thing that is at version 7."""
        call.expected.check(7)
        return Thing(8)

    @declared.post("/thing", allow=PUBLIC)
    async def make(call: Call) -> Thing:
        """Make a thing, which no condition is for."""
        call.expected.check(7)
        return Thing(1)

    return Client(open_shop(declared).app)


@pytest.mark.parametrize(
    "path, tag", [("thing", '"7"'), ("lamp", '"7.lit"'), ("kept", '"7"'), ("plain", None)]
)
async def test_what_has_a_version_has_an_entity_tag(path: str, tag: str | None) -> None:
    answer = await client()("GET", f"/things/{path}")
    assert (answer.status, answer.headers.get("etag")) == (200, tag)


@pytest.mark.parametrize("given", ['"7"', 'W/"7"', "*", '"1", "7"', '"1",W/"7"'])
@pytest.mark.parametrize("path", ["thing", "kept"])
async def test_a_client_that_has_it_gets_304_without_a_body(path: str, given: str) -> None:
    for method in ("GET", "HEAD"):
        answer = await client()(method, f"/things/{path}", headers={"If-None-Match": given})
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", '"7"')
        assert "content-type" not in answer.headers
        assert answer.headers["x-request-id"]


@pytest.mark.parametrize("given", ['"6"', '"7.lit"', "7", '"77"', "", '""', "W/", '"7', "\x7f"])
async def test_a_client_that_has_something_else_gets_it(given: str) -> None:
    answer = await client()("GET", "/things/thing", headers={"If-None-Match": given})
    assert (answer.status, answer.json["data"]) == (200, {"version": 7})


async def test_what_has_no_tag_is_never_304() -> None:
    assert (await client()("GET", "/things/plain", headers={"If-None-Match": "*"})).status == 200


@pytest.mark.parametrize("given", ['"7"', "*", '"3", "7"', '"7.lit"', '"7.anything"'])
async def test_a_write_that_meets_its_version_is_done(given: str) -> None:
    answer = await client()("PUT", "/things/thing", headers={"If-Match": given})
    assert (answer.status, answer.headers["etag"]) == (200, '"8"')


@pytest.mark.parametrize(
    "given",
    ['"6"', 'W/"7"', "7", '"6", "8"', "", '"abc"', '"7', '"-7"', '"' + "9" * 30 + '"', '"7"x', '"\xb2"'],
)
async def test_a_write_that_does_not_is_412_and_says_where_it_stands(given: str) -> None:
    answer = await client()("PUT", "/things/thing", headers={"If-Match": given})
    assert (answer.status, answer.code) == (412, "VERSION_MISMATCH")
    assert "7" in answer.json["error"]["message"]


async def test_if_match_means_nothing_where_nothing_is_replaced() -> None:
    assert (await client()("POST", "/things/thing", headers={"If-Match": '"1"'})).status == 200


def test_no_condition_lets_a_write_meet_any_version() -> None:
    ANY_VERSION.check(1)
    with pytest.raises(VersionMismatch):
        Expected(frozenset()).check(1)
