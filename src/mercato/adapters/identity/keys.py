"""The keys of an installation: signing keys as JWK files (RFC 7517), and a secret for hashes.

They live in a folder of their own, readable by its owner alone, and survive a restart. A file
appears whole or not at all, and only once, whoever races or crashes.
"""

import asyncio
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from joserfc.jwk import ECKey

ALGORITHM = "ES256"
_CURVE = "P-256"
_FIRST_KEY = "signing-0001.jwk.json"
_KEYS = "signing-*.jwk.json"
_HASH_SECRET = "hash.secret"  # noqa: S105  a file's name
_HASH_SECRET_BYTES = 32


class UnusableKeyFile(Exception):
    """A key file holds no key of ours; the message names the file."""


class Keys:
    """The signing keys, read. All of them verify, the newest signs."""

    def __init__(self, newest_first: "Sequence[ECKey]") -> None:
        """Slow the first time: this imports the cryptography."""
        from joserfc.jwk import ECKey  # noqa: PLC0415  slow to import
        from joserfc.jws import JWSRegistry  # noqa: PLC0415

        public = [
            key.as_dict(private=False, kid=key.thumbprint(), use="sig", alg=ALGORITHM) for key in newest_first
        ]
        self._registry = JWSRegistry(algorithms=[ALGORITHM])
        self._private = newest_first[0]
        self._public = {
            key.thumbprint(): ECKey.import_key(jwk) for key, jwk in zip(newest_first, public, strict=True)
        }
        self._header = {"alg": ALGORITHM, "kid": self._private.thumbprint(), "typ": "JWT"}
        self.jwks: bytes = msgspec.json.encode({"keys": public})
        """The public keys as a JWK Set (RFC 7517, section 5), newest first."""

    def sign(self, payload: bytes) -> str:
        """Return `payload` as a compact JWS (RFC 7515) with a `kid` that is the key's thumbprint."""
        from joserfc.jws import serialize_compact  # noqa: PLC0415  slow to import

        return serialize_compact(dict(self._header), payload, self._private, registry=self._registry)

    def verified(self, token: str, kid: str) -> bytes | None:
        """Return the payload that the key `kid` of ours has signed, or None."""
        from joserfc.errors import JoseError  # noqa: PLC0415  slow to import
        from joserfc.jws import deserialize_compact  # noqa: PLC0415

        key = self._public.get(kid)
        if key is None:
            return None
        try:
            return deserialize_compact(token, key, registry=self._registry).payload
        except (JoseError, ValueError):
            return None


class KeyRing:
    """The keys in one folder, made when first needed and read once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = asyncio.Lock()
        self._keys: Keys | None = None

    async def keys(self) -> Keys:
        """Return the signing keys. Raises UnusableKeyFile.

        The first time costs an import of some 100 ms, which a thread takes.
        """
        if self._keys is None:
            async with self._lock:
                if self._keys is None:
                    self._keys = await asyncio.to_thread(_load, self._folder)
        return self._keys

    def hash_secret(self) -> bytes:
        """Return 32 random bytes, always the same. Raises UnusableKeyFile."""
        path = self._folder / _HASH_SECRET
        if not path.exists():
            _publish(path, lambda: os.urandom(_HASH_SECRET_BYTES))
        secret = path.read_bytes()
        if len(secret) != _HASH_SECRET_BYTES:
            raise UnusableKeyFile(f"{path} does not hold {_HASH_SECRET_BYTES} bytes.")
        return secret


def _load(folder: Path) -> Keys:
    if not list(folder.glob(_KEYS)):
        _publish(folder / _FIRST_KEY, _new_key)
    return Keys([_read_key(path) for path in sorted(folder.glob(_KEYS), reverse=True)])


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


def _publish(path: Path, make: Callable[[], bytes]) -> None:
    """Make `path` with new content, durably, unless somebody else was faster."""
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
        return
    finally:
        Path(draft).unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
