"""Versions: a writer may say which version of an object its change is meant for."""

from dataclasses import dataclass

from mercato.kernel.errors import Kind, MercatoError


class VersionMismatch(MercatoError):
    """The object is no longer as the writer saw it; nothing was changed."""

    kind = Kind.STALE
    code = "VERSION_MISMATCH"


@dataclass(frozen=True, slots=True)
class Expected:
    """The versions a write may meet. Checked in the step that writes, so nothing comes between."""

    versions: frozenset[int] | None = None
    """None lets it meet any."""

    def check(self, version: int) -> None:
        """Raise VersionMismatch unless the object, as it is now, may be written."""
        if self.versions is not None and version not in self.versions:
            raise VersionMismatch(f"It has been changed: its version is {version} now.")


ANY_VERSION = Expected()
