"""`review`: a reader's word on an image, or many of them from a CSV file; nothing is ever overwritten."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast, get_args

from sqlalchemy import select
from sqlalchemy.orm import Session

from cli.console import out, progress
from cli.opened import opened
from shared.database import AuditEntry, Prediction, Review, Sighting, SightingState
from shared.errors import WorkFailed, WrongSettings
from shared.manifest import Label
from shared.settings import Settings

MOST_LINES_SHOWN = 20
KEYS = ("sha256", "sighting_id", "path")
"""The columns that may say which image is meant; the first of them that is filled in counts."""


@dataclass(frozen=True)
class Word:
    """What somebody says of an image. `at` is None where the file does not say when."""

    key: str
    value: str
    label: Label
    by: str
    note: str | None
    at: datetime | None


def review(
    settings: Settings, target: str | None, label: str | None, by: str | None, note: str | None, file: Path | None
) -> None:
    if file is not None:
        if target or label:
            raise WrongSettings("Give either an image with its label, or --csv FILE, not both.")
        _import(settings, file, by, note)
    elif target and label:
        word = Word("target", target, _label(label), _reviewer(by), note, None)
        with opened(settings) as database, database.write() as session:
            sha256 = _content(session, word)
            session.add(_row(word, sha256, datetime.now(UTC)))
            session.add(_audit(word.by, f"1 image: {word.label}"))
            said = session.scalars(
                select(Prediction.label).where(Prediction.sha256 == sha256).order_by(Prediction.id.desc()).limit(1)
            ).first()
        out.print(f"{target}: {word.by} says {word.label}, the model said {said or 'nothing'}.", markup=False)
    else:
        raise WrongSettings(
            "Say which image and what it shows, as in `pneumoscreen review ward-7/scan.dcm NORMAL --by 'Dr. Okafor'`."
        )


def _import(settings: Settings, file: Path, by: str | None, note: str | None) -> None:
    """All or nothing: every line that makes no sense is named, and then none is taken. Twice the same adds nothing."""
    bad: list[str] = []
    lines = list(_lines(file))
    added = 0
    with opened(settings) as database, database.write() as session, progress() as bar:
        now = datetime.now(UTC)
        reviewers = set()
        for number, line in bar.track(lines, description="reading reviews"):
            try:
                word = _word(line, by, note)
                row = _row(word, _content(session, word), word.at or now)
            except (WrongSettings, WorkFailed) as error:
                bad.append(f"line {number}: {error}")
                continue
            if not _is_known(session, row, has_time=word.at is not None):
                session.add(row)
                session.flush()
                added += 1
                reviewers.add(word.by)
        if bad:
            more = f"\n… and {len(bad) - MOST_LINES_SHOWN} more" if len(bad) > MOST_LINES_SHOWN else ""
            shown = "\n".join(bad[:MOST_LINES_SHOWN])
            raise WorkFailed(
                f"{len(bad)} of {len(lines)} lines of {file} make no sense, so none was taken:\n{shown}{more}"
            )
        if added:
            session.add(_audit(", ".join(sorted(reviewers)), f"{added} images from a file"))
    out.print(f"{added} reviews were added, {len(lines) - added} were known already.")


def _lines(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Each line with its number; columns are named in the first one, in capitals or not."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongSettings(f"{file} cannot be read as UTF-8 text: {error}") from error
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    reader = csv.DictReader(text.splitlines(keepends=True), delimiter=separator)
    names = [(name or "").strip().lower() for name in reader.fieldnames or []]
    if "label" not in names or not set(KEYS) & set(names):
        raise WrongSettings(
            f"{file} needs a first line with `label` and one of {', '.join(KEYS)}; it has: {first.strip()}"
        )
    reader.fieldnames = names
    for row in reader:
        yield (
            reader.line_num,
            {name: (value or "").strip() for name, value in row.items() if isinstance(value, str | None)},
        )


def _word(line: dict[str, str], by: str | None, note: str | None) -> Word:
    key = next((key for key in KEYS if line.get(key)), None)
    if key is None:
        raise WrongSettings(f"it names no image ({', '.join(KEYS)})")
    when = line.get("reviewed_at")
    try:
        at = datetime.fromisoformat(when) if when else None
    except ValueError as error:
        raise WrongSettings(f"reviewed_at is no date or time: {when!r}") from error
    at = at.replace(tzinfo=UTC) if at and at.tzinfo is None else at
    label = _label(line.get("label", ""))
    return Word(key, line[key], label, _reviewer(line.get("by") or by), line.get("note") or note, at)


def _label(text: str) -> Label:
    if text.upper() not in get_args(Label):
        raise WrongSettings(f"a label is {' or '.join(get_args(Label))}, not {text!r}")
    return cast(Label, text.upper())


def _reviewer(by: str | None) -> str:
    if not by or not by.strip():
        raise WrongSettings("who says so is missing: --by NAME (or a column `by`)")
    return by.strip()


def _content(session: Session, word: Word) -> str:
    """The SHA-256 of the content that is meant."""
    if word.key == "sha256":
        known = select(Sighting.sha256).where(Sighting.sha256 == word.value.lower()).limit(1)
        if found := session.scalar(known):
            return found
        raise WorkFailed(f"no image with the SHA-256 {word.value!r} was ever screened")
    newest = select(Sighting).where(Sighting.state != SightingState.SUPERSEDED).order_by(Sighting.id.desc())
    sightings: dict[str, Sighting] = {}
    if word.key != "sighting_id":
        for sighting in session.scalars(newest.where(Sighting.path == word.value)):
            sightings.setdefault(sighting.root, sighting)
    if not sightings and word.key != "path" and word.value.isdecimal() and len(word.value) < 19:
        sightings = {
            sighting.root: sighting for sighting in session.scalars(newest.where(Sighting.id == int(word.value)))
        }
    if not sightings:
        raise WorkFailed(f"there is no image {word.value!r}: `pneumoscreen results` shows paths and numbers")
    contents = {sighting.sha256 for sighting in sightings.values()}
    if len(contents) > 1:
        choice = ", ".join(f"{sighting.id} in {root}" for root, sighting in sightings.items())
        raise WorkFailed(f"{word.value!r} stands for several images: name one by its sighting_id ({choice})")
    (sha256,) = contents
    if sha256 is None:
        raise WorkFailed(f"{word.value!r} was not read yet, so there is no content to review: wait for its result")
    return sha256


def _row(word: Word, sha256: str, at: datetime) -> Review:
    return Review(sha256=sha256, label=word.label, reviewer=word.by, note=word.note, created_at=at)


def _is_known(session: Session, row: Review, *, has_time: bool) -> bool:
    """Said at that time already; where the file gives no time, whether it is this reviewer's last word already."""
    mine = select(Review).where(Review.sha256 == row.sha256, Review.reviewer == row.reviewer).order_by(Review.id.desc())
    found = session.scalars(mine.where(Review.created_at == row.created_at) if has_time else mine.limit(1)).all()
    return any((review.label, review.note) == (row.label, row.note) for review in found)


def _audit(actor: str, detail: str) -> AuditEntry:
    return AuditEntry(at=datetime.now(UTC), actor=actor, action="review", detail=detail)
