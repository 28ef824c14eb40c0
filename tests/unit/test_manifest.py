import json
import math
import shutil
from pathlib import Path

import pytest

from shared.base.errors import BrokenModel
from shared.models import manifest, registry
from shared.models.engines import LINEAR_FILE
from shared.models.manifest import Calibration, Export, Manifest
from tests.models import make_linear_version, published


def edit(folder: Path, /, **changes: object) -> None:
    file = folder / manifest.NAME
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_version_reads_back_as_it_was_written(tmp_path: Path) -> None:
    version = make_linear_version(tmp_path, "v1")
    found = manifest.read(version, published(version).manifest_sha256)
    assert (found.version, found.exports, found.threshold) == ("v1", (Export(engine="linear", file=LINEAR_FILE),), 0.5)
    assert manifest.write(version, found) == published(version).manifest_sha256


def test_an_export_is_written_without_what_it_does_not_say(tmp_path: Path) -> None:
    version = make_linear_version(tmp_path, "v1")
    written = json.loads((version / manifest.NAME).read_text())
    assert written["exports"] == [{"engine": "linear", "file": LINEAR_FILE}]


def test_a_damaged_file_is_noticed(tmp_path: Path) -> None:
    version = make_linear_version(tmp_path, "v1")
    weights = bytearray((version / LINEAR_FILE).read_bytes())
    weights[-1] ^= 1
    (version / LINEAR_FILE).write_bytes(weights)
    with pytest.raises(BrokenModel, match=r"weights\.npy is damaged"):
        manifest.read(version)


def test_a_manifest_that_was_changed_after_publication_is_noticed(tmp_path: Path) -> None:
    version = make_linear_version(tmp_path, "v1")
    row = published(version)
    edit(version, threshold=0.9)
    assert manifest.read(version).threshold == 0.9
    with pytest.raises(BrokenModel, match="not the one that was published"):
        manifest.read(version, row.manifest_sha256)


@pytest.mark.parametrize("name", ["../weights.npy", "/etc/passwd", "sub/weights.npy", "\0"])
def test_a_manifest_that_names_a_file_outside_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    version = make_linear_version(tmp_path, "v1")
    edit(version, files={name: "0" * 64})
    with pytest.raises(BrokenModel, match="outside its folder"):
        manifest.read(version)


@pytest.mark.parametrize("name", ["slope", "intercept"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_calibration_that_would_give_no_number_is_refused(tmp_path: Path, name: str, value: float) -> None:
    version = make_linear_version(tmp_path, "v1")
    edit(version, calibration={name: value})
    with pytest.raises(BrokenModel, match=f"calibration.{name}"):
        manifest.read(version)


@pytest.mark.parametrize("missing", [manifest.NAME, LINEAR_FILE])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    version = make_linear_version(tmp_path, "v1")
    (version / missing).unlink()
    with pytest.raises(BrokenModel, match=missing):
        manifest.read(version)


def test_a_version_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BrokenModel, match="nowhere"):
        manifest.read(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"schema_version": 0}, "schema_version"),
        ({"schema_version": "two"}, "schema_version"),
        ({"exports": [{"engine": "../x", "file": "weights.npy"}]}, "exports.0.engine"),
        ({"exports": []}, "exports"),
        ({"engine": "linear"}, "engine"),
        ({"threshold": 1.5}, "threshold"),
        ({"version": "../v1"}, "version"),
        ({"files": {}}, "files"),
        ({"surprise": 1}, "surprise"),
        ({"preprocessing": {"width": 32}}, "preprocessing.height"),
        ({"classes": ["A", "B"]}, "classes.0"),
    ],
)
def test_a_malformed_manifest_is_refused_with_the_name_of_the_field(
    tmp_path: Path, changes: dict[str, object], named: str
) -> None:
    version = make_linear_version(tmp_path, "v1")
    edit(version, **changes)
    with pytest.raises(BrokenModel, match=rf"is malformed: {named}: "):
        manifest.read(version)


@pytest.mark.parametrize("schema", [manifest.SCHEMA + 1, 99])
def test_a_manifest_of_a_newer_schema_says_what_to_do(tmp_path: Path, schema: int) -> None:
    version = make_linear_version(tmp_path, "v1")
    edit(version, schema_version=schema, surprise=1)
    with pytest.raises(BrokenModel, match=rf"v1 has schema {schema}, this program reads up to 2: upgrade it"):
        manifest.read(version)


def as_schema_1(folder: Path, **changes: object) -> None:
    """Write the manifest of a linear version as programs with schema 1 did."""
    values = json.loads((folder / manifest.NAME).read_text())
    for name in ("exports", "novelty"):
        del values[name]
    old = {"schema_version": 1, "engine": "linear", "familiarity": None, "lite": None}
    (folder / manifest.NAME).write_text(json.dumps(values | old | changes))


