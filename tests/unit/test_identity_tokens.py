"""Tokens, and what attackers make of them."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import ECKey

from mercato.adapters.identity import tokens
from mercato.adapters.identity.keys import KeyRing
from mercato.adapters.identity.tokens import TokenIssuer, TokenTerms, TokenVerifier
from mercato.kernel.errors import Unauthenticated
from mercato.kernel.ids import UserId, uuid7
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import TenantId
from tests.clock import FakeClock

TERMS = TokenTerms("https://shop.example", "mercato", timedelta(minutes=15))
ADA = Principal(UserId(uuid7()), "ada@example.com", Role.ADMIN, TenantId("shop"))


def decoded(segment: str) -> dict[str, Any]:
    value = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    assert isinstance(value, dict)
    return value


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


class Platform:
    """An issuer, a verifier, and the means to sign whatever one likes with the true key."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.folder = folder
        self.ring = KeyRing(folder)
        self.issuer = TokenIssuer(self.ring, TERMS)
        self.verifier = TokenVerifier(self.ring, TERMS, clock=self.clock)

    async def token(self) -> str:
        return await self.issuer.issue(ADA, token_id=uuid7(), at=self.clock())

    def key(self) -> ECKey:
        (path,) = self.folder.glob("signing-*")
        return ECKey.import_key(json.loads(path.read_bytes()))

    async def forged(self, header: dict[str, Any] | None = None, **claims: object) -> str:
        """Return a token signed with the true key, but with other header fields and claims."""
        first, second, _ = (await self.token()).split(".")
        payload = {k: v for k, v in (decoded(second) | claims).items() if v is not None}
        fields = {k: v for k, v in (decoded(first) | (header or {})).items() if v is not None}
        registry = jws.JWSRegistry(strict_check_header=False)
        return jws.serialize_compact(fields, json.dumps(payload), self.key(), registry=registry)

    async def refuses(self, token: str) -> bool:
        try:
            await self.verifier.authenticate(token)
        except Unauthenticated:
            return True
        return False


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return Platform(tmp_path / "keys")


async def test_a_token_stands_for_its_user(platform: Platform) -> None:
    assert await platform.verifier.authenticate(await platform.token()) == ADA


async def test_a_token_carries_the_claims_of_a_cognito_id_token(platform: Platform) -> None:
    claims = decoded((await platform.token()).split(".")[1])
    now = int(platform.clock().timestamp())
    claims.pop("jti")
    assert claims == {
        "iss": "https://shop.example",
        "aud": "mercato",
        "sub": ADA.user_id,
        "iat": now,
        "nbf": now,
        "exp": now + 900,
        "email": "ada@example.com",
        "role": "admin",
        "tenant_id": "shop",
        "token_use": "id",
        "custom:tenantId": "shop",
        "custom:userRole": "TenantAdmin",
        "cognito:username": ADA.user_id,
    }


async def test_a_token_signed_by_hand_like_ours_is_accepted(platform: Platform) -> None:
    """So that the refusals below are for what they say."""
    assert await platform.verifier.authenticate(await platform.forged()) == ADA


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "a" * 9000, "\0", "é.é.é", "null"])
async def test_what_is_no_token_is_refused(platform: Platform, token: str) -> None:
    assert await platform.refuses(token)


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE"])
async def test_an_unsigned_token_is_refused(platform: Platform, alg: str) -> None:
    first, second, signature = (await platform.token()).split(".")
    header = encoded(decoded(first) | {"alg": alg})
    for ending in ("", signature, "A" * 86):
        assert await platform.refuses(f"{header}.{second}.{ending}")


async def test_a_token_signed_with_the_public_key_as_a_secret_is_refused(platform: Platform) -> None:
    first, second, _ = (await platform.token()).split(".")
    public = (await platform.ring.keys()).jwks
    pem = platform.key().as_pem(private=False)
    signed = f"{encoded(decoded(first) | {'alg': 'HS256'})}.{second}"
    for secret in (public, pem):
        mac = hmac.digest(secret, signed.encode(), hashlib.sha256)
        signature = base64.urlsafe_b64encode(mac).decode().rstrip("=")
        assert await platform.refuses(f"{signed}.{signature}")
        assert await platform.refuses(f"{signed}.{signature + signature}")


