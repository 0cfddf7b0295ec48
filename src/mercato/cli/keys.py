"""`mercato keys`: the keys that sign tokens."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from mercato.cli.common import Refused, existing, key_folder, moment, print_json, print_table, tell
from mercato.cli.options import KEEPING, DataOption, JsonFlag, examples, flag
from mercato.kernel.clock import utc_now

if TYPE_CHECKING:
    from mercato.adapters.identity.keys import KeyFile

keys = App(
    name="keys",
    group=KEEPING,
    help="List, rotate and retire the keys that sign tokens, also while they are used.",
    help_epilogue=examples("keys list", "keys rotate --retire"),
)


@keys.command(name="list", help_epilogue=examples("keys list --json"))
def list_(*, data: DataOption = None, json: JsonFlag = False) -> None:
    """List the keys, newest first, and what each is for."""
    from mercato.adapters.identity.keys import key_files  # noqa: PLC0415  slow to import

    now = utc_now()
    found = [each for each in key_files(key_folder(data)) if each.verifies(now)]
    rows = [_row(each, found, now) for each in found]
    if json:
        print_json(rows)
        return
    columns = ("kid", "state", "made_at", "until")
    words = [
        (str(row["kid"]), str(row["state"]), moment(each.made_at), moment(each.until))
        for each, row in zip(found, rows, strict=True)
    ]
    print_table("Signing keys", columns, words)


@keys.command(help_epilogue=examples("keys rotate", "keys rotate --retire"))
def rotate(
    *,
    retire: Annotated[bool, flag("Retire the older keys: they verify until their tokens expire.")] = False,
    data: DataOption = None,
    json: JsonFlag = False,
) -> None:
    """Add a key. Running processes publish it within seconds, and sign with it ten seconds later."""
    from mercato.adapters.identity.keys import key_files, kid  # noqa: PLC0415  slow to import
    from mercato.adapters.identity.keys import rotate as add_key  # noqa: PLC0415

    folder, now = key_folder(data), utc_now()
    made = add_key(folder, at=now)
    if retire:
        for each in key_files(folder):
            if each.until is None and each.number < made.number:
                _retire(data, kid(each))
    tell({"kid": kid(made)}, f"Key {kid(made)} is published; it signs in ten seconds.", json=json)


@keys.command(name="retire", help_epilogue=examples("keys retire KID", "keys retire KID --at-once"))
def retire_(
    key_id: Annotated[str, Parameter(help="The key's id, as `mercato keys list` shows it.")],
    /,
    *,
    at_once: Annotated[bool, flag("Refuse its tokens from now on: it may have been stolen.")] = False,
    data: DataOption = None,
    json: JsonFlag = False,
) -> None:
    """Let a key sign no more. It verifies until its last token has expired, unless `--at-once`."""
    done = _retire(data, key_id, at_once=at_once)
    if at_once:
        sentence = f"Key {key_id} is gone; running processes refuse its tokens within seconds."
    else:
        sentence = f"Key {key_id} signs no more, and verifies until {done.until:%Y-%m-%d %H:%M:%S} UTC."
    tell({"kid": key_id, "until": None if at_once else done.until}, sentence, json=json)


def _retire(data: str | None, key_id: str, *, at_once: bool = False) -> "KeyFile":
    from mercato.adapters.identity import keys as files  # noqa: PLC0415  slow to import

    found = existing(data)
    try:
        return files.retire(
            key_folder(data),
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
