"""The README's purchase, run as it is printed there."""

import re
import subprocess
from pathlib import Path

import msgspec

from tests.running import Platform

README = Path(__file__).parents[2] / "README.md"
PURCHASE = re.compile(r"<!-- purchase:.*?-->\n```sh\n(.*?)```", re.DOTALL)


def test_the_purchase_of_the_readme_works_as_printed(own_platform: Platform) -> None:
    found = PURCHASE.search(README.read_text())
    assert found is not None
    own_platform.port = 8080
    own_platform.start()

    ended = subprocess.run(
        ["bash", "-eu", "-c", found.group(1)], capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 0, ended.stderr
    answers = [msgspec.json.decode(line) for line in _json_lines(ended.stdout)]
    product, listed, paid, order = (answer["data"] for answer in answers)
    assert len(found.group(1).strip().splitlines()) == 10
    assert product["price"] == 12.5
    assert [each["id"] for each in listed] == [product["id"]]
    assert paid["status"] == "success"
    assert (order["status"], order["payment_status"], order["total_amount"]) == ("confirmed", "paid", 25.0)
    own_platform.assert_balanced()


def _json_lines(output: str) -> list[str]:
    """Split the answers, which curl prints without a line's end."""
    return re.sub(r"\}\{", "}\n{", output.strip()).splitlines()
