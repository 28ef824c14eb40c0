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
        self._places, self._for_one = places, max(1, places * 3 // 4)
        self._lock = threading.Lock()
        self._open: Counter[str] = Counter()

    @property
    def open(self) -> int:
        return self._open.total()

    def enter(self, address: str) -> str | None:
        """Take a place for a connection; the reason if there is none for it: `address` or `places`."""
        peer = plain(address)
        if self._networks and not any(peer in network for network in self._networks):
            return "address"
        with self._lock:
            if self._open[str(peer)] >= self._for_one or self._open.total() >= self._places + SPARE:
                return "places"
            self._open[str(peer)] += 1
        return None

    def leave(self, address: str) -> None:
        peer = str(plain(address))
        with self._lock:
            self._open[peer] -= 1
            if self._open[peer] <= 0:
                del self._open[peer]


def _plain_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    network = ipaddress.ip_network(text)
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.ip_network(f"{mapped}/{network.prefixlen - 96}")
    return network
