"""Pictures that are not what a version knows: what is flagged, what is not, and how that travels with a version."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps
from rich.console import Console
from threadpoolctl import threadpool_limits

from shared.base.errors import BrokenModel
from shared.base.filesystem import MARKER
from shared.base.settings import load
from shared.base.source_settings import FolderSettings
from shared.database import Database
from shared.imaging import Preprocessing, arrange
from shared.ledger.register import register
from shared.ledger.send import take
from shared.models import engines, manifest, novelty, registry
from shared.models.manifest import Manifest
from shared.models.novelty import SIZE, NoveltyCheck
from shared.sources.folder.facts import Facts
from tests import models
from tests.models import give_check, go_live, make_linear_version
from tests.radiographs import labelled, radiograph
from tests.unit.steps import rows
from trainer import card, datasets, description, listing, ood_samples, packaging, pipeline
from trainer import novelty as fitting
from trainer.datasets import Dataset
from trainer.novelty import Fitted
from trainer.patients import identify_by_name
from worker.process import WorkerProcess
from worker.screening import screen_message

DATA = Path(os.environ.get("XRAY_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "kermany" / "train"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the labelled X-rays are not on this machine")
CONSOLE = Console(quiet=True)
PIXELS = Preprocessing(width=models.SIZE, height=models.SIZE)
FAMILIES = {
    "photographs",
    "drawings and documents",
    "other body parts",
    "other modalities",
    "blank and noise",
    "inverted",
    "rotated by 90°",
    "upside down",
    "strongly cropped: middle third",
    "strongly cropped: any third",
}
Halves = tuple[Dataset, Dataset]
Run = Callable[..., tuple[int, str, str]]


def caught(check: NoveltyCheck, validation: Dataset, size: Preprocessing) -> dict[str, tuple[int, float]]:
    """Of each family of images that are out of distribution: how many there are, and the share that is flagged."""
    families = ood_samples.families(ood_samples.originals(validation), size)
    return {name: (len(pixels), fitting.flagged(check, pixels)) for name, pixels in families.items()}


def halves(data: Dataset) -> Halves:
    return datasets.select(data, ~data.held_out()), datasets.select(data, data.held_out())


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """So few X-rays are fitted to twenty times as fast without OpenBLAS's threads where others want the cores too."""
    with threadpool_limits(1, "blas"):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return labelled(tmp_path_factory.mktemp("radiographs"), 150)


@pytest.fixture(scope="module")
def data(folder: Path) -> Halves:
    return halves(datasets.read(folder, PIXELS, CONSOLE))


@pytest.fixture(scope="module")
def fitted(data: Halves) -> Fitted:
    found = fitting.fit_for(*data, PIXELS)
    assert found is not None
    return found


@pytest.fixture
def check(fitted: Fitted, tmp_path: Path) -> NoveltyCheck:
    (tmp_path / fitting.FILE).write_bytes(fitted.parameters)
    return novelty.load(tmp_path / fitting.FILE, fitted.field.limit)


def test_every_family_of_other_images_is_flagged_and_x_rays_of_other_patients_hardly_ever(
    fitted: Fitted, check: NoveltyCheck, data: Halves
) -> None:
    assert fitted.field.flagged <= 0.05, "two of about fifty"
    shares = caught(check, data[1], PIXELS)
    assert set(shares) == FAMILIES
    for family, (count, share) in shares.items():
        assert count > 0, family
        assert share >= 0.95, family


def test_a_single_picture_that_is_no_x_ray_is_flagged(check: NoveltyCheck) -> None:
    xray = radiograph(9001)
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (96, 96)).astype(np.uint8))
    pictures = {
        "an X-ray": (xray, False),
        "an X-ray with pneumonia": (radiograph(9002, is_ill=True), False),
        "noise": (noise, True),
        "black": (Image.new("L", (96, 96), 0), True),
        "white": (Image.new("L", (96, 96), 255), True),
        "inverted": (xray.point([255 - value for value in range(256)]), True),
        "upside down": (xray.rotate(180), True),
    }
    for name, (picture, is_other) in pictures.items():
        (score,) = check.scores(arrange(picture, PIXELS)[np.newaxis])
        assert check.is_unfamiliar(float(score)) is is_other, (name, score)


