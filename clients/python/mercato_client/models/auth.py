# Made by `make client` from the OpenAPI document; edits are lost.
"""What auth send and answer."""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType


class AskToken(msgspec.Struct, frozen=True, kw_only=True):
    """A machine's login. `scope` asks for some of its scopes, separated by spaces."""

    client_id: str
    client_secret: str
    grant_type: Literal["client_credentials"] | UnsetType = UNSET
    scope: str | UnsetType | None = UNSET


class MachineTokenView(msgspec.Struct, frozen=True, kw_only=True):
    """A machine's access token, as RFC 6749 (section 5.1) names its parts; `token` is the same."""

    access_token: str
    token: str
    token_type: Literal["Bearer"]
    expires_in: int
    scope: str
