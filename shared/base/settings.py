"""Settings: one frozen object, built once by an entry point from the environment and a TOML file."""

import ipaddress
import os
import tomllib
from datetime import tzinfo
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from shared.base import service_links
from shared.base.account_names import name_key
from shared.base.destination_settings import DestinationSettings, ResultDestination, check_names
from shared.base.dicom_settings import NAME, DicomSettings
from shared.base.errors import WrongSettings
from shared.base.home import announcement, find_home, resolve
from shared.base.renamed import OLD_VARIABLE, Renaming, SourceNames
from shared.base.source_kinds import SETTINGS, WRONG_KIND, AnySource
from shared.base.source_settings import (
    OWN_SOURCES,
    AuditShare,
    Reading,
    ReadingRule,
    Seconds,
    overlap,
    received,
    whole,
)
from shared.base.weekly_hours import find_zone

EngineName = Literal["auto", "tensorflow", "litert"]
"""auto: LiteRT where it is installed, there is no GPU, and the version has a network for it; else TensorFlow."""
MAX_JOBS = 1000
"""No producer may put more jobs into a message (the setting `message_size`)."""


def default_processes() -> int:
    """Two, where there are two cores: one of them computes while the other writes its rows and asks for work."""
    return min(2, os.cpu_count() or 1)


