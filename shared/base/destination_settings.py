"""Settings of the destinations: where reports, captures and messages of events go."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from shared.base.source_settings import whole


class Rule(StrEnum):
    """Which results a destination gets. Whoever got a result gets its later editions, too."""

    ALL = "all"
    POSITIVES = "positives"  # said to be PNEUMONIA by the model or by a reader
    URGENT = "urgent"  # positives that arrived in the lane `stat`
    AFTER_READING = "after_reading"  # those on which a reader has given a word


class Event(StrEnum):
    URGENT_POSITIVE = "urgent_positive"
    DISAGREEMENT = "disagreement"  # a reader's word differs from what the model said
    SOURCE_SILENT = "source_silent"
    VERSION_SWAPPED = "version_swapped"
    ACCURACY_BROKEN = "accuracy_broken"  # the recall is below what was promised


AeTitle = Annotated[str, Field(pattern=r"^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$")]
"""1 to 16 characters of ASCII without a backslash, and no space at either end."""
Port = Annotated[int, Field(ge=1, le=65535)]
Certificate = Path | None


class _Destination(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[str, ...] = ()
    timeout: float = Field(default=30.0, ge=1, le=600)

    def wants(self, source: str) -> bool:
        return not self.sources or source in self.sources

    @field_validator("ca", "certificate", "key", check_fields=False)
    @classmethod
    def _whole(cls, path: Path | None) -> Path | None:
        return whole(path) if path else None


class _ResultDestination(_Destination):
    rule: Rule = Rule.ALL
    objects: tuple[Literal["report", "capture"], ...] = ("report",)

    @field_validator("objects")
    @classmethod
    def _are_some(cls, objects: tuple[str, ...]) -> tuple[str, ...]:
        if not objects or len(set(objects)) < len(objects):
            raise ValueError('objects lists "report", "capture" or both, each once')
        return objects


class DicomDestination(_ResultDestination):
    """A PACS that receives by C-STORE. With `tls` its certificate is checked against `ca`, else the system's."""

    kind: Literal["dicom"]
    host: str
    port: Port
    ae_title: AeTitle
    calling_ae_title: AeTitle = "PNEUMOSCREEN"
    tls: bool = False
    ca: Certificate = None
    certificate: Certificate = None
    key: Certificate = None

    @model_validator(mode="after")
    def _fit(self) -> "DicomDestination":
        if (self.ca or self.certificate or self.key) and not self.tls:
            raise ValueError("ca, certificate and key need tls = true")
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key belong together")
        return self


class _WebDestination(_Destination):
    url: str
    ca: Certificate = None

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("the url must begin with http:// or https:// and name a host")
        if parts.username or parts.password:
            raise ValueError("the url may hold no password, which logs would show: use user and password, or token")
        return url.rstrip("/")


class StowDestination(_WebDestination, _ResultDestination):
    """A PACS that receives by DICOMweb; `url` is the one to which /studies belongs."""

    kind: Literal["stow"]
    user: str | None = None
    password: SecretStr | None = None
    token: SecretStr | None = None
    certificate: Certificate = None
    key: Certificate = None

    @model_validator(mode="after")
    def _fit(self) -> "StowDestination":
        if self.token is not None and self.user is not None:
            raise ValueError("either user and password, or token")
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password belong together")
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key belong together")
        return self


class _EventDestination(_Destination):
    events: tuple[Event, ...] = (Event.URGENT_POSITIVE,)
    details: bool = False
    """Also label, probability and threshold, the name of the source and the accession number."""


class WebhookDestination(_WebDestination, _EventDestination):
    kind: Literal["webhook"]
    secret: SecretStr = Field(min_length=16)


class MailDestination(_EventDestination):
    kind: Literal["mail"]
    host: str
    port: Port = 587
    encryption: Literal["starttls", "tls", "none"] = "starttls"
    ca: Certificate = None
    user: str | None = None
    password: SecretStr | None = None
    sender: str
    recipients: Annotated[tuple[str, ...], Field(min_length=1)]

    @field_validator("sender", "recipients")
    @classmethod
    def _are_addresses(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for address in (value,) if isinstance(value, str) else value:
            if "@" not in address or not address.isascii() or any(c in address for c in "\r\n<>, "):
                raise ValueError(f"{address!r} is no address such as radiology@hospital.example")
        return value

    @model_validator(mode="after")
    def _fit(self) -> "MailDestination":
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password belong together")
        if self.user is not None and self.encryption == "none":
            raise ValueError("a password is never sent without encryption")
        return self


ResultDestination = DicomDestination | StowDestination
EventDestination = WebhookDestination | MailDestination
DestinationSettings = Annotated[
    DicomDestination | StowDestination | WebhookDestination | MailDestination, Field(discriminator="kind")
]


def check_names(destinations: dict[str, DestinationSettings]) -> dict[str, DestinationSettings]:
    """Raises ValueError for a name that would be awkward in metrics and on the command line."""
    for name in destinations:
        if not 0 < len(name) <= 64 or not name.isprintable() or set(name) & set(" /"):
            raise ValueError(f"a destination's name has no spaces and no slashes, unlike {name!r}")
    return destinations
