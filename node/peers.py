"""Who may connect, and how often at a time: counted from the first byte of a connection, before anything is read."""

import ipaddress
import threading
from collections import Counter
from collections.abc import Sequence

SPARE = 8
"""Connections beyond the associations: whoever has one is told that the node is busy, instead of nothing."""


def plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address, whether it came as IPv4, or as IPv4 within IPv6."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed


class Gate:
    """`places`: associations at a time. One address may hold three quarters of them, so that none locks out others."""

    def __init__(self, allowed: Sequence[str], places: int) -> None:
        self._networks = [_plain_network(text) for text in allowed]
        self._places, self._spare = _Places(places), _Places(SPARE)

    @property
    def open(self) -> int:
        return self._places.taken + self._spare.taken

    def enter(self, address: str) -> str | None:
        """Take a place for a connection; the reason if there is none for it: `address` or `places`."""
        peer = plain(address)
        if self._networks and not any(peer in network for network in self._networks):
            return "address"
        return None if self._places.take(str(peer)) else "places"

    def leave(self, address: str) -> None:
        self._places.give_back(str(plain(address)))

    def enter_spare(self, address: str) -> bool:
        """Take a place in which a connection is only told that there is none for it; False if those are taken, too."""
        return self._spare.take(str(plain(address)))

    def leave_spare(self, address: str) -> None:
        self._spare.give_back(str(plain(address)))


class _Places:
    def __init__(self, number: int) -> None:
        self._number, self._for_one = number, max(1, number * 3 // 4)
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        with self._lock:
            return self._taken.total()

    def take(self, peer: str) -> bool:
        with self._lock:
            if self._taken[peer] >= self._for_one or self._taken.total() >= self._number:
                return False
            self._taken[peer] += 1
        return True

    def give_back(self, peer: str) -> None:
        with self._lock:
            self._taken[peer] -= 1
            if self._taken[peer] <= 0:
                del self._taken[peer]


def _plain_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    network = ipaddress.ip_network(text)
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.ip_network(f"{mapped}/{network.prefixlen - 96}")
    return network
