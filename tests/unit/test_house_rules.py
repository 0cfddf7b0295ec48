"""What the linters cannot say of the code's shape."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_LINES_OF_A_FILE = 500
MOST_LINES_OF_A_FUNCTION = 60


def files() -> Iterator[Path]:
    for folder in ("src", "tests", "bench", "tools", "clients"):
        yield from (ROOT / folder).rglob("*.py")


def test_no_file_is_longer_than_can_be_read_at_once() -> None:
    long = {
        path.name: lines
        for path in files()
        if (lines := len(path.read_text().splitlines())) > MOST_LINES_OF_A_FILE
    }
    assert long == {}


def test_no_function_is_longer_than_a_page() -> None:
    long = [
        f"{path.name}: {node.name}"
        for path in files()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= MOST_LINES_OF_A_FUNCTION
    ]
    assert long == []
