"""`mercato keys`: the keys that sign tokens."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from mercato.cli.common import Refused, existing, print_json, print_table
from mercato.cli.options import DataOption, JsonFlag
from mercato.kernel.clock import utc_now

if TYPE_CHECKING:
    from mercato.adapters.identity.keys import KeyFile

keys = App(name="keys", help="List, rotate and retire the keys that sign tokens, also while they are used.")


@keys.command(name="list")
def list_(*, data: DataOption = None, json: JsonFlag = False) -> None:
    """List the keys, newest first, and what each is for."""
    from mercato.adapters.identity.keys import key_files  # noqa: PLC0415  slow to import

    now = utc_now()
    found = [each for each in key_files(_folder(data)) if each.verifies(now)]
    rows = [_row(each, found, now) for each in found]
    if json:
        print_json(rows)
        return
    columns = ("kid", "state", "made_at", "until")
    words = [tuple(str(row[column] or "-") for column in columns) for row in rows]
    print_table("Signing keys", columns, words)


@keys.command
def rotate(
    *,
    retire: Annotated[
        bool, Parameter(negative=(), help="Retire the older keys: they verify until their tokens expire.")
    ] = False,
    data: DataOption = None,
    json: JsonFlag = False,
) -> None:
    """Add a key. Running processes publish it within seconds, and sign with it ten seconds later."""
    from mercato.adapters.identity.keys import key_files, kid  # noqa: PLC0415  slow to import
    from mercato.adapters.identity.keys import rotate as add_key  # noqa: PLC0415

    folder, now = _folder(data), utc_now()
    made = add_key(folder, at=now)
    if retire:
        for each in key_files(folder):
            if each.until is None and each.number < made.number:
                _retire(data, kid(each))
    if json:
        print_json({"kid": kid(made)})
        return
    print(f"Key {kid(made)} is published; it signs in ten seconds.")


@keys.command(name="retire")
def retire_(
    key_id: str,
    /,
    *,
    at_once: Annotated[
        bool, Parameter(negative=(), help="Refuse its tokens from now on: it may have been stolen.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Let a key sign no more. It verifies until its last token has expired, unless `--at-once`."""
    done = _retire(data, key_id, at_once=at_once)
    if at_once:
        print(f"Key {key_id} is gone; running processes refuse its tokens within seconds.")
    else:
        print(f"Key {key_id} signs no more, and verifies until {done.until:%Y-%m-%d %H:%M:%S} UTC.")


def _retire(data: str | None, key_id: str, *, at_once: bool = False) -> "KeyFile":
    from mercato.adapters.identity import keys as files  # noqa: PLC0415  slow to import

    found = existing(data)
    try:
        return files.retire(
            _folder(data),
            key_id,
            token_life=timedelta(seconds=found.token_ttl),
            at=utc_now(),
            at_once=at_once,
        )
    except (files.LastKey, files.UnknownKey) as error:
        raise Refused(str(error)) from None


def _row(key: "KeyFile", all_of: "Sequence[KeyFile]", now: datetime) -> dict[str, object]:
    from mercato.adapters.identity.keys import kid, signer  # noqa: PLC0415  slow to import

    state = "verifies"
    if key == signer(all_of, now):
        state = "signs"
    elif key.until is not None:
        state = "retired"
    elif not key.is_settled(now):
        state = "published"
    return {"kid": kid(key), "state": state, "made_at": key.made_at, "until": key.until}


def _folder(data: str | None) -> Path:
    return existing(data).folder / "keys"
