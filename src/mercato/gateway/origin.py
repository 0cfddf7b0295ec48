"""Where a request comes from: of what headers tell of it, only trusted proxies are believed."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from mercato.web.http import Request

_FOR, _PROTO, _HOST = "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"
_MOST_HOPS = 32

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Origin:
    """The client, and the way to the gateway."""

    client: str
    secure: bool
    host: str
    path: str
    """The addresses that the request came through, the client's first, as X-Forwarded-For tells them."""


class Proxies:
    """The proxies that are trusted to tell the truth about their clients."""

    def __init__(self, trusted: str) -> None:
        """`trusted` names addresses and networks, separated by commas. Raises ValueError."""
        self._networks = [ipaddress.ip_network(each.strip()) for each in trusted.split(",") if each.strip()]

    def origin(self, request: Request) -> Origin:
        """Return where a request comes from."""
        peer, headers = _bare(request.client), request.headers
        host = headers.get("host", "")
        if not self._trusts(peer):
            return Origin(peer, request.secure, host, peer)
        hops = self._hops(headers)
        # Whatever stands before the first address that no proxy of ours has written is the client's own tale.
        client, rest = peer, [peer]
        for hop in reversed(hops):
            client = hop
            rest.insert(0, hop)
            if not self._trusts(hop):
                break
        secure = headers.get(_PROTO, "https" if request.secure else "http").strip().lower() == "https"
        return Origin(client, secure, headers.get(_HOST, host), ", ".join(rest))

    def _hops(self, headers: Mapping[str, str]) -> list[str]:
        """Return the addresses that the header names; those before one that cannot be read do not count."""
        hops: list[str] = []
        for each in reversed(headers.get(_FOR, "").split(",")[-_MOST_HOPS:]):
            hop = _bare(each.strip())
            if _read(hop) is None:
                break
            hops.insert(0, hop)
        return hops

    def _trusts(self, text: str) -> bool:
        address = _read(text)
        return address is not None and any(address in network for network in self._networks)


def _bare(text: str) -> str:
    """Return an address without brackets, and without the prefix of an IPv4 address in an IPv6 one."""
    return text.strip("[]").removeprefix("::ffff:")


def _read(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
