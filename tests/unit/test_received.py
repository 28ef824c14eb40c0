"""Received files belong to us: how long they are kept, and what deletes them."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from actions.erasure import erase, plan
from actions.received import release
from shared.base import settings
from shared.base.lanes import Lane
from shared.base.settings import Settings
from shared.database import (
    AuditEntry,
    AuditSample,
    Database,
    Job,
    JobState,
    OutboxKind,
    OutboxMark,
    OutboxRow,
    OutboxState,
    Prediction,
    Resolution,
    Review,
    Sighting,
    SightingState,
)
from shared.ledger.register import add_jobs, register
from shared.sources import build
from shared.sources.dicom import DicomSource
from tests.node import NAME, sightings
from tests.unit.outbox_steps import pacs

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
KEEP, AUDIT = timedelta(days=30), timedelta(days=60)


@pytest.fixture
def chosen(database: Database, tmp_path: Path) -> Settings:
    return settings.load(tmp_path, sources={NAME: {"kind": "dicom"}})


@pytest.fixture
def source(chosen: Settings) -> DicomSource:
    source = build(chosen)[NAME]
    assert isinstance(source, DicomSource)
    source.prepare()
    return source


def put(database: Database, source: DicomSource, path: str, days: float = 40) -> int:
    """A received file of so many days ago, registered; its sighting."""
    file = source.root / path
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(path.encode())
    at = NOW - timedelta(days=days)
    os.utime(file, (at.timestamp(), at.timestamp()))
    found = source.find(path)
    assert found is not None
    with database.write() as session:
        (sighting,) = register(session, NAME, Lane.ROUTINE, [found], at)
    return sighting


def end(database: Database, sighting: int, state: SightingState = SightingState.DONE, **values: object) -> None:
    with database.write() as session:
        session.execute(update(Job).where(Job.sighting_id == sighting).values(state=JobState.FINISHED))
        at = NOW - timedelta(days=35)
        session.execute(update(Sighting).where(Sighting.id == sighting).values(state=state, finished_at=at, **values))


def released(database: Database, source: DicomSource, now: datetime = NOW) -> int:
    return release(database, source, {}, KEEP, AUDIT, "node", now)


def test_a_file_is_deleted_once_it_is_screened_and_old_enough_and_its_row_stays(
    database: Database, source: DicomSource
) -> None:
    old, young = put(database, source, "aa/1.dcm"), put(database, source, "ab/2.dcm", days=10)
    for sighting in (old, young):
        end(database, sighting)
    assert released(database, source) == 1
    assert source.exists("aa/1.dcm") is False
    assert not (source.root / "aa").exists()
    assert source.exists("ab/2.dcm") is True
    assert [row.id for row in sightings(database)] == [old, young]
    with database.read() as session:
        (entry,) = session.scalars(select(AuditEntry).where(AuditEntry.action == "release"))
    assert (entry.actor, entry.detail) == ("node", "1 files of pacs, older than 30 days")
    assert released(database, source) == 0


def test_what_waits_is_screened_again_or_needs_a_person_keeps_its_file(database: Database, source: DicomSource) -> None:
    waiting = put(database, source, "aa/1.dcm")
    again, damaged, dismissed = (put(database, source, f"ab/{n}.dcm") for n in (2, 3, 4))
    end(database, again)
    end(database, damaged, SightingState.QUARANTINED)
    end(database, dismissed, SightingState.QUARANTINED, resolution=Resolution.DISMISSED)
    with database.write() as session:
        add_jobs(session, [again], Lane.BACKGROUND, NOW)
    assert released(database, source) == 1
    assert [source.exists(path) for path in ("aa/1.dcm", "ab/2.dcm", "ab/3.dcm", "ab/4.dcm")] == [
        True,
        True,
        True,
        False,
    ]
    assert waiting


@pytest.mark.parametrize(
    ("state", "days", "is_deleted"),
    [
        (None, 0, False),
        (OutboxState.WAITING, 0, False),
        (OutboxState.SENDING, 0, False),
        (OutboxState.FAILED, 29, False),
        (OutboxState.FAILED, 31, True),
        (OutboxState.SENT, 0, True),
    ],
)
def test_a_file_stays_until_its_report_is_sent_or_failed_a_month_ago_since_the_patient_s_identity_is_in_it(
    database: Database, source: DicomSource, state: OutboxState | None, days: int, is_deleted: bool
) -> None:
    content = "a" * 64
    sighting = put(database, source, "aa/1.dcm")
    end(database, sighting, sha256=content)
    if state is not None:
        parts = {"subject": f"{NAME}:{content}", "edition": 1, "uid": "1.2.3", "facts": "{}"}
        settled_at = NOW - timedelta(days=days)
        with database.write() as session:
            session.add(OutboxMark(sighting_id=sighting, prediction_id=None, fingerprint="f" * 64))
            session.add(
                OutboxRow(
                    destination="archive",
                    kind=OutboxKind.REPORT,
                    source=NAME,
                    sighting_id=sighting,
                    sha256=content,
                    state=state,
                    created_at=NOW - timedelta(days=35),
                    settled_at=settled_at if state in (OutboxState.FAILED, OutboxState.SENT) else None,
                    **parts,
                )
            )
    assert release(database, source, {"archive": pacs()}, KEEP, AUDIT, "node", NOW) == is_deleted
    assert source.exists("aa/1.dcm") is not is_deleted


@pytest.mark.parametrize(
    ("word", "is_deleted"),
    [
        (None, False),
        ({"is_blind": False}, False),
        ({"is_blind": True, "withdrawn_at": NOW}, False),
        ({"is_blind": True}, True),
    ],
)
def test_a_file_that_was_drawn_to_be_read_blind_stays_until_it_is_or_its_time_is_over(
    database: Database, source: DicomSource, word: dict[str, object] | None, is_deleted: bool
) -> None:
    sighting = put(database, source, "aa/1.dcm")
    content = "a" * 64
    with database.write() as session:
        session.add(Prediction(id=1, sha256=content, model_version="v1", decoder_revision=1, created_at=NOW))
        drawn = {"sha256": content, "prediction_id": 1, "label": "NORMAL", "inclusion": 0.02}
        session.add(AuditSample(sighting_id=sighting, source=NAME, drawn_at=NOW - timedelta(days=35), **drawn))
        if word is not None:
            given = {"label": "NORMAL", "reviewer": "Dr. A", "created_at": NOW, "method": "cli", **word}
            session.add(Review(sha256=content, **given))
    end(database, sighting, sha256=content)
    assert released(database, source) == int(is_deleted)
    assert released(database, source, NOW + AUDIT) == int(not is_deleted)


def test_an_image_that_comes_again_after_its_file_was_deleted_is_a_new_sighting(
    database: Database, source: DicomSource
) -> None:
    end(database, put(database, source, "aa/1.dcm"))
    released(database, source)
    assert put(database, source, "aa/1.dcm", days=0)
    assert len(sightings(database)) == 2


def test_forget_deletes_the_received_file_with_its_rows(
    database: Database, source: DicomSource, chosen: Settings
) -> None:
    sighting = put(database, source, "aa/1.dcm")
    end(database, sighting)
    erase(database, plan(database, build(chosen), str(sighting)), "Ada", NOW)
    assert source.exists("aa/1.dcm") is False
    assert sightings(database) == []


def test_a_folder_of_ones_own_is_never_made_since_it_may_be_a_share_that_is_away(tmp_path: Path) -> None:
    chosen = settings.load(tmp_path / "home", sources={NAME: {"kind": "dicom", "path": tmp_path / "share"}})
    source = build(chosen)[NAME]
    source.prepare()
    assert not (tmp_path / "share").exists()
    assert (source.kind, source.is_owned, source.is_watched) == ("dicom", True, False)