class Settings(BaseSettings):
    """Each setting, with its default; `pneumoscreen.toml.example` says what each means to a person."""

    model_config = SettingsConfigDict(env_prefix="PNEUMOSCREEN_", frozen=True, extra="forbid")

    home: Path
    database_url: str | None = None
    broker_url: SecretStr | None = None
    patient_secret: SecretStr | None = Field(default=None, min_length=16)
    signing_key: SecretStr | None = Field(default=None, min_length=16)
    sources: dict[str, AnySource] = {}
    destinations: dict[str, DestinationSettings] = {}
    settle: float = Field(default=2.0, ge=0, le=3600)
    sweep_every: Seconds = 30.0
    source_timeout: float = Field(default=20.0, ge=1, le=3600)
    time_zone: str | None = None
    linger: float = Field(default=0.2, ge=0, le=60)
    message_size: int = Field(default=128, ge=1, le=MAX_JOBS)
    messages_ahead: int = Field(default=4, ge=1)
    batch_size: int = Field(default=32, ge=1, le=1024)
    processes: int = Field(default_factory=default_processes, ge=1)
    engine: EngineName = "auto"
    decode_threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    max_pixels: int = Field(default=100_000_000, ge=1)
    max_bytes: int = Field(default=200_000_000, ge=1)
    chest_words: tuple[str, ...] = ()
    frontal_words: tuple[str, ...] = ()
    senior_readers: tuple[str, ...] = ()
    audit_share: AuditShare = AuditShare()
    store_evidence: bool = False
    audit_days: float = Field(default=30.0, gt=0, le=3650)
    reading: Reading = Reading.BLIND
    second_reading_share: float = Field(default=0.05, ge=0, le=1)
    viewer_url: str | None = None
    lease: Seconds = 60.0
    resend_after: Seconds = 120.0
    recover_every: Seconds = 5.0
    training_data: Path | None = None
    architecture: str = "screen"
    mixed_precision: bool = False
    retrain_every: Seconds = 7 * 24 * 3600.0
    retrain_after_labels: int = Field(default=200, ge=20)
    min_free_disk: int = Field(default=1_000_000_000, ge=0)
    backup_every: Annotated[float, Field(ge=60, le=30 * 24 * 3600)] | None = None
    backup_dir: Path | None = None
    backup_keep: int = Field(default=7, ge=1)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"
    metrics_host: str = "127.0.0.1"
    producer_metrics_port: int = Field(default=0, ge=0, le=65535)
    worker_metrics_port: int = Field(default=0, ge=0, le=65535)
    web_metrics_port: int = Field(default=0, ge=0, le=65535)
    node_metrics_port: int = Field(default=0, ge=0, le=65535)
    courier_metrics_port: int = Field(default=0, ge=0, le=65535)
    flower_host: str = "127.0.0.1"
    flower_password: SecretStr | None = Field(default=None, min_length=8)
    web_host: str = "127.0.0.1"
    web_port: int = Field(default=8600, ge=0, le=65535)
    web_url: str | None = None
    web_certificate: Path | None = None
    web_key: Path | None = None
    trusted_proxy: tuple[str, ...] = ()
    proxy_user_header: str | None = Field(default=None, pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")
    admin_database_url: SecretStr | None = None
    stow_database_url: SecretStr | None = None

    @field_validator("trusted_proxy")
    @classmethod
    def _are_networks(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for address in addresses:
            try:
                ipaddress.ip_network(address)
            except ValueError as error:
                raise ValueError(f"{address!r} is no address or network such as 10.0.0.7 or 10.0.0.0/24") from error
        return addresses

    @field_validator("web_url")
    @classmethod
    def _is_web(cls, url: str | None) -> str | None:
        if url is not None and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
            raise ValueError("it is no address that a browser opens, such as https://xray.hospital.example")
        return url and url.rstrip("/")

    @field_validator("training_data", "backup_dir", "web_certificate", "web_key")
    @classmethod
    def _whole_data(cls, data: Path | None) -> Path | None:
        return whole(data) if data else None

    @field_validator("destinations")
    @classmethod
    def _have_names(cls, destinations: dict[str, DestinationSettings]) -> dict[str, DestinationSettings]:
        return check_names(destinations)

    @field_validator("time_zone")
    @classmethod
    def _exists(cls, name: str | None) -> str | None:
        if name is not None:
            find_zone(name)
        return name

    @field_validator("backup_dir")
    @classmethod
    def _outside_sources(cls, folder: Path | None, info: ValidationInfo) -> Path | None:
        if folder is None:
            return None
        for name, source in info.data.get("sources", {}).items():
            if Path(os.path.normpath(folder)).is_relative_to(os.path.normpath(source.path)):
                raise ValueError(f"backups may not lie in a source, as {folder} does in {name} ({source.path})")
        return folder

    @field_validator("viewer_url")
    @classmethod
    def _is_a_link(cls, url: str | None) -> str | None:
        if url is not None and not (url.startswith(("https://", "http://")) and "{accession_number}" in url):
            raise ValueError("it is an http(s) address with {accession_number} in it")
        return url

    @field_validator("broker_url")
    @classmethod
    def _redis(cls, url: SecretStr | None) -> SecretStr | None:
        """Both redis-py and Celery must understand it. Their reasons are not told: they may show the password."""
        if url is None:
            return None
        from redis.connection import parse_url  # here, since most programs that read settings are given no address

        try:
            parse_url(url.get_secret_value())  # type: ignore[no-untyped-call]
            parts = urlsplit(url.get_secret_value())
            database = parts.path.lstrip("/") or "0"
            is_redis = parts.scheme in ("redis", "rediss") and database.isdigit() and not parts.fragment
        except ValueError:
            is_redis = False
        if not is_redis:
            raise ValueError(
                "it is no address of a Redis, such as redis://:password@host:6379/0, or rediss:// for TLS "
                "(in the password, / is written %2F, # %23 and ? %3F)"
            )
        return url

    @field_validator("sources")
    @classmethod
    def _apart(cls, sources: dict[str, AnySource], info: ValidationInfo) -> dict[str, AnySource]:
        """As they are spelled: a share that hangs must not hold up a command that does not look into it."""
        if home := info.data.get("home"):
            sources = {name: _placed(name, source, home) for name, source in sources.items()}
        _check_ports(sources)
        _check_senders(sources)
        if reserved := next((name for name in OWN_SOURCES if name in sources), None):
            raise ValueError(f"the name '{reserved}' is reserved for files given to Pneumoscreen itself")
        if "home" in info.data and (wrong := overlap(info.data["home"], sources, os.path.normpath)):
            raise ValueError(wrong)
        return sources

    def audit_share_of(self, source: str) -> AuditShare:
        own = self.sources.get(source)
        return own.audit_share if own is not None and own.audit_share is not None else self.audit_share

    def reading_rule_of(self, source: str) -> ReadingRule:
        own = self.sources.get(source)
        mode, share = (own.reading, own.second_reading_share) if own is not None else (None, None)
        return ReadingRule(mode or self.reading, self.second_reading_share if share is None else share)

    @property
    def keeps_evidence(self) -> bool:
        """Also where a destination gets captures, since they show the map."""
        return self.store_evidence or any(
            isinstance(each, ResultDestination) and "capture" in each.objects for each in self.destinations.values()
        )

    @property
    def zone(self) -> tzinfo | None:
        """The site's time zone; None is the host's own."""
        return find_zone(self.time_zone) if self.time_zone else None

    @property
    def database(self) -> str:
        file = str(self.home / "pneumoscreen.db").replace("%", "%25").replace("?", "%3F")
        return self.database_url or f"sqlite:///{file}"

    @property
    def models(self) -> Path:
        return self.home / "models"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, the environment over the file, the file over what `up` announced."""
        home = Path(init_settings.init_kwargs["home"])  # type: ignore[attr-defined]
        file, announced = (
            _SettingsFile(settings_cls, toml_file=path) for path in (home / "pneumoscreen.toml", announcement(home))
        )
        names = SourceNames()
        for name in service_links.find(os.environ):  # one of them may be called as a setting is
            env_settings.env_vars.pop(name.lower(), None)  # type: ignore[attr-defined]
        return (
            init_settings,
            Renaming(env_settings, names),
            Renaming(file, names),
            Renaming(announced, SourceNames()),  # it repeats the file's, and an older `up` may have written it
        )


def _placed(name: str, source: AnySource, home: Path) -> AnySource:
    """A source that receives keeps its files in the home unless a folder is named."""
    if not isinstance(source, DicomSettings) or source.path != Path():
        return source
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} names a folder in {home}: use letters, digits, '.', '_' and '-'")
    return source.model_copy(update={"path": received(home, name)})


def _check_ports(sources: dict[str, AnySource]) -> None:
    """Two sources cannot listen on one port of a machine."""
    taken: dict[int, str] = {}
    for name, source in sources.items():
        if isinstance(source, DicomSettings) and (other := taken.setdefault(source.port, name)) != name:
            raise ValueError(f"{other} and {name} both listen on port {source.port}: give one of them another `port`")


def _check_senders(sources: dict[str, AnySource]) -> None:
    """Who sends by STOW-RS says thereby which source it is."""
    taken: dict[str, str] = {}
    for name, source in sources.items():
        for account in source.stow_accounts if isinstance(source, DicomSettings) else ():
            if (other := taken.setdefault(name_key(account), name)) != name:
                raise ValueError(f"{account} sends to {other} and to {name}: an account stands in one stow_accounts")


class _SettingsFile(TomlConfigSettingsSource):
    """Windows' editors begin a file with a mark of its encoding, which TOML does not know."""

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        return tomllib.loads(file_path.read_bytes().decode("utf-8-sig"))


def load(home: Path | None = None, **overrides: Any) -> Settings:
    """Build the settings for a home folder; raises WrongSettings with a sentence that names the setting."""
    home = resolve(home or find_home())
    known = {OLD_VARIABLE, *("PNEUMOSCREEN_" + name.upper() for name in Settings.model_fields)}
    ours = {name for name in os.environ if name.startswith("PNEUMOSCREEN_")}
    if unknown := sorted(ours - known - service_links.find(os.environ)):
        raise _no_such(unknown)
    try:
        return Settings(home=home, **overrides)
    except ValidationError as error:
        if unknown := [_name(each) for each in error.errors() if each["type"] == "extra_forbidden"]:
            raise _no_such(unknown) from error
        raise WrongSettings(
            f"Wrong setting: {'; '.join(f'{_name(each)}: {_reason(each)}' for each in error.errors())}. "
            f"Settings come from PNEUMOSCREEN_… variables and {home}/pneumoscreen.toml."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise WrongSettings(f"The settings file {home}/pneumoscreen.toml cannot be read: {error}") from error
    except RecursionError as error:
        raise WrongSettings(
            f"Wrong setting: brackets within brackets without end, in {home}/pneumoscreen.toml "
            "or a PNEUMOSCREEN_… variable."
        ) from error
    except ValueError as error:
        raise WrongSettings(f"A PNEUMOSCREEN_… variable cannot be read: {error}") from error


def _no_such(names: list[str]) -> WrongSettings:
    return WrongSettings(f"There is no such setting: {', '.join(names)}: pneumoscreen.toml.example lists them all.")


def _name(error: ErrorDetails) -> str:
    """Without the kind of a source, which stands behind its name where there are several kinds."""
    parts = [str(part) for part in error["loc"]]
    if parts[0] == "sources" and len(parts) > 2 and parts[2] in SETTINGS:
        del parts[2]
    return ".".join([*parts, "kind"] if error["type"] == WRONG_KIND else parts)


def _reason(error: ErrorDetails) -> str:
    if error["type"] == "value_error":  # ours
        return str(error["ctx"]["error"])
    return error["msg"].replace("items after validation", "characters")  # of a secret, which pydantic takes for a list
