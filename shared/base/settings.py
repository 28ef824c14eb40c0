"""Settings: one frozen object, built once by an entry point from the environment and a TOML file."""

import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from shared.base.errors import WrongSettings
from shared.base.home import announcement, find_home
from shared.base.lanes import SOURCE_LANES, Lane

SUBMITTED = "submitted"
"""The root that `screen PATH` copies files into which lie outside every watched folder."""
OWN = ("broker", "candidates", "logs", "models", "run", SUBMITTED, "training", "weights")
"""The folders in a home that are its own: another in it may be watched, as HOME/inbox is, but none of these."""

EngineName = Literal["auto", "tensorflow", "litert"]
"""auto: LiteRT where it is installed, there is no GPU, and the version has a network for it; else TensorFlow."""
MAX_JOBS = 1000
"""No producer may put more jobs into a message (the setting `message_size`)."""
Seconds = Annotated[float, Field(gt=0, le=30 * 24 * 3600)]


def default_processes() -> int:
    """Two, where there are two cores: one of them computes while the other writes its rows and asks for work."""
    return min(2, os.cpu_count() or 1)


def absolute(path: Path) -> Path:
    """With ~ and ~user put in; raises ValueError for what can be no path."""
    if "\0" in str(path):
        raise ValueError("a path holds no zero byte")
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:
        raise ValueError(f"there is no such user's folder: {path}") from error


class Folder(BaseModel):
    """A watched folder; its name stands in every result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    lane: Lane = Lane.ROUTINE
    polling: bool | None = None

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return absolute(path)

    @field_validator("lane")
    @classmethod
    def _is_for_sources(cls, lane: Lane) -> Lane:
        if lane not in SOURCE_LANES:
            raise ValueError(f"the lane must be one of {', '.join(SOURCE_LANES)}")
        return lane


def overlap(home: Path, folders: dict[str, Folder], plain: Callable[[Path], str]) -> str | None:
    """Names a watched folder that is, holds or lies in another or a folder of the home's own; None if there is none.

    `plain` is os.path.normpath for the paths as they are spelled, os.path.realpath for where their links lead.
    """
    taken = {f"the home folder's own {name}": home / name for name in OWN}
    for name, folder in folders.items():
        path = Path(plain(folder.path))
        for other, place in taken.items():
            there = Path(plain(place))
            if path.is_relative_to(there) or there.is_relative_to(path):
                return f"{name} ({folder.path}) overlaps with {other} ({place}): choose folders that lie apart"
        taken[name] = folder.path
    return None


class Settings(BaseSettings):
    """Each setting, with its default; `pneumoscreen.toml.example` says what each means to a person."""

    model_config = SettingsConfigDict(env_prefix="PNEUMOSCREEN_", frozen=True, extra="forbid")

    home: Path
    database_url: str | None = None
    broker_url: SecretStr | None = None
    patient_secret: SecretStr | None = Field(default=None, min_length=16)
    signing_key: SecretStr | None = Field(default=None, min_length=16)
    folders: dict[str, Folder] = {}
    settle: float = Field(default=2.0, ge=0, le=3600)
    sweep_every: Seconds = 30.0
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
    lease: Seconds = 60.0
    resend_after: Seconds = 120.0
    recover_every: Seconds = 5.0
    training_data: Path | None = None
    architecture: str = "screen"
    mixed_precision: bool = False
    retrain_every: Seconds = 7 * 24 * 3600.0
    retrain_after_labels: int = Field(default=200, ge=20)
    min_free_disk: int = Field(default=1_000_000_000, ge=0)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"
    metrics_host: str = "127.0.0.1"
    producer_metrics_port: int = Field(default=0, ge=0, le=65535)
    worker_metrics_port: int = Field(default=0, ge=0, le=65535)
    flower_host: str = "127.0.0.1"
    flower_password: SecretStr | None = Field(default=None, min_length=8)

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return absolute(home)

    @field_validator("training_data")
    @classmethod
    def _absolute_data(cls, data: Path | None) -> Path | None:
        return absolute(data) if data else None

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

    @field_validator("folders")
    @classmethod
    def _apart(cls, folders: dict[str, Folder], info: ValidationInfo) -> dict[str, Folder]:
        """As they are spelled: a share that hangs must not hold up a command that does not look into it."""
        if SUBMITTED in folders:
            raise ValueError(f"the name '{SUBMITTED}' is reserved for files given to `pneumoscreen screen`")
        if "home" in info.data and (wrong := overlap(info.data["home"], folders, os.path.normpath)):
            raise ValueError(wrong)
        return folders

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.home / 'pneumoscreen.db'}"

    @property
    def models(self) -> Path:
        return self.home / "models"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def roots(self) -> dict[str, Folder]:
        """Every root that holds images: the watched folders, and the one that `screen` copies into."""
        return {**self.folders, SUBMITTED: Folder(path=self.home / SUBMITTED, polling=False)}

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
        files = (home / "pneumoscreen.toml", announcement(home))
        return (
            init_settings,
            env_settings,
            *(TomlConfigSettingsSource(settings_cls, toml_file=file) for file in files),
        )


def load(home: Path | None = None, **overrides: Any) -> Settings:
    """Build the settings for a home folder; raises WrongSettings with a sentence that names the setting."""
    home = home or find_home()
    try:
        home = absolute(home)
    except ValueError as error:
        raise WrongSettings(f"The home folder cannot be found: {error}.") from error
    known = {"PNEUMOSCREEN_" + name.upper() for name in Settings.model_fields}
    if unknown := sorted(name for name in os.environ if name.startswith("PNEUMOSCREEN_") and name not in known):
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


def check_links(found: Settings) -> None:
    """Raises WrongSettings if watched folders overlap by a link: for the programs that look into them anyway."""
    if wrong := overlap(found.home, found.folders, os.path.realpath):
        raise WrongSettings(f"Wrong setting: folders, with their links followed: {wrong}.")


def _no_such(names: list[str]) -> WrongSettings:
    return WrongSettings(f"There is no such setting: {', '.join(names)}: pneumoscreen.toml.example lists them all.")


def _name(error: ErrorDetails) -> str:
    return ".".join(str(part) for part in error["loc"])


def _reason(error: ErrorDetails) -> str:
    if error["type"] == "value_error":  # ours
        return str(error["ctx"]["error"])
    return error["msg"].replace("items after validation", "characters")  # of a secret, which pydantic takes for a list
