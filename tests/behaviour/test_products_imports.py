"""Importing and exporting catalogues: any bytes become products or clear errors, once."""

import asyncio
import csv
import io
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest

from mercato.contracts.products import WantedLine
from mercato.kernel.errors import BadRequest
from mercato.products.service import imports
from mercato.web.idempotency import LEASE
from tests.behaviour.products_shop import Answer, Shop, open_shop
from tests.conftest import OpenDatabase

NDJSON = "application/x-ndjson"
CSV = "text/csv"


@pytest.fixture
async def shop(open_database: OpenDatabase) -> Shop:
    return open_shop(await open_database("products"))


async def send(
    shop: Shop,
    body: bytes | str,
    kind: str = NDJSON,
    query: str = "",
    key: str | None = None,
    token: str = "admin@acme",
) -> Answer:
    headers = {"content-type": kind} | ({} if key is None else {"idempotency-key": key})
    raw = body.encode() if isinstance(body, str) else body
    return await shop.request("POST", f"/import{query}", raw, headers=headers, token=token)


def ndjson(*lines: dict[str, Any]) -> bytes:
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


def numbered(count: int, **change: Any) -> bytes:
    return ndjson(*({"sku": f"S{n}", "name": f"Thing {n}", "price": n + 0.5} | change for n in range(count)))


def told(answer: Answer) -> tuple[int, int, int, int, int]:
    data = answer.data
    return data["lines"], data["created"], data["updated"], data["unchanged"], data["failed"]


async def total(shop: Shop) -> int:
    return int((await shop.request("GET", "")).body["meta"]["total_count"])


async def test_lines_become_products_and_a_second_time_they_are_unchanged(shop: Shop) -> None:
    assert told(await send(shop, numbered(250, stock=3))) == (250, 250, 0, 0, 0)
    assert told(await send(shop, numbered(250, stock=3))) == (250, 0, 0, 250, 0)
    changed = await send(shop, numbered(250, category="kitchen", stock=4))
    assert told(changed) == (250, 0, 250, 0, 0)
    [found] = (await shop.request("GET", "?sku=S7")).data
    assert (found["price"], found["category"], found["in_stock"], found["version"]) == (
        7.5,
        "kitchen",
        True,
        2,
    )
    assert (await shop.request("GET", "?category=kitchen")).body["meta"]["total_count"] == 250
    await shop.check_books()


async def test_what_a_line_does_not_say_stays_and_null_clears(shop: Shop) -> None:
    full = {
        "sku": "A",
        "name": "A",
        "price": 1,
        "description": "Blue.",
        "category": "kitchen",
        "stock": 4,
    }
    await send(shop, ndjson(full))
    await send(shop, ndjson({"sku": "A", "name": "B", "price": 2}))
    [found] = (await shop.request("GET", "?sku=A")).data
    assert (found["name"], found["description"], found["category"]) == ("B", "Blue.", "kitchen")
    assert await shop.stock_of(found["id"]) == (4, 0)
    await send(shop, ndjson(full | {"description": None, "category": None, "stock": None}))
    [found] = (await shop.request("GET", "?sku=A")).data
    assert (found["description"], found["category"]) == (None, None)
    assert await shop.stock_of(found["id"]) == (4, 0)


