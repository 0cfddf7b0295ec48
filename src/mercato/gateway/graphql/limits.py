"""What documents may ask for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a document, or an operation of it, may have. Fragments count wherever they are spread."""

    document_bytes: int = 100 * 1024
    tokens: int = 1_000
    """Comments count, too."""
    literal_chars: int = 16 * 1024
    """Of all strings in the document together; long texts belong into variables."""
    depth: int = 10
    """Fields within fields. What asks about the schema itself has a limit of its own."""
    aliases: int = 30
    root_fields: int = 10
    selections: int = 2_000
    """Fields and fragments of all definitions."""
    input_depth: int = 16
    """Lists and objects within each other, in literals and in variables."""
    cost: int = 5_000
    """The sum of what the fields cost, each as often as its parents may be there."""
    list_size: int = 20
    """How many objects a list is taken to hold where the argument that would say so is not given."""
    validation_errors: int = 10
    cached_chars: int = 128 * 1024
    """Of all documents that are remembered. A character of a dense document takes 160 bytes of memory."""
