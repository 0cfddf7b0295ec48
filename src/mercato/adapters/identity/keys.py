"""The keys of an installation: signing keys as JWK files (RFC 7517), and a secret for hashes.

They live in a folder of their own, readable by its owner alone, and survive a restart. A file
appears whole or not at all, and only once, whoever races or crashes.

Keys rotate: a new one is published first and signs a while later, when every process on the folder has
had the time to read it. One that is retired verifies until no token that it signed can be valid, which its
file's name says: `signing-0001.until-1767268800.jwk.json`.
"""

import asyncio
import fcntl
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mercato.kernel.clock import Clock, from_micros, utc_now

if TYPE_CHECKING:
    from joserfc.jwk import ECKey

log = logging.getLogger(__name__)

ALGORITHM = "ES256"
_CURVE = "P-256"
_KEYS = "signing-*.jwk.json"
_key_name = re.compile(r"signing-([0-9]{4,})(?:\.until-([0-9]{1,12}))?\.jwk\.json").fullmatch
COOL_DOWN = timedelta(seconds=5)
"""How often the folder is read at most, however many odd keys are asked for."""
SETTLING = timedelta(seconds=10)
"""How long a new key is only published. Longer than the cool-down, so that everybody who is shown a token
that it signed may look for it."""
_CLOCKS_APART = timedelta(seconds=60)
"""How much longer a retired key verifies than its tokens are valid: for clocks that differ."""
_HASH_SECRET = "hash.secret"  # noqa: S105  a file's name
_HASH_SECRET_BYTES = 32


class UnusableKeyFile(Exception):
    """A key file holds no key of ours; the message names the file."""


class LastKey(Exception):
    """There would be no key left to sign with; the message says so in a sentence."""


class UnknownKey(Exception):
    """There is no key with that id; the message says so in a sentence."""


@dataclass(frozen=True, slots=True)
class KeyFile:
    """One key's file."""

    path: Path
    number: int
    made_at: datetime
    until: datetime | None
    """When a retired key stops verifying; None for one that is in use."""
    inode: int

    def verifies(self, at: datetime) -> bool:
        """Say whether tokens signed by the key may be valid."""
        return self.until is None or at < self.until

    def is_settled(self, at: datetime) -> bool:
        """Say whether everybody has had the time to read it."""
        return at - self.made_at >= SETTLING


class PublicKeys:
    """The keys that tokens are verified with."""

    def __init__(self, jwks: "Sequence[Mapping[str, Any]]") -> None:
        """Take up JSON Web Keys on our curve, each of which says its `kid`; others are left out.

        Slow the first time: this imports the cryptography.
        """
        from joserfc.errors import JoseError  # noqa: PLC0415  slow to import
        from joserfc.jwk import ECKey  # noqa: PLC0415
        from joserfc.jws import JWSRegistry  # noqa: PLC0415

        self._registry = JWSRegistry(algorithms=[ALGORITHM])
        self._keys: dict[str, ECKey] = {}
        for jwk in jwks:
            try:
                if jwk["crv"] == _CURVE and "d" not in jwk:
                    self._keys[str(jwk["kid"])] = ECKey.import_key(dict(jwk))
            except (JoseError, ValueError, KeyError):
                continue

    @property
    def kids(self) -> frozenset[str]:
        """The ids of the keys."""
        return frozenset(self._keys)

    def verified(self, token: str, kid: str) -> bytes | None:
        """Return the payload that the key `kid` has signed, or None."""
        from joserfc.errors import JoseError  # noqa: PLC0415  slow to import
        from joserfc.jws import deserialize_compact  # noqa: PLC0415

        key = self._keys.get(kid)
        if key is None:
            return None
        try:
            return deserialize_compact(token, key, registry=self._registry).payload
        except (JoseError, ValueError):
            return None


class Keys:
    """The signing keys, read. All of them verify, one signs."""

    def __init__(self, newest_first: "Sequence[ECKey]", *, signer: int = 0) -> None:
        """`signer` is the index of the key that signs.

        Slow the first time: this imports the cryptography.
        """
        from joserfc.jws import JWSRegistry  # noqa: PLC0415  slow to import

        public = [
            key.as_dict(private=False, kid=key.thumbprint(), use="sig", alg=ALGORITHM) for key in newest_first
        ]
        self._registry = JWSRegistry(algorithms=[ALGORITHM])
        self._private = newest_first[signer]
        self._public = PublicKeys(public)
        self._header = {"alg": ALGORITHM, "kid": self._private.thumbprint(), "typ": "JWT"}
        self.jwks: bytes = msgspec.json.encode({"keys": public})
        """The public keys as a JWK Set (RFC 7517, section 5), newest first."""

    @property
    def signs_by(self) -> str:
        """The id of the key that signs."""
        return self._header["kid"]

    def sign(self, payload: bytes) -> str:
        """Return `payload` as a compact JWS (RFC 7515) with a `kid` that is the key's thumbprint."""
        from joserfc.jws import serialize_compact  # noqa: PLC0415  slow to import

        return serialize_compact(dict(self._header), payload, self._private, registry=self._registry)

    def verified(self, token: str, kid: str) -> bytes | None:
        """Return the payload that the key `kid` of ours has signed, or None."""
        return self._public.verified(token, kid)