def test_a_score_does_not_depend_on_what_else_is_in_the_batch(check: NoveltyCheck, data: Halves) -> None:
    pixels = data[1].pixels[:30]
    together = check.scores(pixels)
    alone = np.concatenate([check.scores(pixels[row : row + 1]) for row in range(len(pixels))])
    np.testing.assert_allclose(together, alone, rtol=1e-4)
    np.testing.assert_allclose(check.scores(pixels[::-1])[::-1], together, rtol=1e-4)
    assert check.scores(pixels[:0]).shape == (0,)


def test_the_same_x_rays_give_the_same_check(fitted: Fitted, data: Halves) -> None:
    assert fitting.fit_for(*data, PIXELS) == fitted


def test_a_training_fits_the_check_without_the_families_which_are_measured_apart(
    data: Halves, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("the families were prepared")

    monkeypatch.setattr(ood_samples, "families", fail)
    other = fitting.fit_for(*data, PIXELS)
    assert other is not None
    assert other.field.caught is None


def test_files_that_are_gone_cost_the_families_that_are_made_of_them_and_nothing_else(
    check: NoveltyCheck, data: Halves
) -> None:
    validation = replace(data[1], paths=tuple(Path("/nowhere") / path.name for path in data[1].paths))
    changed = {name for name in FAMILIES if name.startswith(("inverted", "rotated", "upside", "strongly"))}
    assert set(caught(check, validation, PIXELS)) == FAMILIES - changed


@pytest.mark.parametrize(
    ("library", "family"), [("pydicom", "other modalities"), ("sklearn.datasets", "photographs"), ("matplotlib", "")]
)
def test_without_the_pictures_that_a_library_brings_along_there_are_fewer(
    monkeypatch: pytest.MonkeyPatch, library: str, family: str
) -> None:
    import sys

    whole = ood_samples.families([], PIXELS)
    monkeypatch.setitem(sys.modules, library, None)
    found = ood_samples.families([], PIXELS)
    assert set(found) == set(whole)
    fewer = {name for name in found if len(found[name]) < len(whole[name])}
    assert fewer == ({family} if family else {"photographs", "other modalities"})


def test_with_too_few_x_rays_or_too_few_pixels_there_is_no_check(data: Halves) -> None:
    train, validation = data
    few = datasets.select(train, np.arange(len(train)) < fitting.MIN_IMAGES - 1)
    assert fitting.fit_for(few, validation, PIXELS) is None
    assert fitting.fit_for(replace(train, patients=("one",) * len(train)), validation, PIXELS) is None
    assert fitting.fit_for(train, validation, Preprocessing(width=16, height=64)) is None


@pytest.mark.parametrize(("width", "height", "channels"), [(18, 18, 1), (18, 300, 1), (160, 224, 3), (2048, 2048, 1)])
def test_pictures_of_every_size_have_features_and_white_is_white(width: int, height: int, channels: int) -> None:
    found = novelty.features(np.full((1, height, width, channels), 255, np.uint8))
    assert found.shape == (1, SIZE)
    np.testing.assert_allclose(found[0, : novelty.LAYOUT**2], 1.0, rtol=1e-5)
    assert np.isfinite(found).all()


def parameters(**changes: Any) -> bytes:
    stored = BytesIO()
    usable: dict[str, NDArray[Any]] = {"centre": np.zeros(SIZE, np.float32), "whitening": np.eye(SIZE, dtype="f4")}
    np.savez(stored, **{name: value for name, value in (usable | changes).items() if value is not None})
    return stored.getvalue()


def array() -> bytes:
    stored = BytesIO()
    np.save(stored, np.zeros(SIZE, np.float32))
    return stored.getvalue()


BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "no archive": (lambda: b"PK\x03\x04 cut off", "does not load"),
    "empty": (lambda: b"", "does not load"),
    "a bare array": (array, "does not load"),
    "pickled": (lambda: parameters(centre=np.array([{}] * SIZE, dtype=object)), "does not load"),
    "one part missing": (lambda: parameters(whitening=None), "does not load"),
    "another shape": (lambda: parameters(whitening=np.eye(SIZE - 1)), "holds no usable whitening"),
    "no number": (lambda: parameters(centre=np.full(SIZE, np.nan)), "holds no usable centre"),
    "text": (lambda: parameters(centre=np.array(["a"] * SIZE)), "does not load"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_version_whose_check_does_not_load_is_refused(tmp_path: Path, fitted: Fitted, kind: str) -> None:
    content, reason = BROKEN[kind]
    version = make_linear_version(tmp_path, "v1")
    give_check(version, fitted.field, content())
    with pytest.raises(BrokenModel, match=reason):
        registry.load(tmp_path, models.published(version))


def test_a_check_that_was_damaged_or_deleted_after_publication_is_noticed(tmp_path: Path, fitted: Fitted) -> None:
    version = make_linear_version(tmp_path, "v1")
    give_check(version, fitted.field, fitted.parameters)
    row = models.published(version)
    assert registry.load(tmp_path, row).network.novelty is not None
    (version / fitting.FILE).write_bytes(parameters())
    with pytest.raises(BrokenModel, match=r"novelty\.npz is damaged"):
        registry.load(tmp_path, row)
    (version / fitting.FILE).unlink()
    with pytest.raises(BrokenModel, match=r"novelty\.npz"):
        registry.load(tmp_path, row)


def test_a_check_that_the_manifest_does_not_vouch_for_is_refused(tmp_path: Path, fitted: Fitted) -> None:
    version = make_linear_version(tmp_path, "v1")
    models.describe(version, fitted.field)
    with pytest.raises(BrokenModel, match=r"does not vouch for novelty\.npz"):
        registry.load(tmp_path, models.published(version))


def test_a_check_whose_scores_are_no_numbers_is_refused(tmp_path: Path, fitted: Fitted) -> None:
    version = make_linear_version(tmp_path, "v1")
    give_check(version, fitted.field, parameters(whitening=np.full((SIZE, SIZE), 3e38, np.float32)))
    with np.errstate(over="ignore"), pytest.raises(BrokenModel):
        registry.load(tmp_path, models.published(version))


def test_a_manifest_with_a_check_reads_back_as_it_was_written(tmp_path: Path, fitted: Fitted) -> None:
    version = make_linear_version(tmp_path, "v1")
    digest = give_check(version, fitted.field, fitted.parameters)
    found = manifest.read(version, digest)
    assert found.novelty == fitted.field
    assert set(found.files) == {engines.LINEAR_FILE, fitting.FILE}
    assert manifest.write(version, found) == digest


@pytest.mark.parametrize("limit", [0.0, -1.0, float("inf"), float("nan")])
def test_a_limit_that_would_flag_everything_or_nothing_is_none(fitted: Fitted, limit: float) -> None:
    with pytest.raises(ValueError, match="limit"):
        manifest.Novelty.model_validate(fitted.field.model_dump() | {"limit": limit})


def test_a_version_is_published_with_its_check_which_its_card_describes(tmp_path: Path, fitted: Fitted) -> None:
    day = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)

    def describe(version: str, files: dict[str, str]) -> Manifest:
        plain = manifest.read(make_linear_version(tmp_path / f"{len(files)}", "v1"))
        return plain.model_copy(update={"version": version, "files": files, "novelty": fitted.field})

    made = packaging.publish(
        tmp_path / "out", "linear", day, lambda path: path.touch(), describe, [fitted.write, card.write]
    )
    found = manifest.read(made)
    assert found.files[fitting.FILE] == manifest.sha256(fitted.parameters)
    assert "`pneumoscreen models measure novelty` does" in (made / card.MARKDOWN_FILE).read_text()


class Network:
    """Stands for a Keras model: calls bright pictures PNEUMONIA, as far as this test goes."""

    layers: tuple[Any, ...] = ()

    def get_weights(self) -> list[Any]:
        return []

    def set_weights(self, weights: list[Any]) -> None:
        pass

    def count_params(self) -> int:
        return 1

    def save(self, path: Path) -> None:
        path.write_bytes(b"weights")


@pytest.mark.parametrize("has_enough", [True, False])
def test_a_training_gives_its_version_a_check_unless_there_are_too_few_x_rays(
    data: Halves, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_enough: bool
) -> None:
    monkeypatch.setattr(pipeline, "preprocessing", lambda plan: PIXELS)
    monkeypatch.setattr(pipeline, "begin", lambda plan, fresh=False: Network)
    monkeypatch.setattr(pipeline.fit, "fit", lambda *_: Network())
    monkeypatch.setattr(pipeline.fit, "logits", lambda _, pixels: pixels.astype(float).mean(axis=(1, 2, 3)) - 100.0)
    stood_in_for = {"images": 0, "patients": 0, "method": "stood in for"}
    monkeypatch.setattr(pipeline.evidence, "measure_fitted", lambda *_: stood_in_for)
    if not has_enough:
        monkeypatch.setattr(fitting, "MIN_IMAGES", 10_000)
    everything = datasets.read(folder, PIXELS, CONSOLE)
    plan = pipeline.Plan("tiny7", tmp_path / "out", tmp_path / "work")
    console = Console(file=(said := open(tmp_path / "said", "w+")), width=200)  # noqa: PTH123, SIM115
    made = pipeline.train_on(plan, everything, description.Description(), console)
    said.close()
    assert (made.folder / fitting.FILE).exists() is has_enough is (fitting.FILE in made.manifest.files)
    line = "of the held-out X-rays as unfamiliar" if has_enough else "too few X-rays to fit a novelty check"
    assert line in (tmp_path / "said").read_text()
    if has_enough:
        assert made.manifest.novelty is not None
        check = novelty.load(made.folder / fitting.FILE, made.manifest.novelty.limit)
        assert fitting.flagged(check, data[1].pixels) == made.manifest.novelty.flagged
    else:
        assert made.manifest.novelty is None


def test_a_worker_stores_what_is_unfamiliar_and_how_much(
    database: Database, tmp_path: Path, check: NoveltyCheck, fitted: Fitted
) -> None:
    version = make_linear_version(tmp_path / "models", "v1")
    give_check(version, fitted.field, fitted.parameters)
    go_live(database, version)
    root = tmp_path / "ward"
    root.mkdir()
    (root / MARKER).touch()
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (96, 96)).astype(np.uint8))
    pictures = {"noise.png": noise, "x-ray.png": radiograph(9001), "inverted.png": radiograph(9001)}
    pictures["inverted.png"] = pictures["inverted.png"].point([255 - value for value in range(256)])
    for name, picture in pictures.items():
        picture.save(root / name)
        with database.write() as session:
            register(session, "ward", "routine", [Facts.of((root / name).stat()).found(name)], datetime.now(UTC))
    url = database.engine.url.render_as_string(hide_password=False)
    process = WorkerProcess(load(tmp_path, database_url=url, sources={"ward": FolderSettings(path=root)}, batch_size=2))
    try:
        with database.write() as session:
            message = take(session, "routine", 1000, datetime.now(UTC))
        assert message is not None
        assert screen_message(process, message.encode()) == "3 images: 3 done"
    finally:
        process.stop()
        process.threads.shutdown()
        process.database.close()
    found = {row["path"]: row for row in rows(database)}
    assert {name: bool(row["unfamiliar"]) for name, row in found.items()} == {
        "noise.png": True,
        "x-ray.png": False,
        "inverted.png": True,
    }
    for name, picture in pictures.items():
        (score,) = check.scores(arrange(picture, PIXELS)[np.newaxis])
        assert found[name]["unfamiliar_score"] == pytest.approx(score, rel=1e-4)
        assert found[name]["probability"] is not None, "it is screened like any other"


