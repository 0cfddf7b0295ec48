"""Keys that come and go while tokens are made and verified."""

import asyncio
import base64
import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from mercato.adapters.identity import keys as key_folder
from mercato.adapters.identity.keys import COOL_DOWN, SETTLING, KeyRing, LastKey, UnknownKey, UnusableKeyFile
from mercato.adapters.identity.tokens import TokenIssuer, TokenTerms, TokenVerifier
from mercato.kernel.clock import utc_now
from mercato.kernel.errors import Unauthenticated
from mercato.kernel.ids import UserId, uuid7
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import DEFAULT_TENANT
from tests.clock import FakeClock

LIFE = timedelta(minutes=15)
TERMS = TokenTerms("https://shop.example", "mercato", LIFE)
ADA = Principal(UserId(uuid7()), "ada@example.com", Role.CUSTOMER, DEFAULT_TENANT)


class Process:
    """A process that makes and verifies tokens with the keys of a folder."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self.clock = clock
        self.ring = KeyRing(folder, clock=clock)
        self.issuer = TokenIssuer(self.ring, TERMS)
        self.verifier = TokenVerifier(self.ring, TERMS, clock=clock)
        self.ring.on_drop(self.verifier.forget)

    async def token(self) -> str:
        return await self.issuer.issue(ADA, token_id=uuid7(), at=self.clock())

    async def accepts(self, token: str) -> bool:
        try:
            return await self.verifier.authenticate(token) == ADA
        except Unauthenticated:
            return False

    async def published(self) -> list[str]:
        return [each["kid"] for each in json.loads((await self.ring.keys()).jwks)["keys"]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(utc_now())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def kid_of(token: str) -> str:
    header = token.partition(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["kid"])


def rotate(folder: Path, clock: FakeClock) -> str:
    """Add a key at the clock's time; return its id."""
    made = key_folder.rotate(folder, at=clock())
    os.utime(made.path, (clock().timestamp(), clock().timestamp()))
    return key_folder.kid(made)


def retire(folder: Path, kid: str, clock: FakeClock, *, at_once: bool = False) -> None:
    key_folder.retire(folder, kid, token_life=LIFE, at=clock(), at_once=at_once)


async def test_a_new_key_is_published_first_and_signs_later(folder: Path, clock: FakeClock) -> None:
    process = Process(folder, clock)
    old = kid_of(await process.token())
    clock.forward(minutes=1)
    new = rotate(folder, clock)
    assert await process.published() == [new, old]
    assert kid_of(await process.token()) == old
    clock.at += SETTLING
    assert kid_of(await process.token()) == new


async def test_tokens_from_before_a_rotation_go_on(folder: Path, clock: FakeClock) -> None:
    process = Process(folder, clock)
    before = await process.token()
    clock.forward(minutes=1)
    rotate(folder, clock)
    clock.at += SETTLING
    after = await process.token()
    assert kid_of(before) != kid_of(after)
    for one in (process, Process(folder, clock)):
        assert await one.accepts(before)
        assert await one.accepts(after)


async def test_a_process_that_has_read_the_old_keys_knows_the_first_token_of_the_new(
    folder: Path, clock: FakeClock
) -> None:
    signing, other = Process(folder, clock), Process(folder, clock)
    await signing.token()
    clock.forward(minutes=1)
    # The other reads the folder a moment before the key is there.
    await other.published()
    rotate(folder, clock)
    await signing.published()
    clock.at += SETTLING
    assert await other.accepts(await signing.token())


