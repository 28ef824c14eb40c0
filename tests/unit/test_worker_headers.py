"""What stays of a DICOM file's header in the database, and what does not."""

import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from shared.base.filesystem import MARKER
from shared.base.settings import load
from shared.base.source_settings import FolderSettings
from shared.database import Database
from shared.imaging.identifiers import read_identifiers as read
from tests.dicom import NAME, PATIENT, make, written
from tests.models import go_live, make_linear_version
from tests.unit.steps import rows
from tests.unit.test_screening import drop, message
from worker.process import WorkerProcess
from worker.screening import screen_message

SECRET = "a secret of thirty characters!"
PIXELS = np.random.default_rng(0).integers(0, 4096, (80, 90)).astype(np.uint16)


@pytest.fixture
def process(tmp_path: Path, database: Database) -> Iterator[WorkerProcess]:
    (tmp_path / "ward").mkdir()
    (tmp_path / "ward" / MARKER).touch()
    go_live(database, make_linear_version(tmp_path / "models", "v1"))
    url = database.engine.url.render_as_string(hide_password=False)
    folders = {"ward": FolderSettings(path=tmp_path / "ward")}
    process = WorkerProcess(load(tmp_path, database_url=url, sources=folders, patient_secret=SECRET))
    yield process
    process.stop()
    process.threads.shutdown()
    process.database.close()


def screened(process: WorkerProcess, database: Database, tmp_path: Path, **elements: Any) -> dict[str, Any]:
    drop(database, tmp_path / "ward" / "a.dcm", written(make(PIXELS, **elements)))
    screen_message(process, message(database))
    (row,) = rows(database)
    return dict(row)


def test_a_result_can_be_joined_to_a_pacs(process: WorkerProcess, database: Database, tmp_path: Path) -> None:
    row = screened(process, database, tmp_path, StudyInstanceUID="1.2.3", SOPInstanceUID="1.2.3.4")
    assert row["state"] == "done"
    assert (row["study_uid"], row["sop_instance_uid"], row["accession_number"]) == ("1.2.3", "1.2.3.4", "A-2026-0042")


def test_a_quarantined_dicom_file_can_be_joined_to_a_pacs_too(
    process: WorkerProcess, database: Database, tmp_path: Path
) -> None:
    row = screened(process, database, tmp_path, ViewPosition="LL", StudyInstanceUID="1.2.3")
    assert (row["state"], row["study_uid"]) == ("quarantined", "1.2.3")
    assert "frontal" in row["reason"]


def test_the_patients_id_is_kept_as_a_keyed_hash_and_nothing_else_of_the_patient(
    process: WorkerProcess, database: Database, tmp_path: Path
) -> None:
    row = screened(process, database, tmp_path)
    assert row["patient_key"] == hmac.new(SECRET.encode(), f"|{PATIENT}".encode(), hashlib.sha256).hexdigest()
    stored = ""
    with database.read() as session:
        for table in ("sightings", "jobs", "predictions", "screenings", "dicom_headers", "workers", "audit_log"):
            stored += str(session.execute(text(f"SELECT * FROM {table}")).all())
    for attribute in (PATIENT, "Mustermann", "Erika", NAME, "20220501"):
        assert attribute not in stored


def test_one_patient_has_one_key_and_another_secret_gives_another() -> None:
    first, second = written(make(PIXELS)), written(make(PIXELS, AccessionNumber="B"))
    other = written(make(PIXELS, PatientID="another"))
    keys = [read(data, SecretStr(SECRET))[0].patient_key for data in (first, second, other)]
    assert keys[0] == keys[1] != keys[2]
    assert read(first, SecretStr("another secret of some length"))[0].patient_key != keys[0]


def test_without_a_secret_nothing_is_kept_of_the_patient() -> None:
    identifiers, _ = read(written(make(PIXELS)), None)
    assert identifiers.patient_key is None
    assert identifiers.study_uid is not None


@pytest.mark.parametrize(("age", "outside"), [("004Y", False), ("061Y", True)])
def test_an_age_that_the_model_was_not_fitted_on_sets_a_flag(
    process: WorkerProcess, database: Database, tmp_path: Path, age: str, outside: bool
) -> None:
    row = screened(process, database, tmp_path, PatientAge=age)
    assert bool(row["outside_population"]) is outside


def test_of_a_picture_without_a_header_nothing_is_said(
    process: WorkerProcess, database: Database, tmp_path: Path
) -> None:
    from tests.unit.test_screening import png

    drop(database, tmp_path / "ward" / "a.png", png())
    screen_message(process, message(database))
    (row,) = rows(database)
    assert (row["outside_population"], row["study_uid"], row["patient_key"]) == (None, None, None)


def test_the_same_file_under_two_names_has_one_header(
    process: WorkerProcess, database: Database, tmp_path: Path
) -> None:
    data = written(make(PIXELS, StudyInstanceUID="1.2.3"))
    for name in ("a.dcm", "b.dcm"):
        drop(database, tmp_path / "ward" / name, data)
    screen_message(process, message(database))
    assert [row["study_uid"] for row in rows(database)] == ["1.2.3", "1.2.3"]
    with database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM dicom_headers")) == 1


def test_no_log_line_holds_what_a_header_says_of_the_patient(
    process: WorkerProcess, database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        screened(process, database, tmp_path, Modality="CT")
    for attribute in (PATIENT, "Mustermann", "a.dcm"):
        assert attribute not in caplog.text
