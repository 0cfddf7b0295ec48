"""Text that people write and others read: in lists, in the subjects of emails, on parcels."""

LINE_PATTERN = r"^(?=.*\S)[^\x00-\x1f\x7f\x85\u2028\u2029]+\Z"
"""One line, not blank. A second line would forge a header where the text becomes part of one."""

BLANK_OR_LINE_PATTERN = rf"^\Z|{LINE_PATTERN}"
"""One line, or nothing, as a form sends what was not filled in."""

TEXT_PATTERN = r"\S"
"""Any lines, not all of them blank."""


def full_name(first_name: str, last_name: str) -> str:
    """Return both names of somebody, or the one there is."""
    return f"{first_name} {last_name}".rstrip()
