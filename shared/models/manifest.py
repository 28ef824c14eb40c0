"""A model version on disk: an immutable folder of weights and the manifest that describes them."""

import hashlib
import hmac
import math
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from shared.base.errors import BrokenModel
from shared.base.filesystem import replace_file
from shared.imaging import Preprocessing
from shared.statistics.platt import Line

NAME = "manifest.json"
SCHEMA = 2
"""The newest schema that this program reads; it writes this one. What changed: `_from_schema_1`."""
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
        return self.line.probability(logit)

    @property
    def line(self) -> Line:
        return Line(self.slope, self.intercept)


class Novelty(BaseModel):
    """The check for images that are out of distribution: those whose score is above the limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["mahalanobis"] = "mahalanobis"
    source: str
    file: str = Field(description="the parameters, beside the weights and covered by `files`")
    limit: float = Field(gt=0, allow_inf_nan=False)
    flagged: float = Field(ge=0, le=1, description="share flagged of X-rays of patients held out from the fit")
    caught: dict[str, float] | None = Field(
        default=None, description="share flagged of each family of other images; None where that was not measured"
    )
    measured: dict[str, Any] = Field(default_factory=dict, description="on how many images, and how")


class Export(BaseModel):
    """One file of the network, for one engine.

    An export converted from the fitted network also says how its logits compared with those of the fitted one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")
    file: str = Field(description="the network, beside the manifest and covered by `files`")
    images: int | None = Field(default=None, gt=0, description="held-out X-rays on which both were compared")
    largest_difference: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="of a logit, on these images"
    )
    reference_logits: tuple[float, ...] | None = Field(
        default=None,
        min_length=4,
        max_length=4,
        description="the fitted network's logits of `reference_pixels`",
    )

    @property
    def is_converted(self) -> bool:
        return self.reference_logits is not None

    @model_serializer(mode="wrap")
    def _omit_missing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}


class Manifest(BaseModel):
    """What a version is, how its pixels are prepared, what it was fitted to and how it performed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[2] = 2
    version: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    created_at: datetime
    exports: tuple[Export, ...] = Field(
        min_length=1, description="the network's files; the host and the setting `engine` decide which one runs"
    )
    architecture: str
    parameters: int = Field(ge=0)
    preprocessing: Preprocessing
    classes: tuple[Label, Label] = ("NORMAL", "PNEUMONIA")
    threshold: float = Field(ge=0, le=1, description="operating threshold on the calibrated probability of PNEUMONIA")
    calibration: Calibration = Calibration()
    novelty: Novelty | None = None
    metrics: dict[str, Any]
    population: dict[str, Any]
    data: dict[str, Any]
    libraries: dict[str, str]
    files: dict[str, str] = Field(min_length=1, description="SHA-256 of each file beside the manifest, by name")

    def export(self, engine: str) -> Export | None:
        """The version's file for an engine, if it has one."""
        return next((export for export in self.exports if export.engine == engine), None)

    def label(self, probability: float) -> Label:
        return "PNEUMONIA" if is_positive(probability, self.threshold) else "NORMAL"

    def is_outside_population(self, age_years: float | None) -> bool | None:
        """Whether the completed years are none of `population.age_years`, both ends included; None if not known."""
        ages = self.population.get("age_years")
        if age_years is None or ages is None:
            return None
        return not ages["lowest"] <= math.floor(age_years) <= ages["highest"]

    @model_validator(mode="before")
    @classmethod
    def _convert(cls, values: Any) -> Any:
        is_old = isinstance(values, dict) and "exports" not in values and values.get("schema_version", 1) == 1
        return _from_schema_1(values) if is_old else values

    @field_validator("population")
    @classmethod
    def _ages(cls, population: dict[str, Any]) -> dict[str, Any]:
        ages = population.get("age_years", {"lowest": 0, "highest": 0})
        if not (
            isinstance(ages, dict) and all(isinstance(ages.get(end), int | float) for end in ("lowest", "highest"))
        ):
            raise ValueError("age_years must have a lowest and a highest age")
        return population


_SCHEMA_1_FILES = {"keras": "network.keras", "linear": "weights.npy"}


def _from_schema_1(values: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 named one engine, whose file had a fixed name, and kept LiteRT's file in a field of its own."""
    engine = values.get("engine")
    if not isinstance(engine, str) or engine not in _SCHEMA_1_FILES:
        raise ValueError(f"engine: schema 1 knows {' and '.join(_SCHEMA_1_FILES)}, not {engine!r}")
    exports: list[Any] = [{"engine": engine, "file": _SCHEMA_1_FILES[engine]}]
    converted = values.get("lite")
    if isinstance(converted, dict):
        renamed = {"reference_logits" if name == "trial" else name: value for name, value in converted.items()}
        exports.append({"engine": "litert"} | renamed)
    elif converted is not None:
        raise ValueError("lite: a table is wanted")
    changed = {"schema_version": 2, "exports": exports, "novelty": values.get("familiarity")}
    return {name: value for name, value in values.items() if name not in ("engine", "lite", "familiarity")} | changed


@overload
def is_positive(probability: float, threshold: float) -> bool: ...
@overload
def is_positive(probability: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]: ...
def is_positive(probability: Any, threshold: float) -> Any:
    """The only place where a calibrated probability, or an array of them, meets the operating threshold."""
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
        signature = (folder / SIGNATURE).read_bytes().strip()
    except FileNotFoundError:
        return False
    return hmac.compare_digest(signature, _signature(text, key).encode())


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
        manifest = _parse(folder, text)
        for name, digest in manifest.files.items():
            if Path(name).name != name or "\0" in name:
                raise BrokenModel(f"the manifest in {folder} names a file outside its folder: {name!r}")
            if sha256((folder / name).read_bytes()) != digest:
                raise BrokenModel(f"{folder / name} is damaged: its checksum is not the one in the manifest")
    except OSError as error:
        raise BrokenModel(f"the model version in {folder} cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{part}: " for part in (".".join(map(str, first["loc"])),) if part)
        raise BrokenModel(f"the manifest in {folder} is malformed: {where}{first['msg']}") from error
    return manifest


def read_verified(folder: Path, manifest: Manifest, name: str) -> bytes:
    """The bytes of a version's file as they are now; raises BrokenModel if they changed since `read`."""
    data = (folder / name).read_bytes()
    if sha256(data) != manifest.files[name]:
        raise BrokenModel(f"{folder / name} was changed since it was verified")
    return data


class _Header(BaseModel):
    """What every schema has."""

    schema_version: int = 1


def _parse(folder: Path, text: bytes) -> Manifest:
    schema = _Header.model_validate_json(text).schema_version
    if schema > SCHEMA:
        raise BrokenModel(
            f"the manifest in {folder} has schema {schema}, this program reads up to {SCHEMA}: upgrade it"
        )
    return Manifest.model_validate_json(text)
