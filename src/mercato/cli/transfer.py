"""`mercato export`: a store's data as lines of JSON, in a file that is there whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mercato.cli.common import Refused, print_json, with_platform
from mercato.cli.progress import progress
from mercato.kernel.tenancy import TenantId

if TYPE_CHECKING:
    from mercato.runtime.embedded import Embedded


def run(tenant: str, *, out: str | None, data: str | None, json: bool) -> None:
    """Write a store's data to a file, and say what was written."""
    from mercato.runtime.export import export  # noqa: PLC0415  commands import what they need

    path = Path(out if out is not None else f"{tenant}.ndjson")

    async def work(platform: "Embedded") -> dict[str, int]:
        with whole(path) as file, progress() as told:
            return await export(platform, TenantId(tenant), file.write, told)

    counted = with_platform(data, work)
    if json:
        print_json({"file": str(path), "tenant_id": tenant, "objects": counted})
        return
    words = ", ".join(f"{count} {kind}" for kind, count in counted.items())
    print(f"{path}: {sum(counted.values())} lines ({words}).")


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """Write a file beside `path` and put it in its place once it is whole and on disk."""
    if path.is_dir():
        raise Refused(f"{path} is a folder; --out names a file.")
    if path.exists() and not path.is_file():
        # Put in its place, a file would take away a device from the whole machine.
        raise Refused(f"{path} is no regular file; --out names a file.")
    # Only its owner may read it: it holds what a store knows of people.
    try:
        descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror}.") from error
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123  it is open already
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        Path(draft).unlink(missing_ok=True)
