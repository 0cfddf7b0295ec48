"""Lists and searches of users: what is found, by whom, and at what cost."""

import itertools
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from mercato.adapters.sql.sqlite import SqliteDatabase
from mercato.kernel.ids import UserId, uuid7
from mercato.kernel.paging import Window
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import TenantId
from mercato.users.ports import UserFilter
from mercato.users.stores import search
from mercato.users.stores.sql_users import page
from tests.behaviour.users_platform import Platform, bearer, person, start
from tests.conftest import OpenDatabase
from tests.engines import SQLITE

USERS = "/api/v1/users"
SHOP = TenantId("shop")


@pytest.fixture
async def platform(open_database: OpenDatabase, tmp_path: Path) -> Platform:
    return await start(await open_database("users"), tmp_path)


class Staff:
    """An admin of a store, looking for users."""

    def __init__(self, platform: Platform, token: str) -> None:
        self.platform = platform
        self.token = token

    async def add(self, email: str, first_name: str, last_name: str, **more: object) -> str:
        body = person(email, first_name=first_name, last_name=last_name, **more)
        answer = await self.platform.send("POST", USERS, body, headers=bearer(self.token))
        assert answer.status == 201, answer.body
        return str(answer.json["data"]["id"])

    async def listed(self, query: str = "") -> Any:
        answer = await self.platform.send("GET", f"{USERS}?{query}", headers=bearer(self.token))
        assert answer.status == 200, answer.body
        return answer.json

    async def found(self, text: str, more: str = "") -> list[str]:
        listed = await self.listed(f"search={quote(text)}{more}")
        assert listed["meta"]["total_count"] == len(listed["data"])
        return [each["last_name"] for each in listed["data"]]


@pytest.fixture
async def staff(platform: Platform) -> Staff:
    return Staff(platform, (await platform.onboard("shop"))["token"])


async def test_all_words_have_to_be_there_in_any_case_and_without_accents(staff: Staff) -> None:
    await staff.add("j.müller@mail.example", "Jürgen", "Müller")
    await staff.add("anna@mail.example", "Anna-Maria", "Müller")
    await staff.add("x@mail.example", "Ἀλέξανδρος", "Παπαδόπουλος")
    await staff.add("y@mail.example", "Дарья", "Ёлкина")
    for text, last_names in {
        "müller": ["Müller", "Müller"],
        "MULLER jürgen": ["Müller"],
        "maria anna": ["Müller"],
        "anna jürgen": [],
        "mül": [],
        "anna@mail.example": ["Müller"],
        "παπαδοπουλος": ["Παπαδόπουλος"],
        "ДАРЬЯ елкина": ["Ёлкина"],
        "mail": ["Ёлкина", "Παπαδόπουλος", "Müller", "Müller"],
    }.items():
        assert await staff.found(text) == last_names, text


@pytest.mark.parametrize("text", ["", " ", "*", '"', "'", "()", "-", "^", ":", "_", "\u0301", "...", "😀"])
async def test_a_search_without_a_word_finds_nobody(staff: Staff, text: str) -> None:
    assert await staff.found(text) == []


@pytest.mark.parametrize(
    "text",
    [
        'ada" OR "boss',
        "ada OR boss",
        "ada AND NOT nobody",
        "NEAR(ada lovelace)",
        "ada NEAR/2 lovelace",
        "words : ada",
        "^ada",
        "-ada nobody",
        "shop_ada",
        "_admin",
        "shop__admin",
        "other_ada",
        "{words} : ada",
        "ada + lovelace nobody",
        "'; DROP TABLE users; --",
        "lovelac*",
        "ada\\",
    ],
)
async def test_hostile_text_is_only_words(staff: Staff, text: str) -> None:
    wanted = "Lovelace" if search.words(text) in (["ada"], ["ada", "lovelace"]) else None
    assert await staff.found(text) == ([] if wanted is None else [wanted])


async def test_a_search_follows_every_change(staff: Staff) -> None:
    user = await staff.add("new@mail.example", "Nina", "Nova")
    path, headers = f"{USERS}/{user}", bearer(staff.token)
    assert await staff.found("nina nova new") == ["Nova"]
    changed = {"first_name": "Nora", "email": "other@mail.example", "role": "admin"}
    assert (await staff.platform.send("PUT", path, changed, headers=headers)).status == 200
    assert await staff.found("nina") == await staff.found("new") == []
    assert await staff.found("nora other", "&role=admin&active=true") == ["Nova"]
    await staff.platform.send("PUT", path, {"is_active": False}, headers=headers)
    assert await staff.found("nora", "&active=true") == []
    await staff.platform.send("DELETE", path, headers=headers)
    assert await staff.found("nora") == []


async def test_no_store_finds_users_of_another(platform: Platform, staff: Staff) -> None:
    other = Staff(platform, (await platform.onboard("shop-two"))["token"])
    await staff.add("only@mail.example", "Only", "Here")
    assert await other.found("only") == []
    assert await staff.found("only") == ["Here"]
    for text in ("two_lovelace", "-two_lovelace", "shop-two_lovelace", "two ada"):
        assert await staff.found(text) == [], text


