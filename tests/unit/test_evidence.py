"""The evidence map: it adds up to the score, is measured against chance, kept where that is wanted, and drawn."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select

from actions import erasure
from queries.evidence import of_result
from shared import sources
from shared.base.errors import WorkFailed
from shared.base.settings import Settings, load
from shared.base.source_settings import FolderSettings
from shared.database import Database, Prediction
from shared.ledger.register import register
from shared.ledger.send import take
from shared.models import evidence, registry
from shared.models.engines.keras import with_evidence
from shared.models.engines.litert import LiteRTNetwork
from shared.sources.folder.facts import Facts
from shared.sources.folder.marker import MARKER
from tests.models import go_live, make_linear_version
from tests.unit.conftest import Run
from tests.unit.test_litert_export import PIXELS, SIZE, network
from trainer import evidence as measuring
from trainer import litert_export
from trainer.datasets import Dataset
from worker.process import WorkerProcess
from worker.screening import screen_message


def test_the_mean_of_the_map_and_the_bias_are_the_score_in_keras_and_in_litert() -> None:
    model = network("SeparableConv2D")
    extended = with_evidence(model)
    assert extended is not None
    logits, maps = extended.predict_on_batch(PIXELS.astype(np.float32))
    bias = float(model.layers[-1].bias.numpy()[0])
    np.testing.assert_allclose(maps.mean(axis=(1, 2)) + bias, logits[:, 0], atol=1e-4)
    converted = litert_export.convert(model, SIZE, PIXELS)
    assert not isinstance(converted, str), converted
    lite = LiteRTNetwork(converted.data, SIZE)
    assert lite.has_evidence
    answered, drawn = lite.answers(PIXELS)
    assert drawn is not None
    np.testing.assert_allclose(answered, logits[:, 0], atol=1e-4)
    np.testing.assert_allclose(drawn, maps, atol=1e-3)


def test_a_network_that_ends_in_another_way_has_no_map() -> None:
    import keras

    inputs = keras.Input((8, 8, 3))
    flat = keras.layers.Dense(1)(keras.layers.Flatten()(inputs))
    assert with_evidence(keras.Model(inputs, flat)) is None
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    hidden = keras.layers.Dense(4, activation="relu")(pooled)
    assert with_evidence(keras.Model(inputs, keras.layers.Dense(1)(hidden))) is None
    assert with_evidence(keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(pooled))) is None
    assert with_evidence(keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Dropout(0.3)(pooled)))) is not None


def test_the_rim_is_weighed_by_its_area() -> None:
    assert evidence.rim_weights(8, 8).mean() == pytest.approx(0.4375)
    assert evidence.rim_weights(5, 7).mean() == pytest.approx(0.4375), "also where the rim cuts through cells"
    spread = np.ones((8, 8), np.float32)
    assert evidence.rim_share(spread) == pytest.approx(measuring.CHANCE)
    spread[1:-1, 1:-1] = -1
    assert evidence.rim_share(spread) == 1.0, "what speaks against pneumonia does not count"
    assert evidence.rim_share(-np.ones((8, 8), np.float32)) is None


def test_a_stored_map_is_small_and_comes_back_as_it_was_but_for_rounding() -> None:
    drawn = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    stored = evidence.pack(drawn)
    assert len(stored) < 80
    np.testing.assert_allclose(evidence.unpack(stored), drawn, atol=float(np.abs(drawn).max()) / 250)
    assert not evidence.unpack(evidence.pack(np.zeros((8, 8), np.float32))).any()
    for wrong in (stored[:-1], stored[:3], b""):
        with pytest.raises(ValueError, match="stored map"):
            evidence.unpack(wrong)


def test_picture_and_map_are_drawn_side_by_side_each_cell_as_it_is() -> None:
    drawn = np.zeros((8, 8), np.float32)
    drawn[3, 4], drawn[6, 1] = 5.0, -5.0
    picture = evidence.draw(Image.new("L", (300, 240), 128), drawn, "A title", side=400)
    pixels = np.asarray(picture).astype(int)
    right = pixels[64:384, 428:828]
    cell = right[3 * 40 + 2 : 4 * 40 - 2, 4 * 50 + 2 : 5 * 50 - 2].reshape(-1, 3)
    assert (cell == cell[0]).all(), "not blurred"
    assert cell[0][0] > cell[0][2], "red towards pneumonia"
    against = right[6 * 40 + 20, 1 * 50 + 25]
    assert against[2] > against[0], "blue against it"
    assert len(set(right[10, 10])) == 1, "nothing where nothing is"


def fake(logits: Any) -> Any:
    """Answers of a network that looks at the mean of these pixels alone."""
    return lambda pixels: pixels[:, logits[0], logits[1]].reshape(len(pixels), -1).mean(axis=1) / 10.0


@pytest.mark.parametrize(
    ("where", "erased", "alone"),
    [((slice(30, 60), slice(30, 60)), 0.5, 1.0), ((slice(0, 10), slice(None)), 1.0, 0.5)],
    ids=["a network that looks at lungs", "a network that looks at markers"],
)
def test_covering_the_middle_tells_a_network_that_looks_at_lungs_from_one_that_looks_at_markers(
    where: Any, erased: float, alone: float
) -> None:
    labels = np.tile(np.array([0, 1], np.uint8), 40)
    pixels = np.full((80, 96, 96, 1), 90, np.uint8)
    pixels[labels == 1, where[0], where[1]] = 140
    data = Dataset(pixels, labels, (), tuple(f"p{row}" for row in range(80)), tuple("" for _ in labels))
    measured = measuring.measure(data, fake(where), None, _quiet())
    assert measured["auc"]["value"] == 1.0
    assert measured["auc_erased_black"]["value"] == erased
    assert measured["auc_middle_black"]["value"] == alone
    assert measured["auc_erased_normal"]["value"] == erased
    assert "rim_hottest" not in measured, "it has no map"
    assert f"AUC {1.0 if erased == 1 else 0.5:.2f}" in measuring.sentence(measured) or erased == 0.5


def _quiet() -> Any:
    from rich.console import Console

    return Console(quiet=True)


def test_the_command_prints_every_figure_with_its_interval_and_chance(tmp_path: Path, run_command: Run) -> None:
    for label in ("NORMAL", "PNEUMONIA"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(8):
            grey = np.random.default_rng(number).integers(0, 120, (64, 64)) + (100 if label == "PNEUMONIA" else 0)
            Image.fromarray(grey.astype(np.uint8)).save(tmp_path / "data" / label / f"{label}-{number}.png")
    made = make_linear_version(tmp_path, "v1")
    code, printed, errors = run_command(
        "models", "measure", "evidence", made, "--data", tmp_path / "data", "--all", "--home", tmp_path
    )
    assert code == 0, errors
    for each in measuring.MEASURES:
        assert each.title in printed


@pytest.fixture
def chosen(database: Database, tmp_path: Path) -> Settings:
    """A home whose source has one screened image, with its map kept."""
    go_live(database, make_linear_version(tmp_path / "models", "v1"))
    ward = tmp_path / "ward"
    ward.mkdir()
    (ward / MARKER).touch()
    grey = np.random.default_rng(3).integers(0, 256, (90, 120)).astype(np.uint8)
    Image.fromarray(grey).save(ward / "a.png")
    url = database.engine.url.render_as_string(hide_password=False)
    settings = load(tmp_path, database_url=url, sources={"ward": FolderSettings(path=ward)}, store_evidence=True)
    with database.write() as session:
        register(session, "ward", "routine", [Facts.of((ward / "a.png").stat()).found("a.png")], datetime.now(UTC))
    for process in running(settings):
        with database.write() as session:
            message = take(session, "routine", 10, datetime.now(UTC))
        assert message is not None
        assert screen_message(process, message.encode()) == "1 images: 1 done"
    return settings


def running(settings: Settings) -> Iterator[WorkerProcess]:
    process = WorkerProcess(settings)
    try:
        yield process
    finally:
        process.stop()
        process.threads.shutdown()
        process.database.close()


def test_a_kept_map_adds_up_to_the_logit_and_is_erased_with_its_image(database: Database, chosen: Settings) -> None:
    with database.read() as session:
        (row,) = session.scalars(select(Prediction)).all()
    assert row.evidence is not None
    weights = np.load(chosen.models / "v1" / "weights.npy")
    assert evidence.unpack(row.evidence).mean() + weights[-1] == pytest.approx(row.logit, abs=0.05)
    (chosen.sources["ward"].path / "a.png").unlink()
    planned = erasure.plan(database, sources.build(chosen), "ward/a.png")
    erasure.erase(database, planned, "Ada", datetime.now(UTC))
    with database.read() as session:
        assert session.scalars(select(Prediction)).all() == []


def test_a_capture_gets_the_kept_map_or_the_reason_why_there_is_none(
    database: Database, chosen: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.read() as session:
        (row,) = session.scalars(select(Prediction)).all()

    def ask(*, is_unfamiliar: bool = False) -> Any:
        with database.read() as session:
            return of_result(session, chosen, row.sha256, "v1", is_unfamiliar=is_unfamiliar)

    assert "card does not say" in ask()
    monkeypatch.setattr("queries.evidence.has_figures", lambda *_: True)
    np.testing.assert_array_equal(ask(), evidence.unpack(row.evidence))
    assert "unlike what the model knows" in ask(is_unfamiliar=True)
    with database.write() as session:
        session.get_one(Prediction, row.id).evidence = None
    assert "none was kept" in ask()


@pytest.mark.parametrize(("objects", "is_kept"), [(["report"], False), (["report", "capture"], True)])
def test_maps_are_kept_where_a_destination_gets_captures(tmp_path: Path, objects: list[str], is_kept: bool) -> None:
    pacs = {"kind": "stow", "url": "https://pacs.example/dicom-web", "objects": objects}
    assert load(tmp_path, destinations={"pacs": pacs}).keeps_evidence is is_kept


def test_explain_draws_the_picture_and_its_map(chosen: Settings, run_command: Run, tmp_path: Path) -> None:
    (chosen.home / "pneumoscreen.toml").write_text(
        f'database_url = "{chosen.database_url}"\n[sources.ward]\npath = "{chosen.sources["ward"].path}"\n'
    )
    code, printed, errors = run_command("explain", "a.png", "--out", tmp_path / "why.png", "--home", chosen.home)
    assert code == 0, errors
    assert "probability" in printed
    assert evidence.CAPTION in errors
    with Image.open(tmp_path / "why.png") as drawn:
        assert drawn.size > (1000, 300)


def test_explain_says_when_a_version_has_no_map_or_the_file_is_gone(
    database: Database, chosen: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from queries.explanation import explain
    from shared.models.engines.linear import LinearNetwork

    with database.write() as session:
        session.execute(Prediction.__table__.update().values(evidence=None))  # type: ignore[attr-defined]
    found = explain(chosen, database, "a.png")
    assert not found.is_stored, "drawn anew"
    monkeypatch.setattr(LinearNetwork, "answers", lambda self, batch: (self.logits(batch), None))
    with pytest.raises(WorkFailed, match="v1 has no evidence map"):
        explain(chosen, database, "a.png")
    (chosen.sources["ward"].path / "a.png").unlink()
    with pytest.raises(WorkFailed, match="cannot be read any more"):
        explain(chosen, database, "a.png")


def test_the_bundled_version_has_a_map_that_adds_up() -> None:
    loaded = registry.load_bundled("tensorflow")
    size = loaded.manifest.preprocessing
    _, maps = loaded.network.answers(np.zeros((2, size.height, size.width, size.channels), np.uint8))
    assert maps is not None
    assert maps.shape[0] == 2
