"""A model version on disk: an immutable folder of weights and the manifest that describes them."""

import hashlib
import hmac
import math
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from shared.base.errors import BrokenModel
from shared.base.filesystem import replace_file
from shared.imaging import Preprocessing

NAME = "manifest.json"
SIGNATURE = "manifest.sig"
"""HMAC-SHA256 of the manifest's bytes in hexadecimal, under the setting `signing_key`."""
Label = Literal["NORMAL", "PNEUMONIA"]


class Calibration(BaseModel):
    """Platt scaling (Platt, 1999): probability = sigmoid(slope * logit + intercept), fitted on patients held out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["platt"] = "platt"
    slope: float = Field(default=1.0, allow_inf_nan=False)
    intercept: float = Field(default=0.0, allow_inf_nan=False)

    def probability(self, logit: float) -> float:
        """The calibrated probability of PNEUMONIA, 0 to 1, for a network's logit."""
        x = self.slope * logit + self.intercept
        return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


class Familiarity(BaseModel):
    """How pictures are noticed that are not what the version knows: those whose score is above the limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["mahalanobis"] = "mahalanobis"
    source: str
    file: str = Field(description="the parameters, beside the weights and covered by `files`")
    limit: float = Field(gt=0, allow_inf_nan=False)
    flagged: float = Field(ge=0, le=1, description="share flagged of X-rays of the population that nothing was set by")
    caught: dict[str, float] = Field(description="share flagged of each family of other pictures")
    measured: dict[str, Any] = Field(default_factory=dict, description="on how many pictures, and how")


class Lite(BaseModel):
    """The same network in another file, for LiteRT, which is faster on CPUs; compared with TensorFlow's answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str = Field(description="the network, beside the weights and covered by `files`")
    images: int = Field(gt=0, description="X-rays held out on which both were compared")
    largest_difference: float = Field(ge=0, allow_inf_nan=False, description="of a logit, on these")
    trial: tuple[float, ...] = Field(
        min_length=4, max_length=4, description="TensorFlow's logits of `inference.trial_pixels`"
    )


class Manifest(BaseModel):
    """What a version is, how its pixels are made, what it was fitted on and how it did."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    version: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    created_at: datetime
    engine: Literal["keras", "linear"] = Field(
        description="how the weights are kept; the setting `engine` says what runs them"
    )
    architecture: str
    parameters: int = Field(ge=0)
    preprocessing: Preprocessing
    classes: tuple[Label, Label] = ("NORMAL", "PNEUMONIA")
    threshold: float = Field(ge=0, le=1, description="operating threshold on the calibrated probability of PNEUMONIA")
    calibration: Calibration = Calibration()
    familiarity: Familiarity | None = None
    lite: Lite | None = None
    metrics: dict[str, Any]
    population: dict[str, Any]
    data: dict[str, Any]
    libraries: dict[str, str]
    files: dict[str, str] = Field(min_length=1, description="SHA-256 of each file beside the manifest, by name")

    def label(self, probability: float) -> Label:
        return "PNEUMONIA" if is_positive(probability, self.threshold) else "NORMAL"

    def is_outside_population(self, age_years: float | None) -> bool | None:
        """Whether the completed years are none of `population.age_years`, both ends included; None if not known."""
        ages = self.population.get("age_years")
        if age_years is None or ages is None:
            return None
        return not ages["lowest"] <= math.floor(age_years) <= ages["highest"]

    @field_validator("population")
    @classmethod
    def _ages(cls, population: dict[str, Any]) -> dict[str, Any]:
        ages = population.get("age_years", {"lowest": 0, "highest": 0})
        if not (
            isinstance(ages, dict) and all(isinstance(ages.get(end), int | float) for end in ("lowest", "highest"))
        ):
            raise ValueError("age_years must have a lowest and a highest age")
        return population


@overload
def is_positive(probability: float, threshold: float) -> bool: ...
@overload
def is_positive(probability: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]: ...
def is_positive(probability: Any, threshold: float) -> Any:
    """The one place where a calibrated probability, or an array of them, meets the operating threshold."""
    return probability >= threshold


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write(folder: Path, manifest: Manifest) -> str:
    """Write the manifest into a version's folder; returns its SHA-256, which the SQL row will hold."""
    text = manifest.model_dump_json(indent=2) + "\n"
    (folder / NAME).write_text(text, encoding="utf-8")
    return sha256(text.encode())


def sign(folder: Path, key: SecretStr) -> None:
    """Sign the manifest in a version's folder, unless this key signed it already; raises BrokenModel."""
    try:
        text = (folder / NAME).read_bytes()
        if not _is_signed(folder, text, key):
            replace_file(folder / SIGNATURE, f"{_signature(text, key)}\n".encode())
    except OSError as error:
        raise BrokenModel(f"the model version in {folder} cannot be signed: {error}") from error


def _signature(text: bytes, key: SecretStr) -> str:
    return hmac.new(key.get_secret_value().encode(), text, hashlib.sha256).hexdigest()


def _is_signed(folder: Path, text: bytes, key: SecretStr) -> bool:
    try:
        found = (folder / SIGNATURE).read_bytes().strip()
    except FileNotFoundError:
        return False
    return hmac.compare_digest(found, _signature(text, key).encode())


def read(folder: Path, expected_sha256: str | None = None, key: SecretStr | None = None) -> Manifest:
    """Read a version's manifest and check every file beside it, and its signature where a key is set.

    Raises BrokenModel.
    """
    try:
        text = (folder / NAME).read_bytes()
        if expected_sha256 is not None and sha256(text) != expected_sha256:
            raise BrokenModel(f"the manifest in {folder} is not the one that was published: its checksum differs")
        if key is not None and not _is_signed(folder, text, key):
            raise BrokenModel(
                f"the model version {folder.name} is not signed with this system's signing_key: if you know where it "
                f"comes from, sign it with `pneumoscreen models publish {folder}`"
            )
        manifest = Manifest.model_validate_json(text)
        for name, digest in manifest.files.items():
            if Path(name).name != name or "\0" in name:
                raise BrokenModel(f"the manifest in {folder} names a file outside its folder: {name!r}")
            if sha256((folder / name).read_bytes()) != digest:
                raise BrokenModel(f"{folder / name} is damaged: its checksum is not the one in the manifest")
    except OSError as error:
        raise BrokenModel(f"the model version in {folder} cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BrokenModel(f"the manifest in {folder} is malformed: {where}: {first['msg']}") from error
    return manifest
