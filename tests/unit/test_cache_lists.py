import asyncio

import pytest

from mercato.adapters.cache import lists
from mercato.adapters.cache.lists import ListCache
from mercato.adapters.cache.memory import MemoryCache


def make() -> ListCache:
    return ListCache(MemoryCache(ttl_s=60, max_entries=100, max_bytes=100_000))


async def say(text: bytes) -> bytes:
    return text


async def test_a_list_is_kept_until_its_store_changes() -> None:
    cache = make()
    assert await cache.load("acme", "q", lambda: say(b"one")) == b"one"
    assert cache.get("acme", "q") == b"one"
    assert (cache.get("tokyo", "q"), cache.get("acme", "other")) == (None, None)
    cache.invalidate("tokyo")
    assert cache.get("acme", "q") == b"one"
    cache.invalidate("acme")
    assert cache.get("acme", "q") is None


async def test_a_load_that_a_change_overtook_is_not_kept() -> None:
    cache, go_on = make(), asyncio.Event()

    async def slow() -> bytes:
        await go_on.wait()
        return b"old"

    loading = asyncio.create_task(cache.load("acme", "q", slow))
    await asyncio.sleep(0)
    cache.invalidate("acme")
    assert await cache.load("acme", "q", lambda: say(b"new")) == b"new"
    go_on.set()
    assert await loading == b"old"
    assert cache.get("acme", "q") == b"new"


async def test_what_many_ask_for_at_once_is_loaded_once() -> None:
    cache, loads = make(), []

    async def load() -> bytes:
        loads.append(1)
        await asyncio.sleep(0)
        return b"x"

    assert await asyncio.gather(*(cache.load("acme", "q", load) for _ in range(20))) == [b"x"] * 20
    assert len(loads) == 1


async def test_a_store_that_was_forgotten_does_not_find_its_old_lists(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lists, "_MAX_STORES", 2)
    cache = make()
    await cache.load("acme", "q", lambda: say(b"old"))
    for store in ("a", "b", "c"):
        cache.invalidate(store)
    assert cache.get("acme", "q") is None