@pytest.mark.parametrize(
    "line, field",
    [
        (b"{", "line"),
        (b"[]", "line"),
        (b'"x"', "line"),
        (b"\xff\xfe", "line"),
        (b'{"sku":"B","name":"\xff","price":1}', "line"),
        (b'{"sku":"B","name":"a\\u0000b","price":1}', "name"),
        (b'{"sku":"B","name":"B\x00","price":1}', "line"),
        (b'{"sku":"B","name":"B"}', "price"),
        (b'{"sku":"B","name":"B","price":1.999}', "price"),
        (b'{"sku":"B","name":"B","price":-1}', "price"),
        (b'{"sku":"B","name":"B","price":NaN}', "line"),
        (b'{"sku":"B","name":"B","price":1e400}', "price"),
        (b'{"sku":"a b","name":"B","price":1}', "sku"),
        (b'{"sku":"B","name":"B","price":1,"colour":"red"}', "colour"),
        (b'{"sku":"B","name":"B","price":1,"stock":-1}', "stock"),
        (b'{"sku":"GOOD","name":"Again","price":1}', "sku"),
        (b"[" * 100_000, "line"),
        (b'{"sku":"' + b"x" * 200_000 + b'"}', "line"),
    ],
)
async def test_a_bad_line_is_named_and_the_others_are_imported(shop: Shop, line: bytes, field: str) -> None:
    good = b'{"sku":"GOOD","name":"Good","price":1}\r\n'
    later = b'{"sku":"LATER","name":"Later","price":1}'
    answer = await send(shop, good + b"\n" + line + b"\n" + later)
    assert told(answer) == (3, 2, 0, 0, 1)
    [error] = answer.data["errors"]
    assert (error["line"], error["field"]) == (3, field)
    aborted = await send(
        shop, good + b"\n" + line + b"\n" + later, query="?on_error=abort", token="admin@tokyo"
    )
    assert (aborted.status, aborted.code, list(aborted.fields)) == (
        400,
        "VALIDATION_ERROR",
        [f"lines[3].{field}"],
    )
    assert (await shop.request("GET", "", token="admin@tokyo")).data == []


async def test_csv_is_read_as_rfc_4180_says(shop: Shop) -> None:
    text = (
        "\ufeffname,sku,price,description,category,stock\r\n"
        'Mug,M1,19.99,"Blue, with a ""handle"".\r\nAnd a second line, ""quoted""\r\n",kitchen,5\r\n'
        "\r\n"
        'Plain 5" disc,M2,3,,,\r\n'
        '"Lamp",M3,0.10,"","",0'
    )
    answer = await send(shop, text, CSV)
    assert told(answer) == (3, 3, 0, 0, 0), answer.data["errors"]
    found = {each["sku"]: each for each in (await shop.request("GET", "")).data}
    assert found["M1"]["description"] == 'Blue, with a "handle".\r\nAnd a second line, "quoted"\r\n'
    assert (found["M2"]["name"], found["M2"]["description"], found["M2"]["category"]) == (
        'Plain 5" disc',
        None,
        None,
    )
    assert (found["M3"]["price"], found["M1"]["in_stock"]) == (0.1, True)


@pytest.mark.parametrize(
    "row, field",
    [
        (b"B,b,1,extra", "line"),
        (b"B,b", "line"),
        (b"B,b,one", "price"),
        (b"B,b,1e3", "price"),
        (b"B,b,1_0", "price"),
        (b"B,b,", "price"),
        (b'B,"b"x,1', "line"),
        (b"B,b\x00,1", "name"),
        (b"B,\xff,1", "line"),
        (b",b,1", "sku"),
        (b"GOOD,b,1", "sku"),
        (b"B," + b"x" * 200_000 + b",1", "line"),
    ],
)
async def test_a_bad_csv_row_is_named_by_its_line(shop: Shop, row: bytes, field: str) -> None:
    answer = await send(
        shop, b'sku,name,price\nGOOD,"a\nb c"x,1\nGOOD,good,1\n' + row + b"\nLATER,l,1\n", CSV
    )
    errors = [(error["line"], error["field"]) for error in answer.data["errors"]]
    assert errors == [(2, "line"), (5, field)]
    assert (answer.data["created"], await total(shop)) == (2, 2)


async def test_a_quote_that_never_ends_is_an_error_of_one_line_and_keeps_little(shop: Shop) -> None:
    answer = await send(shop, b'sku,name,price\nA,"' + b"x,\n" * 100_000, CSV)
    assert (answer.status, answer.data["created"], answer.data["errors"][0]["line"]) == (200, 0, 2)


@pytest.mark.parametrize(
    "header, bad",
    [
        ("sku,name", {"price"}),
        ("sku,name,price,colour", {"colour"}),
        ("sku,sku,name,price", {"sku"}),
        ("", None),
        ('"sku', None),
        ("\0", None),
    ],
)
async def test_a_file_without_its_columns_is_refused_whole(
    shop: Shop, header: str, bad: set[str] | None
) -> None:
    refused = await send(shop, header + "\nA,B,1\n", CSV)
    assert refused.status == 400
    if bad is not None:
        assert set(refused.fields) == bad


