import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from mercato.adapters.cache.memory import MemoryCache
from tests.measured import figures

A, B, C = ("acme", "a"), ("acme", "b"), ("acme", "c")


class Source:
    """Something slow to load from, that counts how often it is asked."""

    def __init__(self, data: bytes = b"data") -> None:
        self.data = data
        self.loads = 0
        self.let_go = asyncio.Event()
        self.started = asyncio.Event()

    async def load(self) -> bytes:
        self.loads += 1
        data = self.data
        self.started.set()
        await self.let_go.wait()
        return data


def of(data: bytes) -> Callable[[], Awaitable[bytes]]:
    async def load() -> bytes:
        return data

    return load


def cache_of(*, ttl_s: float = 60, max_entries: int = 100, max_bytes: int = 1000) -> MemoryCache:
    return MemoryCache(ttl_s=ttl_s, max_entries=max_entries, max_bytes=max_bytes)


async def test_what_was_loaded_is_kept() -> None:
    cache = cache_of()
    assert cache.get(A) is None
    assert await cache.load(A, of(b"1")) == b"1"
    assert cache.get(A) == b"1"
    assert cache.get(("other", "a")) is None


async def test_what_is_too_old_is_forgotten() -> None:
    now = 0.0
    cache = MemoryCache(ttl_s=5, max_entries=10, max_bytes=100, now=lambda: now)
    await cache.load(A, of(b"1"))
    now = 4.9
    assert cache.get(A) == b"1"
    now = 5.0
    assert cache.get(A) is None


async def test_the_least_recently_used_entry_goes_first() -> None:
    cache = cache_of(max_entries=2)
    await cache.load(A, of(b"1"))
    await cache.load(B, of(b"2"))
    cache.get(A)
    await cache.load(C, of(b"3"))
    assert (cache.get(A), cache.get(B), cache.get(C)) == (b"1", None, b"3")


async def test_bytes_are_bounded_also_when_entries_are_replaced() -> None:
    cache = cache_of(max_bytes=10)
    for _ in range(5):
        await cache.load(A, of(b"aaaaa"))
        await cache.load(B, of(b"bbbbb"))
    assert (cache.get(A), cache.get(B)) == (b"aaaaa", b"bbbbb")
    await cache.load(C, of(b"c"))
    assert (cache.get(A), cache.get(B), cache.get(C)) == (None, b"bbbbb", b"c")


async def test_what_is_larger_than_the_cache_pushes_nothing_out() -> None:
    cache = cache_of(max_bytes=10)
    await cache.load(A, of(b"a"))
    assert await cache.load(B, of(b"b" * 11)) == b"b" * 11
    assert (cache.get(A), cache.get(B)) == (b"a", None)


async def test_callers_at_the_same_time_share_one_load() -> None:
    cache, source = cache_of(), Source()
    waiting = [asyncio.create_task(cache.load(A, source.load)) for _ in range(20)]
    await source.started.wait()
    source.let_go.set()
    assert await asyncio.gather(*waiting) == [b"data"] * 20
    assert source.loads == 1


async def test_a_cancelled_caller_does_not_cancel_the_load_for_others() -> None:
    cache, source = cache_of(), Source()
    first = asyncio.create_task(cache.load(A, source.load))
    await source.started.wait()
    second = asyncio.create_task(cache.load(A, source.load))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    source.let_go.set()
    assert await second == b"data"
    assert cache.get(A) == b"data"
    assert source.loads == 1


async def test_a_load_that_began_before_an_invalidation_is_not_kept() -> None:
    cache, source = cache_of(), Source(b"old")
    early = asyncio.create_task(cache.load(A, source.load))
    await source.started.wait()
    source.data = b"new"
    cache.invalidate(A)
    source.let_go.set()
    assert await early == b"old"
    assert cache.get(A) is None


async def test_who_asks_after_an_invalidation_does_not_join_an_older_load() -> None:
    cache, old, new = cache_of(), Source(b"old"), Source(b"new")
    early = asyncio.create_task(cache.load(A, old.load))
    await old.started.wait()
    cache.invalidate(A)
    late = asyncio.create_task(cache.load(A, new.load))
    await new.started.wait()
    new.let_go.set()
    assert await late == b"new"
    old.let_go.set()
    assert await early == b"old"
    assert cache.get(A) == b"new"


async def test_a_failed_load_is_told_to_all_who_wait_and_not_kept() -> None:
    cache = cache_of()
    loads = 0

    async def fail() -> bytes:
        nonlocal loads
        loads += 1
        raise LookupError("nothing there")

    outcomes = await asyncio.gather(*(cache.load(A, fail) for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [LookupError] * 3
    assert loads == 1
    assert await cache.load(A, of(b"1")) == b"1"


async def test_a_hit_costs_about_a_microsecond() -> None:
    cache = cache_of()
    await cache.load(A, of(b"1"))
    fastest = min(_seconds_of_1000_hits(cache) for _ in range(20)) / 1000
    # Ten times what it takes on a quiet machine: only a change of kind can fail this.
    assert fastest < 10e-6


def _seconds_of_1000_hits(cache: MemoryCache) -> float:
    started = time.perf_counter()
    for _ in range(1000):
        cache.get(A)
    return time.perf_counter() - started


async def test_what_is_found_and_what_is_not_is_counted() -> None:
    now = 0.0
    cache = MemoryCache(ttl_s=60, max_entries=100, max_bytes=1000, now=lambda: now)
    assert cache.get(A) is None
    await cache.load(A, of(b"a"))
    assert [cache.get(A), cache.get(A), cache.get(B)] == [b"a", b"a", None]
    assert figures(cache.measures("goods"))["mercato_cache_entries", "goods"] == 1
    now = 61.0
    assert cache.get(A) is None
    assert figures(cache.measures("goods")) == {
        ("mercato_cache_requests", "goods", "hit"): 2,
        ("mercato_cache_requests", "goods", "miss"): 3,
    }
