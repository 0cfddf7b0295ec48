"""The words by which products are found, as every engine compares them: without case and accents."""

import unicodedata
from collections.abc import Sequence

NAME_KEY = 100
"""Characters of a name that a list is sorted by."""
_WORD = 64
"""Characters of a word that tell it from others."""


def name_key(name: str) -> str:
    """Return what a name is sorted by: without case and accents."""
    return _plain(name)[:NAME_KEY]


def words_of(*texts: str | None) -> tuple[str, ...]:
    """Return the words of the texts, each once, without case and accents."""
    plain = _plain(" ".join(text for text in texts if text))
    spaced = "".join(each if each.isalnum() else " " for each in plain)
    return tuple(dict.fromkeys(word[:_WORD] for word in spaced.split()))


def as_text(words: Sequence[str]) -> str:
    """Return the words as the product's row has them: each between spaces."""
    return f" {' '.join(words)} "


def pattern(word: str) -> str:
    """Return the LIKE pattern of rows with this word; it has no character that means something there."""
    return f"% {word} %"


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text).casefold()
    return "".join(each for each in folded if not unicodedata.combining(each))
