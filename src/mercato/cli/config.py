"""`mercato config`."""

import os

from mercato.cli.common import print_json, print_table
from mercato.runtime.settings import describe


def show(*, data: str | None, json: bool) -> None:
    """Print every setting."""
    settings = describe(os.environ, data=data)
    if json:
        print_json(settings)
        return
    rows = [
        (
            each.name,
            each.value or "(empty)",
            each.source,
            each.default or "(empty)",
            each.description,
        )
        for each in settings
    ]
    print_table("Settings", ("variable", "value", "from", "default", "what it is"), rows)