async def test_a_token_of_another_key_is_refused(platform: Platform, tmp_path: Path) -> None:
    stranger = Platform(tmp_path / "others")
    theirs = await stranger.token()
    assert await platform.refuses(theirs)
    ours = decoded((await platform.token()).split(".")[0])["kid"]
    assert await platform.refuses(await stranger.forged({"kid": ours}))


@pytest.mark.parametrize(
    "header",
    [
        {"kid": "unknown"},
        {"kid": None},
        {"kid": "../../etc/passwd"},
        {"kid": 1},
        {"typ": None},
        {"typ": "at+jwt"},
        {"jku": "https://evil.example/jwks"},
        {"x5u": "https://evil.example/cert"},
        {"jwk": ECKey.generate_key("P-256").as_dict(private=False)},
        {"crit": ["exp"], "exp": 1},
        {"b64": False, "crit": ["b64"]},
        {"cty": "JWT"},
    ],
    ids=lambda header: next(iter(header)),
)
async def test_a_token_with_any_other_header_is_refused(platform: Platform, header: dict[str, Any]) -> None:
    first, second, signature = (await platform.forged()).split(".")
    fields = {k: v for k, v in (decoded(first) | header).items() if v is not None}
    assert await platform.refuses(f"{encoded(fields)}.{second}.{signature}")
    if "crit" not in header and header.get("kid") != 1:
        assert await platform.refuses(await platform.forged(header))


NOW = int(datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "others"},
        {"aud": None},
        {"aud": ["mercato", "others"]},
        {"exp": None},
        {"exp": str(NOW + 900)},
        {"exp": NOW - 31},
        {"exp": -1},
        {"nbf": None},
        {"nbf": NOW + 31},
        {"iat": None},
        {"iat": NOW + 31},
        {"token_use": "access"},
        {"token_use": None},
        {"sub": None},
        {"role": "root"},
        {"role": None},
        {"tenant_id": None},
    ],
    ids=str,
)
async def test_a_token_with_other_claims_is_refused(platform: Platform, claims: dict[str, Any]) -> None:
    assert await platform.refuses(await platform.forged(**claims))


async def test_clocks_may_lie_half_a_minute_apart(platform: Platform) -> None:
    token = await platform.token()
    platform.clock.forward(seconds=-30)
    assert not await platform.refuses(token)
    platform.clock.forward(minutes=15, seconds=59)
    assert not await platform.refuses(token)


@pytest.mark.parametrize("segment", [0, 1, 2])
async def test_a_token_that_was_tampered_with_is_refused(platform: Platform, segment: int) -> None:
    token = await platform.token()
    assert not await platform.refuses(token)
    parts = token.split(".")
    middle = len(parts[segment]) // 2
    for char in "AB":
        changed = list(parts)
        changed[segment] = changed[segment][:middle] + char + changed[segment][middle + 1 :]
        if changed != parts:
            assert await platform.refuses(".".join(changed))
    for spelling in (token + "=", token + "\n", " " + token, token.replace(".", "..", 1), token + ".x"):
        assert await platform.refuses(spelling)


async def test_a_remembered_token_expires(platform: Platform) -> None:
    token = await platform.token()
    assert await platform.verifier.authenticate(token) == ADA
    platform.clock.forward(minutes=15, seconds=30)
    assert await platform.refuses(token)
    assert await platform.refuses(token)


async def test_remembered_tokens_are_bounded(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_REMEMBERED", 3)
    given = [await platform.token() for _ in range(5)]
    for token in given:
        await platform.verifier.authenticate(token)
    assert list(platform.verifier._remembered) == given[2:]
    assert await platform.verifier.authenticate(given[0]) == ADA


async def test_a_refused_token_is_not_remembered(platform: Platform) -> None:
    await platform.refuses(await platform.forged(iss="https://evil.example"))
    assert platform.verifier._remembered == {}
