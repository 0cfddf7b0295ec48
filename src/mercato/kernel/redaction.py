"""The last fence before what must not be told: secrets, tokens, card numbers, people's addresses in a text.

Our own code does not put them there. Libraries do, in the words of their errors: a connection's URL, a
statement's value, a header. They are known by their name or by their shape.
"""

import re

import msgspec

HIDDEN = "[hidden]"
_NAMES = (
    r"passw(?:or)?d|passphrase|secret|token|authorization|cookie|credential|api[_-]?key|private[_-]?key"
    r"|cvc|cvv|card[_-]?number"
)
is_secret_name = re.compile(_NAMES, re.IGNORECASE).search
"""Says whether what has this name must not be told, whatever it looks like."""
MOST = 4_000
"""Characters of a text that are told, and looked through. What repeats below is bounded, too, so that no text
takes long."""

_URL = re.compile(r"://(?P<user>[^\s/:@\"'\\<>]{0,64}:)?[^\s/\"'\\<>]{0,256}@")
_SHAPES = re.compile(
    r"""
    \b(?i:bearer|basic)\s+[\w.+/=~-]+                      # a header's value
  | \beyJ[\w-]+\.[\w-]+(?:\.[\w-]*)*                       # a JWT
  | \b(?:tok|[srp]k|whsec|src|pm)_\w+                      # a payment provider's
  | \b\w{1,64}_secret_\w+
  | \$argon2\S+
  | -----BEGIN\ [A-Z ]*KEY-----.*
  | (?<![\w-])(?=[\w-]{0,40}[a-z])(?=[\w-]{0,40}[A-Z])(?=[\w-]{0,40}\d)[\w-]{40,}   # as our own are
  | (?<=\)=)\([^\n]*?\)                                    # PostgreSQL: Key (email)=(...) already exists
  | (?<=Failing\ row\ contains\ )\(.*                      # PostgreSQL
  | \[(?:SQL|parameters):.*                                # SQLAlchemy
    """,
    re.ASCII | re.VERBOSE | re.DOTALL,
)
_NAMED = re.compile(
    rf"""(?P<name>(?:{_NAMES})[\w-]{{0,32}}\\{{0,4}}["']?\s{{0,4}}[:=]\s{{0,4}})"""
    rf"""(?:b?(?P<quote>\\{{0,4}}["']).{{0,512}}?(?P=quote)|\[hidden\]|[^\s"'\\,;&)\]}}]+)""",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
_EMAIL = re.compile(r"[\w.+%-]{1,64}(?=@[\w-]{1,63}\.\w)")
_CARD = re.compile(r"(?<![\w.-])[2-6](?:[ -]?[0-9]){12,18}(?![\w-])")


def without_secrets(text: str) -> str:
    """Return a text in which what must not be told is hidden, and cut if it is very long."""
    text = text if len(text) <= MOST else f"{text[:MOST]}…"
    text = _URL.sub(lambda found: f"://{found['user'] or ''}{HIDDEN}@", text)
    text = _SHAPES.sub(HIDDEN, text)
    text = _NAMED.sub(lambda found: found["name"] + HIDDEN, text)
    text = _EMAIL.sub(HIDDEN, text)
    return _CARD.sub(_hidden_if_card, text)


def _hidden_if_card(found: re.Match[str]) -> str:
    """Hide digits whose last one proves the others, as on cards (ISO/IEC 7812)."""
    digits = [int(char) for char in found[0] if char.isdigit()]
    doubled = [sum(divmod(digit * 2, 10)) for digit in digits[-2::-2]]
    return HIDDEN if (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0 else found[0]


def discreet(struct: msgspec.Struct) -> str:
    """Show a struct without what is secret by its name. It is the `__repr__` of those that hold such."""
    values = [
        f"{name}={HIDDEN if is_secret_name(name) else repr(getattr(struct, name))}"
        for name in struct.__struct_fields__
    ]
    return f"{type(struct).__name__}({', '.join(values)})"