def test_a_version_with_a_manifest_of_schema_1_is_read_and_runs(tmp_path: Path) -> None:
    version = make_linear_version(tmp_path, "v1")
    written = manifest.read(version)
    as_schema_1(version)
    assert manifest.read(version) == written
    assert registry.load(tmp_path, published(version)).network.device == "cpu"


def test_a_manifest_of_schema_1_lists_both_exports_and_its_novelty_check(tmp_path: Path) -> None:
    folder = shutil.copytree(registry.bundled(), tmp_path / registry.bundled().name)
    now = manifest.read(folder)
    keras, lite = now.exports
    values = json.loads((folder / manifest.NAME).read_text())
    for name in ("exports", "novelty"):
        del values[name]
    converted = lite.model_dump(mode="json")
    del converted["engine"]
    converted["trial"] = converted.pop("reference_logits")
    assert now.novelty is not None
    old = {
        "schema_version": 1,
        "engine": "keras",
        "familiarity": now.novelty.model_dump(mode="json"),
        "lite": converted,
    }
    (folder / manifest.NAME).write_text(json.dumps(values | old))
    found = manifest.read(folder)
    assert found.schema_version == 2
    assert found.exports == (keras, lite)
    assert found.novelty == now.novelty


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"engine": "pickle"}, "schema 1 knows keras and linear, not 'pickle'"),
        ({"engine": ["keras"]}, "schema 1 knows keras and linear"),
        ({"lite": "network.tflite"}, "lite: a table is wanted"),
        ({"lite": {"file": 7}}, "exports.1.file"),
        ({"familiarity": {"limit": -1.0}}, "novelty.source"),
    ],
)
def test_a_malformed_manifest_of_schema_1_is_refused(tmp_path: Path, changes: dict[str, object], named: str) -> None:
    version = make_linear_version(tmp_path, "v1")
    as_schema_1(version, **changes)
    with pytest.raises(BrokenModel, match=named):
        manifest.read(version)


def test_a_manifest_that_is_not_json_is_refused(tmp_path: Path) -> None:
    version = make_linear_version(tmp_path, "v1")
    (version / manifest.NAME).write_bytes(b"\x80\x04pickle")
    with pytest.raises(BrokenModel, match="is malformed"):
        manifest.read(version)


def test_a_probability_of_exactly_the_threshold_is_pneumonia(tmp_path: Path) -> None:
    found = manifest.read(make_linear_version(tmp_path, "v1")).model_copy(update={"threshold": 0.3})
    assert found.label(0.3) == "PNEUMONIA"
    assert found.label(math.nextafter(0.3, 0.0)) == "NORMAL"
    assert found.label(1.0) == "PNEUMONIA"
    assert found.label(0.0) == "NORMAL"


def with_ages(tmp_path: Path) -> Manifest:
    """The population of the versions that tests make: one to five years."""
    return manifest.read(make_linear_version(tmp_path, "v1"))


@pytest.mark.parametrize(
    ("age", "outside"), [(0.99, True), (1.0, False), (5.0, False), (5.99, False), (6.0, True), (40.0, True)]
)
def test_a_patient_whose_completed_years_the_version_was_not_fitted_on_is_outside(
    tmp_path: Path, age: float, outside: bool
) -> None:
    assert with_ages(tmp_path).is_outside_population(age) is outside


def test_of_an_unknown_age_or_population_nothing_is_said(tmp_path: Path) -> None:
    found = with_ages(tmp_path)
    assert found.is_outside_population(None) is None
    assert found.model_copy(update={"population": {"description": "adults"}}).is_outside_population(4.0) is None


@pytest.mark.parametrize("ages", [{"lowest": 1}, "1-5", None, {"lowest": "one", "highest": 5}])
def test_a_manifest_with_ages_that_are_none_is_malformed(tmp_path: Path, ages: object) -> None:
    values = with_ages(tmp_path).model_dump() | {"population": {"age_years": ages}}
    with pytest.raises(ValueError, match="lowest and a highest age"):
        Manifest.model_validate(values)


def test_without_calibration_the_probability_is_the_sigmoid_of_the_logit() -> None:
    plain = Calibration()
    assert plain.probability(0.0) == 0.5
    assert plain.probability(1.0) == pytest.approx(0.7310585786)
    assert plain.probability(-1.0) == pytest.approx(1 - 0.7310585786)


def test_calibration_scales_and_shifts_the_logit() -> None:
    assert Calibration(slope=2.0, intercept=-1.0).probability(0.5) == 0.5
    assert Calibration(slope=2.0, intercept=1.0).probability(1.5) == pytest.approx(Calibration().probability(4.0))


@pytest.mark.parametrize(("logit", "probability"), [(1e6, 1.0), (-1e6, 0.0), (3e38, 1.0), (-3e38, 0.0)])
def test_extreme_logits_give_a_probability_and_no_overflow(logit: float, probability: float) -> None:
    assert Calibration().probability(logit) == probability
    assert Calibration(slope=50.0, intercept=-20.0).probability(logit) == probability