async def test_only_staff_import_and_only_what_is_declared(shop: Shop) -> None:
    assert (await send(shop, b"", token="customer@acme")).status == 403
    assert (await send(shop, b"", "application/json")).status == 415
    assert (await send(shop, b"", query="?existing=replace")).status == 400
    assert (await shop.request("GET", "/export", token="customer@acme")).status == 403
    assert (await shop.request("GET", "/export?format=xml")).status == 400
    assert told(await send(shop, b"")) == (0, 0, 0, 0, 0)


async def test_products_that_are_there_are_left_or_refused_as_asked(shop: Shop) -> None:
    await send(shop, numbered(3))
    skipped = await send(shop, numbered(4, name="New"), query="?existing=skip")
    assert told(skipped) == (4, 1, 0, 3, 0)
    failed = await send(shop, numbered(5, name="New"), query="?existing=fail")
    assert told(failed) == (5, 1, 0, 0, 4)
    aborted = await send(shop, numbered(6, name="New"), query="?existing=fail&on_error=abort")
    assert (aborted.status, len(aborted.fields), await total(shop)) == (400, 5, 5)
    assert (await shop.request("GET", "?sku=S0")).data[0]["name"] == "Thing 0"


async def test_less_than_is_reserved_cannot_be_imported(shop: Shop) -> None:
    mug = await shop.add("MUG", stock=5)
    await shop.reserve([WantedLine("MUG", 3)])
    answer = await send(shop, ndjson({"sku": "MUG", "name": "Changed", "price": 1, "stock": 2}))
    assert (answer.data["failed"], answer.data["errors"][0]["field"]) == (1, "stock")
    assert (await shop.request("GET", f"/{mug}")).data["name"] == "Mug"
    await shop.check_books()


async def test_a_hundred_errors_are_told_and_all_are_counted(shop: Shop) -> None:
    answer = await send(shop, b"{}\n" * 300)
    assert (answer.data["failed"], len(answer.data["errors"])) == (300, 100)


async def test_all_or_nothing_has_a_limit_that_it_tells(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "MAX_AT_ONCE", 10)
    refused = await send(shop, numbered(11), query="?on_error=abort")
    assert (refused.status, await total(shop)) == (400, 0)
    assert "on_error=skip" in refused.body["error"]["message"]
    assert told(await send(shop, numbered(10), query="?on_error=abort")) == (10, 10, 0, 0, 0)


async def test_a_repeated_key_tells_the_same_and_another_body_is_refused(shop: Shop) -> None:
    for query in ("", "?on_error=abort"):
        key = f"key{query}"
        first = await send(shop, numbered(150), key=key, query=query)
        again = await send(shop, numbered(150), key=key, query=query)
        assert (again.data, again.headers["idempotent-replayed"]) == (first.data, "true")
        for other in (numbered(151), numbered(149), numbered(150, name="Other"), numbered(150) + b"\n"):
            refused = await send(shop, other, key=key, query=query)
            assert (refused.status, refused.code) == (422, "IDEMPOTENCY_KEY_REUSED")
        assert (await send(shop, numbered(150), CSV, key=key, query=query)).status in {400, 422}
        assert await total(shop) == 150
    assert (await shop.event_types()) == []


async def break_off(shop: Shop, body: bytes, after: int, key: str) -> int:
    """Import until so many bytes have come, and then break off as a lost connection does."""

    async def breaking() -> AsyncGenerator[bytes, None]:
        for start in range(0, after, 1_000):
            yield body[start : min(start + 1_000, after)]
        raise BadRequest("The body did not arrive in time.")

    headers = {"content-type": NDJSON, "idempotency-key": key}
    return (await shop.request("POST", "/import", breaking(), headers=headers)).status


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.99])
async def test_a_repeated_call_goes_on_where_the_first_broke_off(shop: Shop, cut: float) -> None:
    body = numbered(950) + b"{}\n" + numbered(10)
    assert await break_off(shop, body, int(len(body) * cut), "k") == 400
    there = await total(shop)
    assert 0 < there < 950 or cut == 0.99
    refused = await send(shop, numbered(960, name="Other"), key="k")
    assert (refused.status, refused.code) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert await total(shop) == there
    answer = await send(shop, body, key="k")
    assert (told(answer), await total(shop)) == ((961, 950, 0, 0, 11), 950)
    assert len([kind for kind, _ in await shop.events() if kind == "product.created"]) == 950
    row = await shop.db.fetch_one("SELECT count(*) FROM outbox WHERE type = 'audit.recorded'")
    assert row == (1,), "one import, however many calls it takes"