class KeyRing:
    """The keys in one folder, made when first needed, and read again as they change."""

    def __init__(self, folder: Path, *, clock: Clock = utc_now) -> None:
        self._folder = folder
        self._clock = clock
        self._lock = asyncio.Lock()
        self._keys: Keys | None = None
        self._files: tuple[KeyFile, ...] = ()
        """The files that were read; the one that signs is first."""
        self._looked_at = from_micros(0)
        self._dropped: Callable[[], None] = _nobody

    def on_drop(self, dropped: Callable[[], None]) -> None:
        """Call `dropped` whenever a key has stopped verifying: what it verified is to be forgotten."""
        self._dropped = dropped

    async def keys(self) -> Keys:
        """Return the signing keys as they were at most a cool-down ago. Raises UnusableKeyFile.

        Once there are keys they stay in use, and what is wrong with the folder is logged.

        The first time costs an import of some 100 ms, which a thread takes.
        """
        if self._keys is None or self._is_due():
            async with self._lock:
                if self._keys is None:
                    self._keys = await self._read()
                elif self._is_due():
                    try:
                        self._keys = await self._read()
                    except (OSError, UnusableKeyFile):
                        log.exception("signing keys cannot be read again")
        return self._keys

    async def verified(self, token: str, kid: str) -> bytes | None:
        """Return the payload that the key `kid` has signed, or None. Raises UnusableKeyFile."""
        return (await self.keys()).verified(token, kid)

    def has_keys(self) -> bool:
        """Say whether the folder holds keys, and make none."""
        return any(self._folder.glob(_KEYS))

    async def watch(self) -> None:
        """See to it that keys that are retired are dropped, also while nobody asks for keys."""
        while True:
            await asyncio.sleep(COOL_DOWN.total_seconds())
            if self._keys is not None:
                await self.keys()

    def _is_due(self) -> bool:
        # The distance: a clock that was set back must not stop the reading.
        return abs(self._clock() - self._looked_at) >= COOL_DOWN

    async def _read(self) -> Keys:
        """Read the folder, and the keys if they have changed."""
        now = self._clock()
        files = await asyncio.to_thread(_ready, self._folder, now)
        # Also if it fails: what is wrong in the folder must not be read at every call.
        self._looked_at = now
        if self._keys is not None and files == self._files:
            return self._keys
        keys = await asyncio.to_thread(_load, files)
        gone = {each.inode for each in self._files} - {each.inode for each in files}
        self._files = files
        if gone:
            self._dropped()
        return keys

    def hash_secret(self) -> bytes:
        """Return 32 random bytes, always the same. Raises UnusableKeyFile."""
        path = self._folder / _HASH_SECRET
        if not path.exists():
            _publish(path, lambda: os.urandom(_HASH_SECRET_BYTES))
        secret = path.read_bytes()
        if len(secret) != _HASH_SECRET_BYTES:
            raise UnusableKeyFile(f"{path} does not hold {_HASH_SECRET_BYTES} bytes.")
        return secret


def rotate(folder: Path, *, at: datetime) -> KeyFile:
    """Publish a new key, which signs once it has settled. Two at once make two keys."""
    while True:
        number = _next_number(key_files(folder))
        if _publish(_path(folder, number), _new_key):
            break
    remove_expired(folder, at=at)
    return next(each for each in key_files(folder) if each.number == number)


def retire(
    folder: Path, key_id: str, *, token_life: timedelta, at: datetime, at_once: bool = False
) -> KeyFile:
    """Let a key sign no more, and verify until no token that it signed can be valid; or `at_once` no more.

    Idempotent: a key that is retired keeps its moment, or loses it at once. Raises UnknownKey, and LastKey
    for the only one that is not retired.
    """
    with _alone(folder):
        files = key_files(folder)
        found = next((each for each in files if each.verifies(at) and kid(each) == key_id), None)
        if found is None:
            raise UnknownKey(f"There is no signing key {key_id}; `mercato keys list` names them.")
        if not any(each.until is None for each in files if each != found):
            raise LastKey("This is the only signing key; add another with `mercato keys rotate` first.")
        if found.until is not None and not at_once:
            return found
        # Processes sign with it until they read the folder again, and while its successor settles.
        until = at if at_once else at + token_life + SETTLING + _CLOCKS_APART
        path = _path(folder, found.number, until)
        found.path.rename(path)
        _sync_folder(folder)
    if at_once:
        remove_expired(folder, at=at)
    return replace(found, path=path, until=until)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others from retiring keys meanwhile, so that no two of them retire the last two."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def remove_expired(folder: Path, *, at: datetime) -> None:
    """Delete the files of keys that verify no more."""
    for each in key_files(folder):
        if not each.verifies(at):
            each.path.unlink(missing_ok=True)


