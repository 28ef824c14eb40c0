"""The tables, as typed models. `docs/results.md` explains the views that people query.

The views stand in `views.py`. A change comes with a migration, which SCHEMA in `shared/base/schema.py` names.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from shared.base.lanes import Lane

BigId = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up by itself only for INTEGER


class Instant(TypeDecorator[datetime]):
    """An aware datetime in UTC, also on SQLite, which stores text without a zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a datetime without a time zone")
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class SightingState(StrEnum):
    WAITING = "waiting"  # registered, its job is not finished
    DONE = "done"  # points to a prediction
    QUARANTINED = "quarantined"  # will never be screened as it is; `reason` says why
    SUPERSEDED = "superseded"  # the file changed before it was read; a newer sighting took its place


class Resolution(StrEnum):
    """Why a quarantined image needs nobody any more."""

    REMOVED = "removed"  # its file is gone
    DISMISSED = "dismissed"  # a person said that it needs nothing


class JobState(StrEnum):
    UNSENT = "unsent"  # waits in SQL for a place in its lane
    SENT = "sent"  # is in Redis, under the job's attempt number
    CLAIMED = "claimed"  # a worker holds it until `lease_until`
    FINISHED = "finished"  # its sighting has a final state


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: Instant, int: BigId, str: Text}


def one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(str(value)) for value in values)})", name=column)