def test_the_command_prints_every_family_and_those_of_a_folder(
    folder: Path, tmp_path: Path, run_command: Run, fitted: Fitted
) -> None:
    version = make_linear_version(tmp_path, "v1")
    (tmp_path / "strangers" / "cats").mkdir(parents=True)
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (96, 96)).astype(np.uint8)).save(
        tmp_path / "strangers" / "cats" / "a.png"
    )
    (tmp_path / "strangers" / "cats" / "notes.txt").write_text("no picture")
    options = ("models", "measure", "novelty", version, "--data", folder, "--home", tmp_path)
    code, printed, _ = run_command(*options, "--images", tmp_path / "strangers")
    assert code == 0
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines()]
    shown = {cells[0]: cells[1:] for cells in lines if len(cells) == 3}
    assert set(shown) >= {*FAMILIES, "X-rays of patients held out", "of them PNEUMONIA", "X-rays, brighter"}
    assert shown["strangers/cats"] == ["1", "1.000"]
    assert "a check fitted to this data" in printed
    before = (version / manifest.NAME).read_bytes()
    give_check(version, fitted.field, fitted.parameters)
    code, printed, _ = run_command(*options)
    assert code == 0
    assert f"its own check, limit {fitted.field.limit:.3f}" in printed
    assert before != (version / manifest.NAME).read_bytes()


