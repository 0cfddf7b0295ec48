"""The keys of an installation."""

import asyncio
import json
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from joserfc.jwk import ECKey

from mercato.adapters.identity.keys import KeyRing, UnusableKeyFile
from mercato.adapters.identity.tokens import TokenIssuer, TokenTerms, TokenVerifier
from mercato.kernel.clock import utc_now
from mercato.kernel.ids import UserId, uuid7
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import DEFAULT_TENANT

TERMS = TokenTerms("https://shop.example", "mercato", timedelta(minutes=15))
ADA = Principal(UserId(uuid7()), "ada@example.com", Role.CUSTOMER, DEFAULT_TENANT)


def list_files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


async def test_tokens_survive_a_restart(tmp_path: Path) -> None:
    token = await TokenIssuer(KeyRing(tmp_path), TERMS).issue(ADA, token_id=uuid7(), at=utc_now())
    restarted = TokenVerifier(KeyRing(tmp_path), TERMS, clock=utc_now)
    assert await restarted.authenticate(token) == ADA


async def test_only_the_owner_may_read_the_keys(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "keys"
    ring = KeyRing(folder)
    ring.hash_secret()
    await ring.keys()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == ["hash.secret", "signing-0001.jwk.json"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


async def test_twenty_at_once_make_one_key(tmp_path: Path) -> None:
    rings = [KeyRing(tmp_path / "keys") for _ in range(20)]
    loaded = await asyncio.gather(*(ring.keys() for ring in rings))
    assert len({each.jwks for each in loaded}) == 1
    secrets = await asyncio.gather(*(asyncio.to_thread(ring.hash_secret) for ring in rings))
    assert len(set(secrets)) == 1
    assert len(list((tmp_path / "keys").iterdir())) == 2


async def test_a_crash_while_a_key_is_written_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full_disk)
        with pytest.raises(OSError, match="No space"):
            await KeyRing(tmp_path).keys()
        with pytest.raises(OSError, match="No space"):
            KeyRing(tmp_path).hash_secret()
    assert not list_files(tmp_path)
    (tmp_path / ".draft-left-by-a-kill").write_bytes(b"{")
    assert json.loads((await KeyRing(tmp_path).keys()).jwks)["keys"]
    assert len(KeyRing(tmp_path).hash_secret()) == 32


async def test_the_newest_key_signs_and_all_verify(tmp_path: Path) -> None:
    old = await TokenIssuer(KeyRing(tmp_path), TERMS).issue(ADA, token_id=uuid7(), at=utc_now())
    newer = ECKey.generate_key("P-256")
    (tmp_path / "signing-0002.jwk.json").write_text(json.dumps(newer.as_dict(private=True)))
    ring = KeyRing(tmp_path)
    new = await TokenIssuer(ring, TERMS).issue(ADA, token_id=uuid7(), at=utc_now())
    verifier = TokenVerifier(ring, TERMS, clock=utc_now)
    assert await verifier.authenticate(old) == await verifier.authenticate(new) == ADA
    published = json.loads((await ring.keys()).jwks)["keys"]
    first, _ = published
    assert first["kid"] == newer.thumbprint()


async def test_the_key_set_tells_no_private_part(tmp_path: Path) -> None:
    (key,) = json.loads((await KeyRing(tmp_path).keys()).jwks)["keys"]
    assert key.keys() == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert key["kid"] == ECKey.import_key(key).thumbprint()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"kty":"oct","k":"AAAA"}',
        json.dumps(ECKey.generate_key("P-384").as_dict(private=True)).encode(),
        json.dumps(ECKey.generate_key("P-256").as_dict(private=False)).encode(),
        json.dumps(ECKey.generate_key("P-256").as_dict(private=True) | {"x": "AAAA"}).encode(),
    ],
)
async def test_a_damaged_key_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "signing-0001.jwk.json").write_bytes(content)
    with pytest.raises(UnusableKeyFile, match=r"signing-0001\.jwk\.json"):
        await KeyRing(tmp_path).keys()


def test_a_short_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hash.secret").write_bytes(b"short")
    with pytest.raises(UnusableKeyFile, match=r"hash\.secret"):
        KeyRing(tmp_path).hash_secret()


def test_nothing_slow_is_imported_before_the_first_sign_in() -> None:
    slow = "{'joserfc', 'cryptography', 'argon2', 'sqlalchemy', 'alembic'}"
    code = f"import sys, mercato.users.wiring; sys.exit(str({slow} & set(sys.modules) or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert done.stderr.strip() == ""
