"""A clock that tests set."""

from datetime import UTC, datetime, timedelta


class FakeClock:
    """A Clock that stands still until it is moved."""

    def __init__(self, at: datetime = datetime(2026, 1, 1, 12, tzinfo=UTC)) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def forward(self, **span: float) -> datetime:
        """Move on by `timedelta(**span)` and return the new moment."""
        self.at += timedelta(**span)
        return self.at