class Prediction(Base):
    """What one version answered for one content as one revision of the decoder reads it; no figure of it ever changes.

    `decoder_revision` may rise (and `decoded_with` with it) where a newer decoder was found to read the same picture.
    """

    __tablename__ = "predictions"
    __table_args__ = (
        UniqueConstraint("sha256", "model_version", "decoder_revision"),
        Index("ix_predictions_decoder_revision", "decoder_revision"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    model_version: Mapped[str] = mapped_column(String(64))
    decoder_revision: Mapped[int] = mapped_column(server_default=text("0"))  # 0 for rows of older schemas
    decoded_with: Mapped[str | None]  # what was assumed about the file; None if its header was followed as it is
    logit: Mapped[float | None]  # the network's answer before calibration; None for rows of older schemas
    unfamiliar_score: Mapped[float | None]  # novelty score; unfamiliar above the version's limit
    outside_population: Mapped[bool | None]  # the patient's age is outside the version's training population
    evidence: Mapped[bytes | None]  # the map, as `shared.models.evidence.pack` gives it, where it is kept
    created_at: Mapped[datetime]


class DicomHeader(Base):
    """What is kept of a DICOM header, by content: enough to join a result to a PACS, nothing about the patient."""

    __tablename__ = "dicom_headers"
    __table_args__ = (
        Index("ix_dicom_headers_study_uid", "study_uid"),
        Index("ix_dicom_headers_accession_number", "accession_number"),
        Index(
            "ix_dicom_headers_patient_key",
            "patient_key",
            sqlite_where=text("patient_key IS NOT NULL"),
            postgresql_where=text("patient_key IS NOT NULL"),
        ),
    )

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    study_uid: Mapped[str | None]
    sop_instance_uid: Mapped[str | None]
    accession_number: Mapped[str | None]
    patient_key: Mapped[str | None] = mapped_column(String(64))  # HMAC-SHA-256 of the patient's id


class Sighting(Base):
    """One drop of one file."""

    __tablename__ = "sightings"
    __table_args__ = (
        Index(
            "uq_sightings_file",
            "source",
            "path",
            "revision",
            unique=True,
            sqlite_where=text("state = 'waiting'"),  # a file may become again what it was once
            postgresql_where=text("state = 'waiting'"),
        ),
        Index("ix_sightings_path", "source", "path", "id"),
        Index("ix_sightings_state", "state"),
        Index("ix_sightings_finished_at", "finished_at"),
        Index("ix_sightings_sha256", "sha256"),
        Index(
            "ix_sightings_finished",  # a source's images in the order of their arrival, but for those that wait
            "source",
            "id",
            sqlite_where=text("finished_at IS NOT NULL"),
            postgresql_where=text("finished_at IS NOT NULL"),
        ),
        Index(
            "ix_sightings_origin",
            "origin",
            sqlite_where=text("origin IS NOT NULL"),
            postgresql_where=text("origin IS NOT NULL"),
        ),
        one_of("state", SightingState),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str]
    path: Mapped[str]
    path_bytes: Mapped[bytes | None] = mapped_column(LargeBinary)  # the name as it is, where it is not valid UTF-8
    revision: Mapped[str] = mapped_column(server_default=text("''"))  # opaque: only its source reads it
    hint_host: Mapped[str | None]  # the host that saw `hint`; another one's says nothing
    hint: Mapped[str | None]  # what that host's file system says beside the revision
    checks: Mapped[int] = mapped_column(default=0, server_default=text("0"))  # how often a changed hint meant nothing
    size: Mapped[int]
    origin: Mapped[str | None]  # where `screen` copied it from
    lane: Mapped[str | None] = mapped_column(String(16))  # of its arrival; None for some rows of older schemas
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None]
    resolution: Mapped[str | None] = mapped_column(String(16))  # of a quarantined one: a Resolution, or None
    sha256: Mapped[str | None] = mapped_column(String(64))
    prediction_id: Mapped[int | None] = mapped_column(ForeignKey("predictions.id"))
    override: Mapped[str | None]  # by whom and why that is the result, though its version was not in service
    seen_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class Screening(Base):
    """What a prediction meant for one sighting on its day; written once, never changed. The views read it."""

    __tablename__ = "screenings"
    __table_args__ = (
        Index("ix_screenings_prediction_id", "prediction_id", "sighting_id"),
        {"sqlite_with_rowid": False},  # in the order of its key: one tree, not two
    )

    sighting_id: Mapped[int] = mapped_column(ForeignKey("sightings.id"), primary_key=True)
    prediction_id: Mapped[int] = mapped_column(primary_key=True)  # deleted with its predictions
    probability: Mapped[float]
    threshold: Mapped[float]
    label: Mapped[str] = mapped_column(String(16))
    unfamiliar: Mapped[bool | None]
    operating_point_id: Mapped[int | None]  # what gave probability, threshold and label; None: the version's own
    override: Mapped[str | None]  # by whom and why a version that was not in service wrote it on that day
    created_at: Mapped[datetime]


class Job(Base):
    """A request to screen one sighting; the ledger moves it from state to state."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index(
            "ix_jobs_open",
            "state",
            "lane",
            "id",
            sqlite_where=text("state <> 'finished'"),
            postgresql_where=text("state <> 'finished'"),
        ),
        Index("ix_jobs_sighting_id", "sighting_id"),
        one_of("state", JobState),
        one_of("lane", Lane),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    sighting_id: Mapped[int] = mapped_column(ForeignKey("sightings.id"))
    model_version: Mapped[str | None] = mapped_column(String(64))  # None: whichever is live when it is screened
    lane: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int] = mapped_column(default=0)  # how often the job was sent: an older message is worthless
    tries: Mapped[int] = mapped_column(default=0, server_default=text("0"))  # how often a worker put it off
    strikes: Mapped[int] = mapped_column(default=0, server_default=text("0"))  # those that spoke against the image
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    deaths: Mapped[int] = mapped_column(default=0)  # processes that died with this image alone in hand
    problem: Mapped[str | None]  # why it was postponed, while it waits
    if_differs: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    """The result stays where the version answers as it did: then only the decoder's revision is noted."""
    is_check: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    """The file may be another one at the same revision: it is read, and screened only if its content differs."""
    override: Mapped[str | None]  # by whom and why it asks for a version that is not in service


OPEN_JOB = text("jobs.state <> 'finished'")
"""Add it to any condition on open jobs: only this exact text lets both databases use the index `ix_jobs_open`."""


class ReviewLabel(StrEnum):
    NORMAL = "NORMAL"
    PNEUMONIA = "PNEUMONIA"
    UNCLEAR = "UNCLEAR"  # the reader cannot tell: trains and counts nowhere
    NOT_READABLE = "NOT_READABLE"  # of the sighting alone; the other words are on the content


CLASS_LABELS = (ReviewLabel.NORMAL, ReviewLabel.PNEUMONIA)
"""The words that name a class: they alone train, count as labels, and are shown as `reviewed_label`."""


class ReviewMethod(StrEnum):
    """How a word was given."""

    CLI = "cli"
    CSV = "csv"
    PAGE = "page"
    BATCH = "batch"  # one word for many images at once: it neither calibrates nor counts


class Review(Base):
    """A person's word on an image; append-only but for its withdrawal. `shared/ledger/words.py` says what counts.

    The columns from `method` on are None for words of older schemas: these may train, and neither calibrate nor count.
    """

    __tablename__ = "reviews"
    __table_args__ = (
        Index("ix_reviews_sha256", "sha256"),
        Index("ix_reviews_sighting_id", "sighting_id"),
        Index("ix_reviews_reviewer", "reviewer", "id"),
        Index(
            "uq_reviews_submission",
            "reviewer",
            "submission",
            unique=True,
            sqlite_where=text("submission IS NOT NULL"),
            postgresql_where=text("submission IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str | None] = mapped_column(String(64))  # None for a word on an image that could not be read
    sighting_id: Mapped[int | None]  # which image was looked at; None for some rows of older schemas
    label: Mapped[str] = mapped_column(String(16))  # a ReviewLabel
    reviewer: Mapped[str]
    note: Mapped[str | None]
    created_at: Mapped[datetime]
    method: Mapped[str | None] = mapped_column(String(8))  # a ReviewMethod
    # Given without sight of probability, label, reason or another reader's word; a senior who decides between two words
    # sees these, but neither names nor the model's answer.
    is_blind: Mapped[bool | None]
    after_model: Mapped[bool | None]  # given after the model's answer was shown to this reader
    is_senior: Mapped[bool | None]  # the reader's role on that day: a senior's word outweighs the others
    draw_id: Mapped[int | None] = mapped_column(ForeignKey("draws.id"))  # the random draw for which it was asked
    withdrawn_at: Mapped[datetime | None]
    withdrawn_by: Mapped[str | None]
    withdrawn_because: Mapped[str | None]
    shown: Mapped[str | None] = mapped_column(String(8))  # what the reader saw before the word: a Shown
    other_finding: Mapped[bool | None]  # there is something else: a senior looks, and it trains and counts nowhere
    disagreement: Mapped[str | None] = mapped_column(String(8))  # why the word is another than the model's
    submission: Mapped[str | None] = mapped_column(
        String(64)
    )  # the page's own number of it: sent twice, it is one word


class Draw(Base):
    """A random sample of a source's screened images, to be read blind: what was drawn never changes."""

    __tablename__ = "draws"

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str]
    model_version: Mapped[str] = mapped_column(String(64))  # whose scores made the strata
    seed: Mapped[int]
    since: Mapped[datetime | None]  # of the images that it was drawn from
    until: Mapped[datetime]
    created_by: Mapped[str]
    created_at: Mapped[datetime]


class DrawMember(Base):
    """An image of a draw, with the probability with which it was drawn."""

    __tablename__ = "draw_members"
    __table_args__ = (
        UniqueConstraint("draw_id", "sha256"),
        Index("ix_draw_members_sha256", "sha256"),
    )

    draw_id: Mapped[int] = mapped_column(ForeignKey("draws.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # from 1; in an order of no meaning
    sighting_id: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))
    prediction_id: Mapped[int]
    stratum: Mapped[int]  # 0 for the lowest scores
    inclusion: Mapped[float]  # probability of being drawn, above 0, at most 1


class AuditSample(Base):
    """An image that `audit_share` put on the reading list, at random, when it was screened; one of each content."""

    __tablename__ = "audit_samples"
    __table_args__ = (
        UniqueConstraint("sha256", "source"),
        Index("ix_audit_samples_source", "source", "drawn_at"),
    )

    sighting_id: Mapped[int] = mapped_column(ForeignKey("sightings.id"), primary_key=True, autoincrement=False)
    source: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(64))
    prediction_id: Mapped[int]
    label: Mapped[str] = mapped_column(String(16))  # what the system said, of that day
    inclusion: Mapped[float]  # probability of being drawn, above 0, at most 1
    drawn_at: Mapped[datetime]


class OperatingPoint(Base):
    """How a source reads a version's logits: probability = sigmoid(slope * logit + intercept), ill from `threshold` on.

    Of a source and version, the applied one is that with an `applied_at` and without a `retired_at`.
    """

    __tablename__ = "operating_points"
    __table_args__ = (
        Index(
            "uq_operating_points_applied",
            "source",
            "model_version",
            unique=True,
            sqlite_where=text("applied_at IS NOT NULL AND retired_at IS NULL"),
            postgresql_where=text("applied_at IS NOT NULL AND retired_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str]
    model_version: Mapped[str] = mapped_column(String(64))
    slope: Mapped[float]
    intercept: Mapped[float]
    threshold: Mapped[float]
    method: Mapped[str] = mapped_column(String(16))  # intercept, slope, or threshold: what was fitted
    recall_goal: Mapped[float]
    recall_low: Mapped[float]  # one-sided 95 % lower bound of the recall at `threshold`
    words: Mapped[int]
    positives: Mapped[int]
    draw_id: Mapped[int | None] = mapped_column(ForeignKey("draws.id"))
    data_fingerprint: Mapped[str | None] = mapped_column(String(64))  # of the labelled folder instead of a draw
    is_provisional: Mapped[bool]  # the words do not prove the goal
    novelty_limit: Mapped[float | None]  # above which an image of the source is unfamiliar; None: the version's own
    figures: Mapped[str]  # JSON: recall, specificity, predictive values with their intervals, and the fit's details
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    applied_by: Mapped[str | None]
    applied_at: Mapped[datetime | None]
    reason: Mapped[str | None]  # why it was applied
    retired_by: Mapped[str | None]
    retired_at: Mapped[datetime | None]
    retired_because: Mapped[str | None]


class ShadowRun(Base):
    """A version that scores part of a source's images beside the live one, and never writes a result."""

    __tablename__ = "shadow_runs"

    id: Mapped[int] = mapped_column(primary_key=True)
    model_version: Mapped[str] = mapped_column(ForeignKey("model_versions.version"))
    source: Mapped[str]
    share: Mapped[float]  # of the images, above 0, at most 1
    started_by: Mapped[str]
    started_at: Mapped[datetime]
    ended_by: Mapped[str | None]
    ended_at: Mapped[datetime | None]


class ShadowScore(Base):
    """What a shadow version would have said of an image."""

    __tablename__ = "shadow_scores"
    __table_args__ = (
        UniqueConstraint("shadow_run_id", "sha256"),
        Index("ix_shadow_scores_sighting_id", "sighting_id"),
        Index("ix_shadow_scores_sha256", "sha256"),
        Index("ix_shadow_scores_shadow_run_id", "shadow_run_id", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    shadow_run_id: Mapped[int] = mapped_column(ForeignKey("shadow_runs.id"))
    sighting_id: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))
    prediction_id: Mapped[int]  # of the version in service, with which it is compared
    logit: Mapped[float]
    probability: Mapped[float]
    threshold: Mapped[float]
    label: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime]


class DriftReference(Base):
    """The images of a source with which its later ones are compared, under one version; the newest row counts.

    `images`, `since`, `until` and `sample` are None until there are enough of them.
    """

    __tablename__ = "drift_references"
    __table_args__ = (UniqueConstraint("source", "model_version", "first_sighting_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str]
    model_version: Mapped[str] = mapped_column(String(64))
    first_sighting_id: Mapped[int]  # they begin with it
    images: Mapped[int | None]
    since: Mapped[datetime | None]  # when the first and the last of them came
    until: Mapped[datetime | None]
    sample: Mapped[str | None]  # JSON: raw logits, novelty scores, and counts
    created_by: Mapped[str]
    reason: Mapped[str | None]  # why a person had it begin anew
    created_at: Mapped[datetime]


class DriftCheck(Base):
    """How the newest images of a source compared with its reference: the last few hundred, at the latest each week."""

    __tablename__ = "drift_checks"
    __table_args__ = (UniqueConstraint("source", "model_version", "last_sighting_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str]
    model_version: Mapped[str] = mapped_column(String(64))
    last_sighting_id: Mapped[int]  # the newest image of the window
    since: Mapped[datetime]  # when the window's first and last image came
    until: Mapped[datetime]
    images: Mapped[int]
    reference_images: Mapped[int]
    without_logit: Mapped[int]  # of the window's images: they are left out of scores and positives
    reference_without_logit: Mapped[int]
    level: Mapped[float]  # of each test of this look: a p-value up to it is an alarm
    psi: Mapped[float | None]  # population stability index of the raw logits
    p_value: Mapped[float | None]  # of the two-sample test of the raw logits
    novelty_psi: Mapped[float | None]  # the same of the novelty scores
    novelty_p_value: Mapped[float | None]
    version_psi: Mapped[float | None]  # of the raw logits, against those of the version's held-out images
    shares: Mapped[str]  # JSON: positive, unfamiliar, quarantined, outside the population, now and in the reference
    alarms: Mapped[str]  # JSON: by kind, what is out of the ordinary, a sentence each
    created_at: Mapped[datetime]


class VersionState(StrEnum):
    PUBLISHED = "published"  # may be made live
    REJECTED = "rejected"  # lost to the champion at the gate; kept with the figures that decided


class ModelVersion(Base):
    """A published version: an immutable folder in the home's `models`, known by its manifest's checksum."""

    __tablename__ = "model_versions"
    __table_args__ = (one_of("state", VersionState),)

    version: Mapped[str] = mapped_column(String(64), primary_key=True)
    manifest_sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(16), default=VersionState.PUBLISHED, server_default="published")
    verdict: Mapped[str | None]  # JSON: what the gate compared, and what decided
    tags: Mapped[str] = mapped_column(server_default=text("'[]'"), default="[]")  # JSON: words of the data scientists


class VersionNote(Base):
    """What somebody wrote about a version; append-only."""

    __tablename__ = "version_notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(ForeignKey("model_versions.version"))
    author: Mapped[str]
    note: Mapped[str]
    created_at: Mapped[datetime]


class Promotion(Base):
    """Who made which version live, and when; append-only. The row with the highest id says which version is live."""

    __tablename__ = "promotions"

    id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(ForeignKey("model_versions.version"))
    promoted_by: Mapped[str]
    promoted_at: Mapped[datetime]
    reason: Mapped[str | None]  # why a person did what the gate would not have
    undone_at: Mapped[datetime | None]  # when it was rolled back: the version counts in no comparison any more
    undone_because: Mapped[str | None]


class RunState(StrEnum):
    RUNNING = "running"  # alive while its heartbeat is young; else its successor resumes it
    PUBLISHED = "published"  # its version passed the gate and was made live
    REJECTED = "rejected"  # its version lost at the gate
    FAILED = "failed"  # `problem` says why


class TrainingRun(Base):
    """One training; at most one is running. A fence is handed out with each lease, and asked for when publishing."""

    __tablename__ = "training_runs"
    __table_args__ = (
        Index(
            "uq_training_runs_running",
            "state",
            unique=True,
            sqlite_where=text("state = 'running'"),
            postgresql_where=text("state = 'running'"),
        ),
        one_of("state", RunState),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    architecture: Mapped[str]
    cause: Mapped[str]  # schedule, labels, or the name of the person who asked for it
    state: Mapped[str] = mapped_column(String(16))
    fence: Mapped[int]
    reviews: Mapped[int]  # the highest id of the reviews that it learned from
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    version: Mapped[str | None] = mapped_column(String(64))
    problem: Mapped[str | None]


class AuditEntry(Base):
    """Who did what by hand, and when; append-only. Holds counts and row numbers, no name of a file or a patient."""

    __tablename__ = "audit_log"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str]
    action: Mapped[str] = mapped_column(String(32))
    detail: Mapped[str]


WORKER_ALIVE = timedelta(seconds=30)
"""A worker process whose heartbeat is older counts as gone."""
TRAINER_ALIVE = timedelta(minutes=2)
"""A training run whose heartbeat is older is dead, and another trainer may resume it."""


class Worker(Base):
    """A worker process, what it holds and when it last said so.

    Containers may have equal host names, and then equal process ids too: the random token tells them apart.
    """

    __tablename__ = "workers"

    host: Mapped[str] = mapped_column(primary_key=True)
    pid: Mapped[int] = mapped_column(primary_key=True)
    token: Mapped[str] = mapped_column(String(16), primary_key=True, default="", server_default=text("''"))
    device: Mapped[str]
    model_version: Mapped[str | None] = mapped_column(String(64))
    error: Mapped[str | None]
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]


class SourceState(Base):
    """What one host's producer says of a source that it watches: how, and what it can't see or leaves out."""

    __tablename__ = "source_states"

    source: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str] = mapped_column(primary_key=True)
    watched_by: Mapped[str] = mapped_column(String(16))  # events, polling, or nothing while it is away
    problem: Mapped[str | None]  # needs a person, such as why it is away
    remark: Mapped[str | None]  # it works, but less well than it might: why it is polled where events were expected
    files: Mapped[int | None]  # that the last whole sweep saw, ignored ones left out
    unreadable: Mapped[int]  # folders that could not be listed
    unreadable_names: Mapped[str]  # JSON: the first of them
    links: Mapped[int]  # links that are not followed
    links_names: Mapped[str]  # JSON: the first of them
    ignored: Mapped[str]  # JSON: how many files each pattern leaves out
    hung: Mapped[int]  # helper processes that a call on it holds
    swept_at: Mapped[datetime | None]  # when the last whole sweep ended
    began_at: Mapped[datetime]  # since when the producer says so, without a long silence
    seen_at: Mapped[datetime]  # when the producer last said so


class SourceArrival(Base):
    """When the last image of a source was registered: among a million sightings it would take long to find."""

    __tablename__ = "source_arrivals"

    source: Mapped[str] = mapped_column(primary_key=True)
    last_image_at: Mapped[datetime]


class DeadLetter(Base):
    """A message that no worker understood."""

    __tablename__ = "dead_letters"

    id: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str]
    reason: Mapped[str]
    received_at: Mapped[datetime]


class BrokerEpoch(Base):
    """The random value that the broker must hold; a broker that lacks it lost its messages."""

    __tablename__ = "broker_epoch"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    value: Mapped[str]
