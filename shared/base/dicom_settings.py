"""Settings of a source of the kind `dicom`: a port on which images are received, and who may send them."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from shared.base.source_settings import SourceSettings, whole

LOOPBACK = ("127.0.0.1", "::1", "localhost")
AE_TITLE = re.compile(r"(?! )[\x20-\x5b\x5d-\x7e]{1,16}(?<! )")
"""PS3.5 6.2: one to sixteen printable ASCII characters, no backslash; spaces at its ends mean nothing."""
PEER = re.compile(r"(?P<title>[^@]+)@(?P<host>\[[0-9A-Fa-f:.]+\]|[^@:\s]+):(?P<port>[0-9]{1,5})")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
"""Of a source whose name becomes a folder."""


@dataclass(frozen=True)
class Peer:
    """Another application entity, and where it listens."""

    title: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From TITLE@HOST:PORT; raises ValueError."""
        found = PEER.fullmatch(text)
        if not found or not AE_TITLE.fullmatch(found["title"]) or not 0 < int(found["port"]) < 65536:
            raise ValueError(f"{text!r} does not say TITLE@HOST:PORT, as PACS@10.1.2.3:104 does")
        return cls(found["title"], found["host"].strip("[]"), int(found["port"]))


class DicomSettings(SourceSettings):
    """A source of the kind `dicom`; `path` is HOME/received/NAME unless it is given."""

    kind: Literal["dicom"]
    path: Path = Path()
    host: str = "127.0.0.1"
    port: int = Field(default=11112, ge=1, le=65535)
    ae_title: str = "PNEUMOSCREEN"
    allowed_titles: tuple[str, ...] = ()
    allowed_addresses: tuple[str, ...] = ()
    max_associations: int = Field(default=16, ge=1, le=200)
    stow_accounts: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    stat_titles: tuple[str, ...] = ()
    stat_priorities: tuple[str, ...] = ("STAT", "HIGH")
    commitment: tuple[str, ...] = ()
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_clients: Path | None = None
    keep_days: Annotated[float, Field(gt=0, le=36500)] | None = 90.0

    @field_validator("tls_certificate", "tls_key", "tls_clients")
    @classmethod
    def _whole_file(cls, path: Path | None) -> Path | None:
        return whole(path) if path else None

    @field_validator("ae_title")
    @classmethod
    def _is_title(cls, title: str) -> str:
        if not AE_TITLE.fullmatch(title):
            raise ValueError(f"{title!r} is no AE title: one to sixteen ASCII characters, no backslash")
        return title

    @field_validator("allowed_titles", "stat_titles")
    @classmethod
    def _are_titles(cls, titles: tuple[str, ...]) -> tuple[str, ...]:
        for title in titles:
            cls._is_title(title)
        return titles

    @field_validator("stat_priorities")
    @classmethod
    def _are_codes(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(value.strip().upper() for value in values)

    @field_validator("allowed_addresses")
    @classmethod
    def _are_addresses(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for address in addresses:
            try:
                ipaddress.ip_network(address)
            except ValueError as error:
                raise ValueError(
                    f"{address!r} is no address such as 10.1.2.3, and no network such as 10.1.2.0/24"
                ) from error
        return addresses

    @field_validator("commitment")
    @classmethod
    def _are_peers(cls, peers: tuple[str, ...]) -> tuple[str, ...]:
        for peer in peers:
            Peer.parse(peer)
        return peers

    @model_validator(mode="after")
    def _is_guarded(self) -> Self:
        """AE titles are no authentication: beyond this machine, addresses or certificates say who may send."""
        tls = (self.tls_certificate, self.tls_key, self.tls_clients)
        if any(tls) and not all(tls):
            raise ValueError("tls_certificate, tls_key and tls_clients (the authority of the senders) go together")
        if self.host not in LOOPBACK and not self.allowed_addresses and not all(tls):
            raise ValueError(
                f"it would take images from everybody who reaches {self.host}: name the senders in allowed_addresses, "
                "or ask for their certificates with tls_certificate, tls_key and tls_clients"
            )
        return self

    @property
    def has_tls(self) -> bool:
        return self.tls_certificate is not None

    @property
    def commitment_peers(self) -> dict[str, Peer]:
        """Who may ask for storage commitment, by title, and where the answer goes."""
        return {peer.title: peer for peer in map(Peer.parse, self.commitment)}