def key_files(folder: Path) -> list[KeyFile]:
    """Return the files of keys, newest first."""
    found = []
    for path in folder.glob(_KEYS):
        match = _key_name(path.name)
        if match is None:
            raise UnusableKeyFile(f"{path} is not named as a key file is, such as signing-0001.jwk.json.")
        try:
            stat = path.stat()
        except FileNotFoundError:
            # It was retired or deleted since it was listed.
            continue
        made_at = from_micros(stat.st_mtime_ns // 1000)
        until = None if match[2] is None else from_micros(int(match[2]) * 1_000_000)
        found.append(KeyFile(path, int(match[1]), made_at, until, stat.st_ino))
    return sorted(found, key=lambda each: each.number, reverse=True)


def files_of(folder: Path) -> list[Path]:
    """Return every file that an installation's keys are made of, by name: the secret for hashes too."""
    secret = folder / _HASH_SECRET
    return sorted([each.path for each in key_files(folder)] + ([secret] if secret.exists() else []))


def is_key_name(name: str) -> bool:
    """Say whether a file of an installation's keys may have that name."""
    return name == _HASH_SECRET or _key_name(name) is not None


def signer(files: Iterable[KeyFile], at: datetime) -> KeyFile:
    """Return which of the files, newest first, signs: the newest that has settled and is not retired.

    Until there is one, it is one that everybody knows, if only the oldest.
    """
    usable = [each for each in files if each.verifies(at)]
    settled = [each for each in usable if each.is_settled(at)]
    lasting = [each for each in settled if each.until is None]
    return (lasting or settled or [each for each in usable[::-1] if each.until is None] or usable)[0]


def kid(file: KeyFile) -> str:
    """Return a key's id: its thumbprint (RFC 7638). Raises UnusableKeyFile."""
    return _read_key(file.path).thumbprint()


def _ready(folder: Path, at: datetime) -> tuple[KeyFile, ...]:
    """Return the files of the keys that verify, the one that signs first; make a key if there is none."""
    while True:
        found = key_files(folder)
        files = [each for each in found if each.verifies(at)]
        if files:
            break
        _publish(_path(folder, _next_number(found)), _new_key)
    first = signer(files, at)
    return (first, *(each for each in files if each != first))


def load_keys(files: Sequence[KeyFile], at: datetime) -> Keys:
    """Return the keys of files, newest first, as they are at a moment. Raises UnusableKeyFile."""
    first = signer(files, at)
    return _load((first, *(each for each in files if each != first)))


def _load(files: Sequence[KeyFile]) -> Keys:
    newest_first = sorted(files, key=lambda each: each.number, reverse=True)
    return Keys([_read_key(each.path) for each in newest_first], signer=newest_first.index(files[0]))


def _next_number(files: Iterable[KeyFile]) -> int:
    return max((each.number for each in files), default=0) + 1


def _path(folder: Path, number: int, until: datetime | None = None) -> Path:
    retired = "" if until is None else f".until-{int(until.timestamp())}"
    return folder / f"signing-{number:04}{retired}.jwk.json"


def _nobody() -> None:
    """Nobody listens."""


def _new_key() -> bytes:
    from joserfc.jwk import ECKey  # noqa: PLC0415  slow to import

    return msgspec.json.encode(ECKey.generate_key(_CURVE).as_dict(private=True))


def _read_key(path: Path) -> "ECKey":
    from joserfc.errors import JoseError  # noqa: PLC0415  slow to import
    from joserfc.jwk import ECKey  # noqa: PLC0415

    try:
        key = ECKey.import_key(msgspec.json.decode(path.read_bytes(), type=dict[str, str | list[str]]))
    except (msgspec.MsgspecError, JoseError, ValueError, KeyError) as error:
        raise UnusableKeyFile(f"{path} is no JSON Web Key.") from error
    if not key.is_private or key.curve_name != _CURVE:
        raise UnusableKeyFile(f"{path} is no private key on {_CURVE}.")
    return key


def _publish(path: Path, make: Callable[[], bytes]) -> bool:
    """Make `path` with new content, durably, unless somebody else was faster; say whether it did."""
    folder = path.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Only its owner may read a file that mkstemp makes.
    descriptor, draft = tempfile.mkstemp(prefix=".draft-", dir=folder)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123  it is open already
            file.write(make())
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, never replaces what is there.
        Path(path).hardlink_to(draft)
        _sync_folder(folder)
    except FileExistsError:
        return False
    else:
        return True
    finally:
        Path(draft).unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