async def test_a_thousand_odd_keys_cause_one_reading_a_cool_down(
    folder: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(folder, clock)
    header, payload, signature = (await process.token()).split(".")
    readings = 0
    listed = key_folder.key_files

    def counted(where: Path) -> list[key_folder.KeyFile]:
        nonlocal readings
        readings += 1
        return listed(where)

    monkeypatch.setattr(key_folder, "key_files", counted)

    def odd(number: int) -> str:
        fields = {"alg": "ES256", "kid": f"odd-{number}", "typ": "JWT"}
        return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")

    clock.at += COOL_DOWN
    refused = await asyncio.gather(
        *(process.accepts(f"{odd(number)}.{payload}.{signature}") for number in range(1000))
    )
    assert not any(refused)
    assert readings == 1
    clock.at += COOL_DOWN
    assert not await process.accepts(f"{odd(0)}.{payload}.{signature}")
    assert readings == 2
    assert await process.accepts(f"{header}.{payload}.{signature}")


async def test_a_retired_key_verifies_until_its_last_token_has_expired(
    folder: Path, clock: FakeClock
) -> None:
    process = Process(folder, clock)
    old = kid_of(await process.token())
    clock.forward(minutes=1)
    new = rotate(folder, clock)
    retire(folder, old, clock)
    # Its successor is too new to sign, and so it signs the last ones.
    clock.at += COOL_DOWN
    last = await process.token()
    assert kid_of(last) == old
    clock.at += SETTLING
    assert kid_of(await process.token()) == new
    clock.at += LIFE - SETTLING
    assert await process.accepts(last)
    assert await process.published() == [new, old]
    clock.forward(minutes=2)
    assert await process.published() == [new]
    rotate(folder, clock)
    assert old not in [key_folder.kid(each) for each in key_folder.key_files(folder)]


async def test_a_stolen_key_is_refused_within_a_cool_down(folder: Path, clock: FakeClock) -> None:
    process = Process(folder, clock)
    stolen = await process.token()
    assert await process.accepts(stolen)
    clock.forward(minutes=1)
    new = rotate(folder, clock)
    retire(folder, kid_of(stolen), clock, at_once=True)
    clock.at += COOL_DOWN
    assert await process.published() == [new]
    assert not await process.accepts(stolen)
    assert await process.accepts(await process.token())


async def test_keys_are_watched_also_while_nobody_needs_them(
    folder: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_folder, "COOL_DOWN", timedelta(milliseconds=5))
    process = Process(folder, clock)
    stolen = await process.token()
    assert await process.accepts(stolen)
    watching = asyncio.create_task(process.ring.watch())
    rotate(folder, clock)
    retire(folder, kid_of(stolen), clock, at_once=True)
    clock.forward(seconds=1)
    async with asyncio.timeout(10):
        # Each look is a condition of its own: nothing tells of a key that was dropped.
        while await process.accepts(stolen):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    watching.cancel()


async def test_the_last_key_is_not_retired(folder: Path, clock: FakeClock) -> None:
    process = Process(folder, clock)
    (only,) = await process.published()
    for at_once in (True, False):
        with pytest.raises(LastKey):
            retire(folder, only, clock, at_once=at_once)
    with pytest.raises(UnknownKey):
        retire(folder, "nonsense", clock)
    new = rotate(folder, clock)
    retire(folder, only, clock)
    retire(folder, only, clock)
    with pytest.raises(LastKey):
        retire(folder, new, clock)


def test_retiring_all_keys_at_once_leaves_one(folder: Path, clock: FakeClock) -> None:
    kids = [rotate(folder, clock) for _ in range(8)]

    def try_to(kid: str) -> bool:
        try:
            retire(folder, kid, clock)
        except LastKey:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        retired = list(threads.map(try_to, kids))
    assert sorted(retired) == [False] + [True] * 7
    assert [each.until for each in key_folder.key_files(folder)].count(None) == 1


def test_twenty_rotations_at_once_make_twenty_keys(folder: Path, clock: FakeClock) -> None:
    with ThreadPoolExecutor(20) as threads:
        kids = list(threads.map(lambda _: rotate(folder, clock), range(20)))
    assert len(set(kids)) == 20
    found = key_folder.key_files(folder)
    assert [each.number for each in found] == list(range(20, 0, -1))
    assert {key_folder.kid(each) for each in found} == set(kids)


async def test_if_every_key_has_expired_a_new_one_is_made(folder: Path, clock: FakeClock) -> None:
    process = Process(folder, clock)
    (first,) = await process.published()
    (made_first,) = key_folder.key_files(folder)
    made_first.path.rename(folder / f"signing-0001.until-{int(clock().timestamp()) - 1}.jwk.json")
    clock.at += COOL_DOWN
    (made,) = await process.published()
    assert made != first
    assert await process.accepts(await process.token())


async def test_a_clock_that_is_set_back_does_not_stop_the_reading(folder: Path, clock: FakeClock) -> None:
    process = Process(folder, clock)
    await process.token()
    new = rotate(folder, clock)
    clock.forward(hours=-5)
    assert new in await process.published()


async def test_what_is_wrong_in_the_folder_stops_no_token_that_is_known(
    folder: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    process = Process(folder, clock)
    token = await process.token()
    assert await process.accepts(token)
    for name in ("signing-0002.jwk.json", "signing-two.jwk.json"):
        (folder / name).write_text("{")
        clock.at += COOL_DOWN
        assert await process.accepts(token)
        assert await process.accepts(await process.token())
        assert name in caplog.text
        with pytest.raises(UnusableKeyFile, match=name):
            await Process(folder, clock).token()
        (folder / name).unlink()