def test_another_sites_framing_is_strange_no_more_by_its_own_limit_and_its_x_rays_upside_down_are(
    folder: Path, tmp_path: Path, run_command: Run, fitted: Fitted
) -> None:
    version = make_linear_version(tmp_path, "v1")
    give_check(version, fitted.field, fitted.parameters)
    for name, stem in (("NORMAL", "IM-"), ("PNEUMONIA", "person")):
        (tmp_path / "site" / name).mkdir(parents=True)
        for number in range(35):
            xray = radiograph(5000 + 2 * number, is_ill=name == "PNEUMONIA")
            framed = ImageOps.expand(xray.crop((3, 3, 93, 93)), 4, fill=0)
            framed.save(tmp_path / "site" / name / f"{stem}{9000 + number}_1.png")
    options = ("models", "measure", "novelty", version, "--data", folder, "--home", tmp_path)
    code, printed, errors = run_command(*options, "--elsewhere", tmp_path / "site")
    assert code == 0, errors
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines()]
    shown = {cells[0]: [float(cell) for cell in cells[2:] if cell] for cells in lines[2:] if len(cells) == 4}
    by_version, by_site = shown["X-rays of the other site"]
    assert by_version > 0.5
    assert by_site <= 0.1
    assert shown["of these, upside down"][1] >= 0.9
    assert shown["of these, inverted"][1] >= 0.9


