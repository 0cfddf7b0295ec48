"""`make up-d`, `down` and `health`: the platform in the background of a data folder."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.load import load
from tests.commands import environment, wait_until
from tests.modes import OWN_PROCESSES
from tests.running import STOP_DEADLINE_S, free_port

pytestmark = OWN_PROCESSES

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Background:
    """A data folder, and the commands on it."""

    folder: Path
    port: int

    def __call__(self, command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        own = {"MERCATO_DATA": str(self.folder), "MERCATO_PORT": str(self.port)}
        return subprocess.run(
            [sys.executable, "-m", "tools.background", command],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=environment(own | variables),
            timeout=STOP_DEADLINE_S + 60,
            check=False,
        )

    @property
    def pid_file(self) -> Path:
        return self.folder / "mercato.pid"


@pytest.fixture
def background(tmp_path: Path) -> Iterator[Background]:
    commands = Background(tmp_path / "data", free_port())
    yield commands
    commands("down")


def test_it_runs_until_it_is_told_to_stop(background: Background) -> None:
    url = f"http://127.0.0.1:{background.port}"
    assert background("health").returncode == 1
    started = background("up")
    assert (started.returncode, url in started.stdout) == (0, True), started
    again = background("up")
    assert (again.returncode, "is running already" in again.stdout) == (0, True)
    health = background("health")
    assert (health.returncode, '"status":"ok"' in health.stdout) == (0, True)
    assert "answers: " in load(f"{url}/products", seconds=0.1)
    # Lines are written a moment after the answers.
    wait_until(lambda: '"route":"GET /products"' in (background.folder / "mercato.log").read_text())
    assert background("down").stdout == "It is stopped.\n"
    assert "Nothing answers" in background("health").stderr
    assert background("down").returncode == 0
    assert not background.pid_file.exists()


def test_what_cannot_start_is_told_with_its_reason_and_leaves_nothing(background: Background) -> None:
    failed = background("up", MERCATO_PAYMENT_PROVIDER="stripe")
    assert failed.returncode == 1
    assert "MERCATO_STRIPE_KEY is not set" in failed.stderr
    assert not background.pid_file.exists()


def test_another_platform_at_the_address_is_not_taken_for_this_one(
    background: Background, tmp_path: Path
) -> None:
    assert background("up").returncode == 0
    other = Background(tmp_path / "other", background.port)
    refused = other("up")
    assert (refused.returncode, "is in use" in refused.stderr) == (1, True), refused
    assert not other.pid_file.exists()


def test_a_number_that_has_passed_to_another_program_is_left_alone(background: Background) -> None:
    background.folder.mkdir()
    background.pid_file.write_text(f"{os.getpid()}\n")
    assert "Nothing runs" in background("down").stdout
    background.pid_file.write_text("nonsense")
    assert "Nothing runs" in background("down").stdout


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com:80/",
        "https://127.0.0.1:8080/",
        "http://127.0.0.1.example.com:80/",
        "",
        "8080",
        "/",
    ],
)
def test_no_other_machine_is_put_under_load(url: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        load(url)
