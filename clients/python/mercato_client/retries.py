"""When a call is tried again, and after how long."""

import random
from dataclasses import dataclass

from mercato_client.errors import ApiError, MercatoError, Unreachable

_KEY_IN_USE = "IDEMPOTENCY_KEY_IN_USE"


@dataclass(frozen=True, slots=True)
class Retries:
    """How often, and how patiently. Pauses double from `first_s` to `longest_s`, half of them random."""

    attempts: int = 8
    """All of them, the first included; 1 never tries again."""
    first_s: float = 0.1
    longest_s: float = 2.0
    patience_s: float = 30.0
    """A Retry-After longer than this is left to the caller."""

    def pause(self, attempt: int, error: MercatoError, *, repeatable: bool) -> float | None:
        """Return the seconds until the next attempt; None if there should be none.

        What was refused before any work (429), or never sent, may always be repeated; the rest only
        if the call is `repeatable`.
        """
        if attempt >= self.attempts or not _may_repeat(error, repeatable=repeatable):
            return None
        wanted = error.retry_after if isinstance(error, ApiError) else None
        if wanted is not None and wanted > self.patience_s:
            return None
        pause = min(self.first_s * float(1 << (attempt - 1)), self.longest_s)
        return max(pause / 2, wanted or 0.0) + random.uniform(0, pause / 2)  # noqa: S311  it guards nothing


def _may_repeat(error: MercatoError, *, repeatable: bool) -> bool:
    if isinstance(error, Unreachable):
        return repeatable or not error.sent
    if isinstance(error, ApiError):
        # The attempt before this one may still be in progress.
        passing = error.status == 503 or error.code == _KEY_IN_USE
        return error.status == 429 or (repeatable and passing)
    return False