@pytest.mark.parametrize(
    "filters", ["count=true", "search=ada", "role=customer", "active=true", "role=customer&active=true"]
)
async def test_pages_hold_everybody_once_newest_first(staff: Staff, filters: str) -> None:
    made = [await staff.add(f"u{n}@mail.example", "Ada", f"Name{n}") for n in range(7)]
    seen: list[str] = []
    query = f"limit=3&{filters}"
    while True:
        listed = await staff.listed(query)
        seen += [each["id"] for each in listed["data"]]
        if not listed["meta"]["has_more"]:
            break
        query = f"limit=3&{filters}&after={listed['meta']['next_cursor']}"
    assert seen == sorted(seen, reverse=True)
    assert [each for each in seen if each in made] == made[::-1]


async def test_a_cursor_at_a_deleted_user_goes_on(staff: Staff) -> None:
    made = [await staff.add(f"u{n}@mail.example", "Zoe", f"Name{n}") for n in range(4)]
    for filters in ("search=zoe", "role=customer"):
        first = await staff.listed(f"limit=2&{filters}")
        last = first["data"][-1]["id"]
        await staff.platform.send("DELETE", f"{USERS}/{last}", headers=bearer(staff.token))
        rest = await staff.listed(f"limit=9&{filters}&after={first['meta']['next_cursor']}")
        assert [each["id"] for each in rest["data"]] == [each for each in made[::-1] if each < last]
        made.remove(last)


@pytest.mark.parametrize("query", ["role=root", "active=maybe", "nam=x", "after=x", f"search={'x' * 201}"])
async def test_a_bad_parameter_is_named(staff: Staff, query: str) -> None:
    answer = await staff.platform.send("GET", f"{USERS}?{query}", headers=bearer(staff.token))
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert [each["field"] for each in answer.json["error"]["details"]] == [query.partition("=")[0]]


MANY = 100_000


@pytest.fixture
async def crowded(open_database: OpenDatabase, tmp_path: Path) -> Platform:
    """A platform with a hundred thousand users of two stores."""
    db = await open_database("users")
    users, documents, indexed = [], [], []
    for n in range(MANY):
        tenant, user_id = ("shop", "other")[n % 2], uuid7()
        role, active = ("admin" if n % 200 < 20 else "customer"), int(n % 11 > 1)
        key = f"user{n}@mail.example"
        users.append((tenant, user_id, key, key, "Ada", f"Name{n}", role, active))
        documents.append((n, tenant, user_id))
        own = (f"_{role}", "_active" if active else "_disabled", *search.words(f"{key} Ada Name{n}"))
        indexed.append((n, " ".join(f"{tenant}_{word}" for word in own)))
    assert isinstance(db, SqliteDatabase)
    connection = db._writer._connection
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO users (tenant_id, id, email, email_key, first_name, last_name, role, is_active,"
        " password_hash, created_at, updated_at, version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, '', 0, 0, 1)",
        users,
    )
    connection.executemany("INSERT INTO user_documents VALUES (?, ?, ?)", documents)
    connection.executemany("INSERT INTO user_words (rowid, words) VALUES (?, ?)", indexed)
    connection.execute("COMMIT")
    return await start(db, tmp_path)


@SQLITE
async def test_no_list_or_search_reads_or_sorts_a_whole_table(crowded: Platform) -> None:
    row = await crowded.db.fetch_one(
        "SELECT id FROM users WHERE tenant_id = 'shop' ORDER BY id DESC LIMIT 1 OFFSET 500"
    )
    assert row is not None
    for text, role, active, operators, after in itertools.product(
        (None, "ada", "ada name4242"),
        (None, Role.ADMIN),
        (None, True, False),
        (True, False),
        (None, row[0]),
    ):
        wanted = UserFilter(operators=operators, search=text, role=role, active=active)
        statement = page("sqlite", SHOP, wanted, Window(20, 0, after, counted=False))
        assert statement is not None
        sql, params = statement
        plan = [step[3] for step in await crowded.db.fetch_all(f"EXPLAIN QUERY PLAN {sql}", params)]
        for step in plan:
            assert "TEMP B-TREE" not in step, (wanted, plan)
            # A virtual table has no other word for asking its index: M says that it is asked to match.
            assert not step.startswith("SCAN") or "VIRTUAL TABLE INDEX" in step, (wanted, plan)
            assert not step.startswith("SCAN") or "M" in step.rpartition(":")[2], (wanted, plan)
        found = await crowded.db.search(sql, params)
        several = 0 if role is Role.ADMIN or active is False else 1
        assert len(found) == (several if text == "ada name4242" else 21), wanted


@SQLITE
async def test_counting_and_finding_cost_what_is_found(crowded: Platform) -> None:
    boss = Principal(UserId(uuid7()), "", Role.ADMIN, SHOP)
    for text, many in {"ada": MANY // 2, "name4242": 1, "name4243": 0}.items():
        assert await crowded.service.service.count(boss, UserFilter(operators=False, search=text)) == many
    ada = search.found("sqlite", SHOP, UserFilter(operators=True, search="ada"))
    assert ada is not None
    plan = await crowded.db.fetch_all(f"EXPLAIN QUERY PLAN {ada.count}", ada.params)
    assert [step[3] for step in plan] == ["SCAN user_words VIRTUAL TABLE INDEX 0:M1"]
