"""The running platform keeps what its OpenAPI document says, whatever is sent to it.

Schemathesis reads the document, makes requests that fit it and requests that do not, follows its
links from what was made, and compares every answer with it. `make fuzz` looks for longer.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import Platform, open_store

ROOT = Path(__file__).parents[2]
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "5"))
"""How many requests of each sort are made for an operation."""
SEED = os.environ.get("FUZZ_SEED", "")
"""Empty makes the same requests every time."""
DEADLINE_S = 900.0 if not SEED else 3600.0

PHASES = {"admin": "coverage,fuzzing,stateful", "customer": "examples,fuzzing,stateful"}
"""By who calls. To cover every schema's every rule takes longest, and few of them may be reached by all."""

UNSAID = "positive_data_acceptance"
"""What a schema cannot say is refused too: page with offset, a price of three digits, a key used again."""


def schemathesis(
    platform: Platform, token: str, phases: str, folder: Path
) -> "subprocess.CompletedProcess[str]":
    how = ["--seed", SEED] if SEED else ["--generation-deterministic"]
    return subprocess.run(
        [
            str(Path(sys.executable).parent / "schemathesis"),
            *("--config-file", str(ROOT / "tests" / "fuzz" / "schemathesis.toml")),
            "run",
            f"{platform.url}/openapi.json",
            *("--header", f"Authorization: Bearer {token}"),
            *("--phases", phases),
            *("--max-examples", str(EXAMPLES)),
            *("--exclude-checks", UNSAID),
            *("--request-timeout", "30"),
            *("--warnings", "off"),
            "--continue-on-failure",
            "--no-color",
            *how,
        ],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )


@pytest.mark.parametrize("role", PHASES)
async def test_no_request_breaks_what_is_described(own_platform: Platform, tmp_path: Path, role: str) -> None:
    own_platform.start()
    store = await open_store(own_platform, "fuzz")
    ended = schemathesis(own_platform, getattr(store, role), PHASES[role], tmp_path)
    assert ended.returncode == 0, ended.stdout[-20_000:] + ended.stderr
    assert '"level":"error"' not in own_platform.log()
    own_platform.assert_balanced()