def test_the_command_says_what_is_missing(folder: Path, tmp_path: Path, run_command: Run) -> None:
    version = make_linear_version(tmp_path, "v1")
    few = labelled(tmp_path / "few", 30)
    command = ("models", "measure", "novelty", version, "--home", tmp_path)
    code, _, errors = run_command(*command, "--data", few)
    assert code == 1
    assert "at least 100 of 5 patients are needed" in errors
    code, _, errors = run_command(*command, "--data", folder, "--images", tmp_path / "nowhere")
    assert code == 2
    assert "is not a folder" in errors


@needs_data
def test_of_childrens_x_rays_few_are_flagged_and_of_everything_else_nearly_all(tmp_path: Path) -> None:
    pixels = Preprocessing(width=160, height=160, contrast="equalize")
    everything = listing.read(DATA)
    chosen = [
        file
        for file in everything.files
        if datasets.is_held_out(identify_by_name(file.name).patient, 0.3, "a part of them is enough")
    ]
    listed = replace(everything, files=tuple(chosen))
    train, validation = halves(datasets.read_files(listed, pixels, CONSOLE))
    found = fitting.fit_for(train, validation, pixels)
    assert found is not None
    assert found.field.measured["held_out_images"] > 150
    assert found.field.flagged <= 0.03
    (tmp_path / fitting.FILE).write_bytes(found.parameters)
    shares = caught(novelty.load(tmp_path / fitting.FILE, found.field.limit), validation, pixels)
    assert set(shares) == FAMILIES
    for family, (_, share) in shares.items():
        assert share >= 0.95, family
