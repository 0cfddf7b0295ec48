"""What a client's Accept header makes of an answer's type."""

import pytest

from mercato.gateway.graphql_http.accept import names, wanted

OFFERED = ("a/x", "a/y", "b/z")


@pytest.mark.parametrize(
    "accept, best_first",
    [
        (None, ["a/x", "a/y", "b/z"]),
        ("", ["a/x", "a/y", "b/z"]),
        (" , ", []),
        ("*/*", ["a/x", "a/y", "b/z"]),
        ("a/*", ["a/x", "a/y"]),
        ("b/z", ["b/z"]),
        ("b/z, a/y", ["a/y", "b/z"]),
        ("b/z, a/y;q=0.5", ["b/z", "a/y"]),
        ("*/*;q=0.1, b/*;q=0.2, a/y;q=0.3", ["a/y", "b/z", "a/x"]),
        ("*/*, a/x;q=0", ["a/y", "b/z"]),
        ("a/*;q=0, a/y", ["a/y"]),
        ("A/X ; charset=utf-8 ; Q=1", ["a/x"]),
        ("a/x;q=nonsense", []),
        ("a/x;q=nan", []),
        ("a/x;q=-1", []),
        ("a/x;q=17", ["a/x"]),
        ("text/html", []),
        (";,;q=,/", []),
    ],
)
def test_what_is_accepted_comes_best_first(accept: str | None, best_first: list[str]) -> None:
    assert wanted(accept, OFFERED) == best_first


def test_a_header_of_any_length_is_looked_at_for_a_moment() -> None:
    assert wanted("a/y," * 1_000_000, OFFERED) == ["a/y"]
    assert wanted("c/d," * 50 + "a/y", OFFERED) == []


def test_a_wildcard_names_nothing() -> None:
    assert names("text/html, b/z;q=0.1", "b/z")
    assert not names("*/*, b/*", "b/z")
    assert not names(None, "b/z")
