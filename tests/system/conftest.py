"""A platform that tests share, while those that kill it start their own; and what split mode leaves out."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engines import available
from tests.running import SPLIT, Platform

_LEFT_OUT = pytest.StashKey[dict[str, int]]()
"""How many tests were left out, by reason."""
_NOT_SHARED = "what starts a platform of its own"


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A running platform with stores of many tests in it; its books balance in the end."""
    running = Platform(tmp_path_factory.mktemp("platform"))
    running.start()
    yield running
    running.assert_balanced()
    assert running.stop() == 0
    running.discard()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let one choose the tests that share one platform, which takes long to start where it is split."""
    parser.addoption("--shared-platform", action="store_true", help="run what shares one platform")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is no matter of separate services, where platforms are run as such."""
    if not SPLIT:
        return
    if not all(available(each) for each in ("postgres", "rabbitmq", "redis")):
        pytest.exit("Nothing was tested: the engines are not installed; `make setup-engines` does it", 0)
    only_shared = config.getoption("--shared-platform", default=False)
    reasons = {item: reason for item in items if (reason := _left_out(item, only_shared=only_shared))}
    config.stash[_LEFT_OUT] = dict(Counter(reasons.values()))
    config.hook.pytest_deselected(items=list(reasons))
    items[:] = [item for item in items if item not in reasons]


def _left_out(item: pytest.Item, *, only_shared: bool) -> str | None:
    """Return why a test is left out, None if it is not."""
    mark = item.get_closest_marker("embedded_only")
    if mark is not None:
        return str(mark.args[0])
    return _NOT_SHARED if only_shared and not _shares(item) else None


def _shares(item: pytest.Item) -> bool:
    """Say whether a test runs on the platform that others run on; files may have their own by that name."""
    if not isinstance(item, pytest.Function):
        return False
    found = item._fixtureinfo.name2fixturedefs.get("platform", ())
    return bool(found) and found[-1].scope == "session"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Have it told by the process that has told others to run the tests, if there is one."""
    told = getattr(session.config, "workeroutput", None)
    if told is not None:
        told["left_out"] = session.config.stash.get(_LEFT_OUT, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take up what such another has left out: all of them leave out the same."""
    node.config.stash[_LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", {})


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Tell how many tests were left out, and why."""
    reasons = terminalreporter.config.stash.get(_LEFT_OUT, {})
    if reasons:
        told = ", ".join(f"{count} of {reason}" for reason, count in reasons.items())
        terminalreporter.write_line(f"{sum(reasons.values())} tests are left out of split mode: {told}")
