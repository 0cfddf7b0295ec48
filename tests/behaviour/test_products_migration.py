"""A catalogue from before lists had their indexes."""

import sqlite3
from contextlib import closing
from pathlib import Path

from mercato.adapters.sql.schema import Schema, downgrade, prepare, upgrade
from mercato.adapters.sql.sqlite import SqliteDatabase
from tests.behaviour.products_shop import open_shop

SCHEMA = Schema("products", "mercato.products.migrations")
MUG, LAMP = "01900000-0000-7000-8000-000000000001", "01900000-0000-7000-8000-000000000002"
GONE = "01900000-0000-7000-8000-000000000003"


async def test_the_products_that_were_there_are_found_counted_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "products.db"
    upgrade(path, SCHEMA, "products_0001")
    with closing(sqlite3.connect(path)) as connection:
        for product_id, live_sku, name, at, stock in (
            (LAMP, "LAMP", "Éclair lamp", 2, 0),
            (MUG, "MUG", "Blue mug", 1, 3),
            (GONE, None, "Gone mug", 3, 1),
        ):
            connection.execute(
                "INSERT INTO products VALUES ('acme', ?, ?, ?, ?, 'By hand.', 500, 'USD', 'kitchen',"
                " ?, ?, 1)",
                (product_id, live_sku or "GONE", live_sku, name, at, at),
            )
            connection.execute(
                "INSERT INTO inventory VALUES ('acme', ?, ?, 0, NULL, ?)", (product_id, stock, at)
            )
        connection.commit()
    prepare(path, SCHEMA)
    database = SqliteDatabase(path)
    shop = open_shop(database)
    for query, found in (
        ("", ["LAMP", "MUG"]),
        ("?sort=name", ["MUG", "LAMP"]),
        ("?in_stock=true", ["MUG"]),
        ("?search=eclair", ["LAMP"]),
        ("?search=hand&category=kitchen", ["LAMP", "MUG"]),
        ("?search=gone", []),
    ):
        listed = await shop.request("GET", query)
        assert [each["sku"] for each in listed.data] == found
        assert listed.body["meta"]["total_count"] == len(found)
    assert (await shop.request("PATCH", f"/{LAMP}", {"name": "Red lamp", "category": None})).status == 200
    assert (await shop.request("DELETE", f"/{MUG}")).status == 204
    listed = await shop.request("GET", "?search=lamp")
    assert [each["name"] for each in listed.data] == ["Red lamp"]
    assert (await shop.request("GET", "?search=eclair")).data == []
    await database.close()
    downgrade(path, SCHEMA, "products_0001")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM products").fetchall() == [("Red lamp",)]
