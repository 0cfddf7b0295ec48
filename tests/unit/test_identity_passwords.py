"""Passwords."""

import asyncio
import re
import statistics
import time

import pytest

from mercato.adapters.identity.passwords import Argon2Passwords
from mercato.kernel.errors import Unavailable


async def test_a_password_fits_its_own_hash_only() -> None:
    passwords = Argon2Passwords()
    hashed = await passwords.hash("correct horse")
    assert re.match(r"\$argon2id\$v=19\$m=19456,t=2,p=1\$", hashed)
    assert await passwords.verify("correct horse", hashed)
    assert not await passwords.verify("Correct horse", hashed)
    assert await passwords.hash("correct horse") != hashed


async def test_nobody_has_any_password() -> None:
    passwords = Argon2Passwords()
    for guess in ("", "password", "nobody's salt!"):
        assert not await passwords.verify(guess, None)


async def test_nobody_takes_as_long_as_somebody() -> None:
    passwords = Argon2Passwords()
    hashed = await passwords.hash("correct horse")
    somebody: list[float] = []
    nobody: list[float] = []
    for _ in range(9):
        for spent, known in ((somebody, hashed), (nobody, None)):
            started = time.process_time()
            await passwords.verify("wrong", known)
            spent.append(time.process_time() - started)
    assert 0.5 < statistics.median(nobody) / statistics.median(somebody) < 2


async def test_whoever_comes_when_too_many_wait_is_told_to_come_back() -> None:
    passwords = Argon2Passwords(threads=1, max_pending=3)
    outcomes = await asyncio.gather(*(passwords.hash("x") for _ in range(20)), return_exceptions=True)
    refused = [each for each in outcomes if isinstance(each, Unavailable)]
    assert len(refused) == 17
    assert await passwords.hash("x")


async def test_who_gives_up_waiting_leaves_the_queue() -> None:
    passwords = Argon2Passwords(threads=1, max_pending=2)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.gather(passwords.hash("x"), passwords.hash("y"))
    assert await passwords.verify("x", await passwords.hash("x"))
