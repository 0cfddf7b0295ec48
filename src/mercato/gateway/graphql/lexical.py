"""What is refused of a document before it is parsed: at a hundredth of what parsing it costs."""

import re

from mercato.gateway.graphql.answer import refused
from mercato.gateway.graphql.limits import Limits

_token = re.compile(
    r"""(?P<ignored> [\s,\ufeff]+ )
    | (?P<literal> \"""(?: [^"\\]+ | \\\""" | \\ | "(?!"") )*(?:\""")?
                 | "(?: [^"\\\n\r]+ | \\. )*"?
                 | -?[0-9]+(?: \.[0-9]+ )?(?: [eE][+-]?[0-9]+ )? )
    | \#[^\n\r]* | [A-Za-z_][A-Za-z0-9_]* | \.\.\. | .""",
    re.VERBOSE | re.DOTALL,
)
"""What this takes for one token, the parser takes for one or refuses. It never has to go back."""


def check_text(text: str, limits: Limits) -> None:
    """Raise Refused if a document is too long, or has too many tokens or too long literals.

    What is no GraphQL passes: the parser says what is wrong with it.
    """
    # A character is a byte at least, so most texts need not be encoded to know.
    if len(text) > limits.document_bytes or len(text.encode(errors="replace")) > limits.document_bytes:
        raise refused(
            f"The document is longer than {limits.document_bytes} bytes; long values belong into variables.",
            "DOCUMENT_TOO_LARGE",
        )
    tokens = literals = 0
    for found in _token.finditer(text):
        kind = found.lastgroup
        if kind == "ignored":
            continue
        tokens += 1
        if tokens > limits.tokens:
            raise refused(f"The document has more than {limits.tokens} tokens.", "TOO_MANY_TOKENS")
        if kind == "literal":
            literals += found.end() - found.start()
            if literals > limits.literal_chars:
                raise refused(
                    f"The document's literals are longer than {limits.literal_chars} characters together; "
                    "long values belong into variables.",
                    "DOCUMENT_TOO_LARGE",
                )
