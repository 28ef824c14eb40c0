"""Reviewed labels as a dataset that a training reads, on both databases."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from cli.export_labels import export_labels
from shared.base.errors import InvalidRequest, WorkFailed
from shared.base.settings import Settings, load
from shared.database import AuditEntry, Database, Review
from shared.imaging import Preprocessing
from shared.ledger.register import register
from shared.ledger.work import Identifiers, Screened
from shared.sources.folder.facts import Facts
from tests.unit.steps import NOW, claim, finish, send_all
from trainer import datasets, labels_export
from trainer.patients import Rule, of_key

QUIET = Console(quiet=True)
KEY = "k" * 64


@pytest.fixture
def settings(tmp_path: Path, database: Database) -> Settings:
    (tmp_path / "ward").mkdir()
    return load(tmp_path, sources={"ward": {"path": tmp_path / "ward"}})


def screened(database: Database, file: Path, seed: int, key: str | None = None) -> str:
    """Drop, register and screen an image; returns its checksum."""
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64), dtype=np.uint8)).save(file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    with database.write() as session:
        register(session, "ward", "routine", [Facts.of(file.stat()).found(file.name)], NOW)
    (claimed,) = claim(database, send_all(database))
    identifiers = Identifiers(None, None, None, key) if key else None
    finish(database, Screened(claimed, digest, "v1", 0.9, 0.5, "PNEUMONIA", identifiers=identifiers))
    return digest


def say(database: Database, digest: str, label: str) -> None:
    with database.write() as session:
        session.add(Review(sha256=digest, label=label, reviewer="Dr. Okafor", created_at=NOW))


@pytest.fixture
def labelled(settings: Settings, database: Database) -> Settings:
    """Two images of a patient who is known, one each of two others, one unclear, and one whose file is gone."""
    ward = settings.sources["ward"].path
    words = {"one.png": "NORMAL", "two.png": "PNEUMONIA", "person5_1.png": "PNEUMONIA", "scan.png": "NORMAL"}
    words |= {"unclear.png": "UNCLEAR", "gone.png": "NORMAL"}
    for seed, (name, label) in enumerate(words.items()):
        say(database, screened(database, ward / name, seed, KEY if name in ("one.png", "two.png") else None), label)
    (ward / "gone.png").unlink()
    return settings


def test_a_training_reads_what_was_exported_with_its_fingerprint_and_patients(
    labelled: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], database: Database
) -> None:
    export_labels(labelled, tmp_path / "set", "A. Nurse")
    out = capsys.readouterr().out
    data = datasets.read(tmp_path / "set", Preprocessing(width=16, height=16), QUIET)
    assert f"fingerprint {data.fingerprint()}" in out
    assert data.summary() == {"images": 4, "NORMAL": 2, "PNEUMONIA": 2, "patients": 3}
    assert data.attribution().by_rule == {Rule.HEADER: (2, 1), Rule.KNOWN: (1, 1), Rule.NAME: (1, 1)}
    assert {of_key(KEY), "person5"} < set(data.patients)
    assert "up to number 6" in out and "left out: 1 on which readers could not tell" in out
    assert "1 whose file is gone" in out
    assert data.fingerprint() in (tmp_path / "set" / "dataset.toml").read_text()
    everything = "".join(str(path) for path in (tmp_path / "set").rglob("*"))
    assert "scan" not in everything + (tmp_path / "set" / "labels.csv").read_text(), "names may tell of a patient"
    with database.read() as session:
        (entry,) = session.query(AuditEntry).filter_by(action="export-labels")
    assert (entry.actor, data.fingerprint() in entry.detail) == ("A. Nurse", True)


def test_a_table_alone_says_where_the_files_are_and_has_the_same_fingerprint(
    labelled: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export_labels(labelled, tmp_path / "set", None)
    export_labels(labelled, tmp_path / "labels.csv", None)
    first, second = (line for line in capsys.readouterr().out.splitlines() if line.startswith("fingerprint "))
    assert first == second
    with (tmp_path / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == labels_export.COLUMNS
    assert {(Path(row["path"]).name, row["label"], row["source"]) for row in rows} == {
        ("one.png", "NORMAL", "ward"),
        ("two.png", "PNEUMONIA", "ward"),
        ("person5_1.png", "PNEUMONIA", "ward"),
        ("scan.png", "NORMAL", "ward"),
    }
    for row in rows:
        assert hashlib.sha256(Path(row["path"]).read_bytes()).hexdigest() == row["sha256"]


def test_a_dataset_is_never_written_over_another_and_nothing_is_left_of_one_that_failed(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(InvalidRequest, match="exists already"):
        export_labels(settings, tmp_path / "set", None)
    with pytest.raises(InvalidRequest, match="make it first"):
        export_labels(settings, tmp_path / "nowhere" / "set", None)
    with pytest.raises(WorkFailed, match="no image with a label"):
        export_labels(settings, tmp_path / "other", None)
    assert not [path for path in tmp_path.iterdir() if "other" in path.name]
