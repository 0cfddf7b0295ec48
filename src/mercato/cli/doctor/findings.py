"""What a check finds."""

import enum

import msgspec


class State(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(msgspec.Struct, frozen=True):
    """What was looked at, how it is, and the one thing to do next."""

    check: str
    state: State
    told: str
    next: str | None = None


def ok(check: str, told: str, then: str | None = None) -> Finding:
    """Find that something is as it should be."""
    return Finding(check, State.OK, told, then)


def warning(check: str, told: str, then: str) -> Finding:
    """Find what works, but should be seen to."""
    return Finding(check, State.WARNING, told, then)


def problem(check: str, told: str, then: str) -> Finding:
    """Find what is broken."""
    return Finding(check, State.PROBLEM, told, then)
