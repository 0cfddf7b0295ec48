"""A platform that the system tests share; those that kill it start their own."""

from collections.abc import Iterator

import pytest

from tests.running import Platform


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A running platform with stores of many tests in it; its books balance in the end."""
    running = Platform(tmp_path_factory.mktemp("platform"))
    running.start()
    yield running
    running.assert_balanced()
    assert running.stop() == 0
