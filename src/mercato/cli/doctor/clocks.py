"""How far this machine's clock is from others'."""

from mercato.cli.doctor.findings import Finding, ok, problem, warning

_APART_S = 1.0
"""Logs, and what is on machines' disks, can be put in order as long as it is less."""
_FAR_APART_S = 10.0
_THEN = "set the machines' clocks, for example by NTP"


def compared(check: str, whose: str, apart_s: float, *, exact_s: float = 0.0) -> Finding:
    """Tell how far it is from somebody's, which is known to within `exact_s`."""
    apart = abs(apart_s)
    told = f"{apart:.1f} s from {whose}"
    if apart > _FAR_APART_S + exact_s:
        return problem(check, told, _THEN)
    return warning(check, told, _THEN) if apart > _APART_S + exact_s else ok(check, told)
