"""What a field accepts is said in plain words."""

import enum
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
import pytest

from mercato.kernel.money import Amount
from mercato.kernel.tenancy import SLUG_PATTERN
from mercato.web.accepted import accepted
from mercato.web.decode import Body


class Size(enum.StrEnum):
    SMALL = "small"
    LARGE = "large"


class Line(Body, frozen=True):
    """A line."""


Meta = msgspec.Meta


@pytest.mark.parametrize(
    "kind, words",
    [
        (str, "a string"),
        (str | None, "a string"),
        (bool, "true or false"),
        (Amount, "a number"),
        (Decimal | None, "a number"),
        (Size, "one of small, large"),
        (Literal["open", "closed"], "one of open, closed"),
        (Line, "an object"),
        (list[Line], "a list"),
        (int | str, "a whole number or a string"),
        (Annotated[int, Meta(ge=1, le=9)] | None, "a whole number from 1 to 9"),
        (Annotated[int, Meta(ge=1)], "a whole number of at least 1"),
        (Annotated[int, Meta(le=9)], "a whole number of at most 9"),
        (Annotated[str, Meta(min_length=1)], "a string of at least 1 character"),
        (Annotated[str, Meta(max_length=9)], "a string of at most 9 characters"),
        (Annotated[Annotated[str, Meta(min_length=2)], Meta(max_length=9)], "a string of 2 to 9 characters"),
        (Annotated[tuple[Line, ...], Meta(min_length=1, max_length=9)], "a list of 1 to 9 items"),
        (Annotated[str, Meta(pattern="^a\\Z", description="the letter a")], "the letter a"),
        (dict[str, int], "what the API's description says"),
        (bytes, "what the API's description says"),
    ],
)
def test_what_is_accepted_is_said_in_plain_words(kind: Any, words: str) -> None:
    assert accepted(kind) == f"must be {words}"


def test_a_pattern_takes_no_newline_at_its_end() -> None:
    slug = Annotated[str, Meta(pattern=SLUG_PATTERN)]
    assert msgspec.convert("shop", slug) == "shop"
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert("shop\n", slug)
