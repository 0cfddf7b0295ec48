"""The rules of deploy/prometheus, judged by Prometheus's own tool."""

import subprocess

import pytest

from tests.engines import need
from tests.modes import OWN_PROCESSES
from tests.watching import PROMETHEUS

pytestmark = OWN_PROCESSES


def promtool(*words: str) -> str:
    """Run the tool on what is deployed; it must find no fault."""
    need("prometheus")
    ended = subprocess.run(
        ["promtool", *words], cwd=PROMETHEUS, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.parametrize("config", ["prometheus.yml", "embedded.yml"])
def test_the_configuration_and_its_rules_are_sound(config: str) -> None:
    told = promtool("check", "config", "--lint=all", "--lint-fatal", config)
    assert told.count("rules found") == len(list((PROMETHEUS / "rules").glob("*.yml")))


def test_every_alert_fires_when_it_should_and_not_when_it_should_not() -> None:
    tests = sorted(str(path) for path in (PROMETHEUS / "tests").glob("*.yml"))
    assert promtool("test", "rules", *tests).count("SUCCESS") == len(tests)
