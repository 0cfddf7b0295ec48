"""The options that commands share."""

from typing import Annotated

from cyclopts import Parameter

DataOption = Annotated[str | None, Parameter(help="Data folder (MERCATO_DATA, mercato-data).")]
JsonFlag = Annotated[bool, Parameter(negative=(), help="Print JSON.")]
