"""Verifying tokens with keys that another service tells."""

import asyncio
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from mercato.adapters.identity.keys import KeyRing
from mercato.adapters.identity.remote_keys import RemoteKeys
from mercato.adapters.identity.tokens import TokenIssuer, TokenTerms, TokenVerifier
from mercato.kernel.clock import utc_now
from mercato.kernel.errors import Unauthenticated, Unavailable
from mercato.kernel.ids import uuid7
from tests.shop import PEOPLE

TERMS = TokenTerms("https://shop.example", "mercato", timedelta(minutes=15))


class Users:
    """A users service that tells its keys; it can be away, and tell nonsense."""

    def __init__(self, folder: Path) -> None:
        self.ring = KeyRing(folder / "keys")
        self.away = False
        self.told: bytes | None = None
        self.asked = 0

    async def fetch(self) -> bytes:
        self.asked += 1
        if self.away:
            raise Unavailable("The users service is away.")
        return self.told or (await self.ring.keys()).jwks

    async def token(self) -> str:
        return await TokenIssuer(self.ring, TERMS).issue(PEOPLE["ann"], token_id=uuid7(), at=utc_now())


class Ticking:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def users(tmp_path: Path) -> Users:
    return Users(tmp_path)


@pytest.fixture
def ticking() -> Ticking:
    return Ticking()


@pytest.fixture
def keys(users: Users, ticking: Ticking) -> RemoteKeys:
    return RemoteKeys(users.fetch, clock=ticking)


def verifier(keys: RemoteKeys) -> TokenVerifier:
    found = TokenVerifier(keys, TERMS, clock=utc_now)
    keys.on_drop(found.forget)
    return found


async def test_a_token_of_users_is_good_elsewhere(users: Users, keys: RemoteKeys) -> None:
    assert await verifier(keys).authenticate(await users.token()) == PEOPLE["ann"]


async def test_twenty_first_tokens_ask_for_the_keys_once(users: Users, keys: RemoteKeys) -> None:
    token = await users.token()
    await asyncio.gather(*(verifier(keys).authenticate(token) for _ in range(20)))

    assert users.asked == 1


async def test_odd_keys_ask_at_most_once_per_cool_down(
    users: Users, keys: RemoteKeys, ticking: Ticking, tmp_path: Path
) -> None:
    await verifier(keys).authenticate(await users.token())
    stranger = await Users(tmp_path / "elsewhere").token()
    for _ in range(50):
        with pytest.raises(Unauthenticated):
            await verifier(keys).authenticate(stranger)
    assert users.asked == 1
    ticking.now += 6
    with pytest.raises(Unauthenticated):
        await verifier(keys).authenticate(stranger)
    assert users.asked == 2


async def test_known_keys_stay_good_while_users_is_away(
    users: Users, keys: RemoteKeys, ticking: Ticking
) -> None:
    await verifier(keys).authenticate(await users.token())
    users.away = True
    ticking.now += 3_600

    assert await verifier(keys).authenticate(await users.token()) == PEOPLE["ann"]


async def test_before_users_was_ever_there_nobody_is_called_a_liar(users: Users, keys: RemoteKeys) -> None:
    """A token may be good: 503 says to come again, where 401 would sign a shopper out."""
    users.away = True

    with pytest.raises(Unavailable):
        await verifier(keys).authenticate(await users.token())


async def test_users_that_comes_back_is_heard_within_a_second(
    users: Users, keys: RemoteKeys, ticking: Ticking
) -> None:
    users.away = True
    with pytest.raises(Unavailable):
        await verifier(keys).authenticate(await users.token())
    users.away = False
    ticking.now += 0.6

    assert await verifier(keys).authenticate(await users.token()) == PEOPLE["ann"]


async def test_keys_of_the_same_folder_are_good_until_users_is_heard(users: Users, tmp_path: Path) -> None:
    users.away = True
    keys = RemoteKeys(users.fetch, folder=KeyRing(tmp_path / "keys"))
    token = await users.token()

    assert await verifier(keys).authenticate(token) == PEOPLE["ann"]


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"<html>",
        b'{"keys": []}',
        b'{"keys": [{"kty": "oct", "kid": "x", "k": "AAAA"}]}',
        b'{"keys": [{"kty": "EC", "crv": "P-256", "kid": "x", "x": "?", "y": "?"}]}',
        b'{"keys": [' + b"{}," * 100_000 + b"{}]}",
    ],
)
async def test_nonsense_for_keys_takes_no_key_away(
    users: Users, keys: RemoteKeys, ticking: Ticking, told: bytes, tmp_path: Path
) -> None:
    token = await users.token()
    await verifier(keys).authenticate(token)
    users.told = told
    ticking.now += 10
    with pytest.raises(Unauthenticated):
        await verifier(keys).authenticate(await Users(tmp_path / "elsewhere").token())

    assert await verifier(keys).authenticate(token) == PEOPLE["ann"]


async def test_a_key_that_is_told_no_more_is_forgotten_with_what_it_verified(
    users: Users, keys: RemoteKeys, ticking: Ticking, tmp_path: Path
) -> None:
    token, verify = await users.token(), verifier(keys)
    await verify.authenticate(token)
    others = Users(tmp_path / "elsewhere")
    users.told = (await others.ring.keys()).jwks
    ticking.now += 10
    await verify.authenticate(await others.token())

    with pytest.raises(Unauthenticated):
        await verify.authenticate(token)


async def test_a_private_key_in_the_set_is_not_taken(users: Users, keys: RemoteKeys) -> None:
    jwks = msgspec.json.decode((await users.ring.keys()).jwks)
    jwks["keys"][0]["d"] = "AAAA"
    users.told = msgspec.json.encode(jwks)

    with pytest.raises(Unavailable):
        await verifier(keys).authenticate(await users.token())
