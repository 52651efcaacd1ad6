"""Who is at the other end of a request: its address, also where a proxy that is trusted passes requests on. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(written: Sequence[str]) -> tuple[Network, ...]:
    """Addresses and networks as they stand in treewalk.yaml, which has checked them."""
    return tuple(ipaddress.ip_network(one, strict=False) for one in written)


def sender(peer: str, passed_on: Sequence[str], proxies: Sequence[Network]) -> str:
    """The address of a client: the peer's own, or, where that is a trusted proxy, what `X-Forwarded-For` says.

    Each proxy appends the address that it saw, so the header (its lines in `passed_on`) is read from the end, as far as
    trusted proxies have written it: what stands before that may be anybody's invention. Something unreadable ends it.
    """
    found = peer
    hops = [hop.strip() for line in passed_on for hop in line.split(",")]
    while _is_one_of(found, proxies) and hops:
        hop = _address(hops.pop())
        if hop is None:
            break
        found = str(hop)
    return found


def _is_one_of(text: str, proxies: Sequence[Network]) -> bool:
    address = _address(text) if proxies else None
    return address is not None and any(address.version == one.version and address in one for one in proxies)


def _address(text: str) -> Address | None:
    """An address, with or without a port; one of IPv4 that is written as one of IPv6 is the same."""
    plain = text.strip('"')
    if plain.startswith("["):
        plain = plain[1:].partition("]")[0]
    elif plain.count(":") == 1:
        plain = plain.partition(":")[0]
    try:
        found = ipaddress.ip_address(plain)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found
