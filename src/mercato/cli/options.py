"""The options and words that commands share."""

from collections.abc import Iterable
from typing import Annotated

from cyclopts import Group, Parameter

from mercato.cli.common import Refused

RUNNING = Group("Run", sort_key=1)
KEEPING = Group("Data, stores and keys", sort_key=2)
LOOKING = Group("Look after it", sort_key=3)
KNOWING = Group("Know it", sort_key=4)

DataOption = Annotated[str | None, Parameter(help="Data folder (MERCATO_DATA, mercato-data).")]
HostOption = Annotated[str | None, Parameter(help="Address to listen on (MERCATO_HOST, 127.0.0.1).")]
PortOption = Annotated[int | None, Parameter(help="Port to listen on (MERCATO_PORT, 8080).")]
TenantArgument = Annotated[str, Parameter(help="The store's id.")]


def flag(text: str, name: str | None = None) -> Parameter:
    """Return an option that is given or not."""
    return Parameter(name=name, negative=(), show_default=False, help=text)


JsonFlag = Annotated[bool, flag("Print JSON.")]
YesFlag = Annotated[bool, flag("Do not ask.")]


def examples(*lines: str) -> str:
    """Return examples as they stand below a command's help."""
    return "\n".join(["Examples:", *(f"  mercato {line}" for line in lines)])


def chosen(service: str | None, there: Iterable[str]) -> list[str]:
    """Return the services that a command is for: the one that is named, or all. Raises Refused."""
    names = list(there)
    if service is None:
        return names
    if service not in names:
        raise Refused(f"There is no service {service}; there are {', '.join(names)}.")
    return [service]