async def test_an_import_that_broke_off_before_anything_was_done_leaves_its_key_free(shop: Shop) -> None:
    assert await break_off(shop, numbered(50), 300, "k") == 400
    assert await total(shop) == 0
    assert told(await send(shop, numbered(40, name="Other"), key="k")) == (40, 40, 0, 0, 0)


async def test_an_import_that_was_killed_goes_on_after_a_restart(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = numbered(500)
    with monkeypatch.context() as patched:
        # Killed: nobody frees or suspends the claim.
        patched.setattr(shop.products.parts.claims, "suspend", _nothing)
        await break_off(shop, body, len(body) // 2, "k")
    in_use = await send(shop, body, key="k")
    assert (in_use.status, in_use.code) == (409, "IDEMPOTENCY_KEY_IN_USE")
    assert await shop.products.parts.claims.end_leases() == 1
    assert told(await send(shop, body, key="k")) == (500, 500, 0, 0, 0)
    assert told(await send(shop, body, key="k")) == (500, 500, 0, 0, 0)


async def _nothing(_: object) -> None:
    """Stand for a process that is gone."""


async def test_an_import_under_way_keeps_its_claim_for_as_long_as_it_takes(shop: Shop) -> None:
    asked: list[str] = []

    async def slowly() -> Any:
        for start in range(0, len(body), 500):
            shop.clock.forward(seconds=1)
            await shop.products.parts.claims.renew(lease_until=shop.clock() + LEASE)
            retry = await asyncio.create_task(send(shop, body, key="k"))
            asked.append(retry.code)
            yield body[start : start + 500]

    body = numbered(300)
    first = await shop.request(
        "POST", "/import", slowly(), headers={"content-type": NDJSON, "idempotency-key": "k"}
    )
    assert told(first) == (300, 300, 0, 0, 0)
    assert set(asked) == {"IDEMPOTENCY_KEY_IN_USE"}
    assert len(asked) > 10 * LEASE.total_seconds()


async def test_of_twenty_imports_of_one_file_under_one_key_one_is_done(shop: Shop) -> None:
    answers = await asyncio.gather(*(send(shop, numbered(300), key="k") for _ in range(20)))
    assert {answer.status for answer in answers} <= {200, 409}
    assert {told(answer) for answer in answers if answer.status == 200} == {(300, 300, 0, 0, 0)}
    assert await total(shop) == 300


async def test_other_writers_are_served_while_an_import_runs(shop: Shop) -> None:
    mug = await shop.add("MUG", stock=100)
    importing = asyncio.create_task(send(shop, numbered(2_000)))
    reserved = 0
    while not importing.done():
        await shop.reserve([WantedLine(mug, 1)])
        reserved += 1
        if reserved == 100:
            break
    assert reserved >= 10
    assert told(await importing) == (2_000, 2_000, 0, 0, 0)
    await shop.check_books()


@pytest.mark.parametrize("form, kind", [("ndjson", NDJSON), ("csv", CSV)])
async def test_an_export_is_imported_again_unchanged(shop: Shop, form: str, kind: str) -> None:
    await send(shop, numbered(1_200, stock=2))
    hostile = '=1+1, "quoted"\r\n\ttabbed\nüñí\u2028'
    await send(shop, ndjson({"sku": "X", "name": 'A "b", c', "price": 0.01, "description": hostile}))
    await shop.request("DELETE", f"/{(await shop.request('GET', '?sku=S3')).data[0]['id']}")
    exported = await shop.download(f"/export?format={form}")
    assert exported.headers["content-disposition"] == f'attachment; filename="products-acme.{form}"'
    rows = list(csv.DictReader(io.StringIO(exported.raw.decode(), newline=""))) if form == "csv" else []
    assert [row["sku"] for row in rows[:2]] == ["S0", "S1"][: len(rows)]
    again = await send(shop, exported.raw, kind)
    assert told(again) == (1_200, 0, 0, 1_200, 0), again.data["errors"]
    assert (await shop.download(f"/export?format={form}", token="admin@tokyo")).raw.count(b"S0") == 0
