"""`review`: a reader's word on an image, or many of them from a CSV file; nothing is ever overwritten."""

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, cast, get_args

from sqlalchemy import ColumnElement, Row, insert, select
from sqlalchemy.orm import Session

from cli.console import out, progress
from cli.instant import instant
from shared.base.errors import WorkFailed, WrongSettings
from shared.base.settings import Settings
from shared.database import AuditEntry, Prediction, Review, Sighting, SightingState, opened
from shared.ledger.lookup import bearing, known_sources
from shared.ledger.register import MAX_ROWS, as_text

Label = Literal["NORMAL", "PNEUMONIA"]

MAX_LINES_SHOWN = 20
KEYS = ("sha256", "sighting_id", "path")
"""The columns that may say which image is meant; the first of them that is filled in counts."""
MAX_DIGITS = 18
"""No `sighting_id` is longer; a longer number would not fit into SQL's integers."""
LATEST = timedelta(days=1)
"""So far ahead a time may lie: one without a zone is taken as UTC, and the reader's clock may show a later hour."""

SEEN = (
    Sighting.id,
    Sighting.source,
    Sighting.path,
    Sighting.origin,
    Sighting.sha256,
    Sighting.state,
    Sighting.prediction_id,
)
Seen = Row[int, str, str, str | None, str | None, str, int | None]


@dataclass(frozen=True)
class ReviewEntry:
    """What somebody says of an image. `at` is None where the file does not say when."""

    key: str  # one of KEYS, or `target`: a path, else a number
    value: str
    label: Label
    by: str
    note: str | None
    at: datetime | None


def review(
    settings: Settings, target: str | None, label: str | None, by: str | None, note: str | None, csv_file: Path | None
) -> None:
    """Raises WrongSettings for words that make no sense, WorkFailed for an image that cannot be reviewed."""
    if csv_file is not None:
        if target or label:
            raise WrongSettings("Give either an image with its label, or --csv FILE, not both.")
        _import(settings, csv_file, by, note)
    elif target and label:
        word = ReviewEntry("target", as_text(target)[0], _label(label), _reviewer(by), _text(note), None)
        with opened(settings) as database, database.write() as session:
            sighting, sha256 = _meant(word, _looked_up(session, [word], known_sources(session)))
            session.add(_row(word, sha256, datetime.now(UTC)))
            session.add(_audit(word.by, f"sighting {sighting.id}: {word.label}"))
            said = session.scalar(select(Prediction.label).where(Prediction.id == sighting.prediction_id))
        out.print(f"{word.value}: {word.by} says {word.label}, the model said {said or 'nothing'}.", markup=False)
    else:
        raise WrongSettings(
            "Say which image and what it shows, as in `pneumoscreen review ward-7/scan.dcm NORMAL --by 'Dr. Okafor'`, "
            "or --csv FILE for many."
        )


def _import(settings: Settings, file: Path, by: str | None, note: str | None) -> None:
    """All or nothing: every line that makes no sense is named, and then none is taken. Twice the same adds nothing."""
    bad: dict[int, str] = {}
    words: list[tuple[int, ReviewEntry]] = []
    count = blank = 0
    for number, line in _lines(file):
        count += 1
        try:
            word = _word(line, by, note)
        except WrongSettings as error:
            bad[number] = str(error)
            continue
        if word is None:
            blank += 1
        else:
            words.append((number, word))
    new: list[Review] = []
    # SQLite lets nobody else write meanwhile, so rows are looked up by the thousand, not one by one.
    with opened(settings) as database, database.write() as session, progress() as bar:
        task, now = bar.add_task("checking lines", total=len(words)), datetime.now(UTC)
        roots = known_sources(session)
        meant: list[tuple[ReviewEntry, str]] = []
        for start in range(0, len(words), MAX_ROWS):
            part = words[start : start + MAX_ROWS]
            known = _looked_up(session, [word for _, word in part], roots)
            for number, word in part:
                try:
                    meant.append((word, _meant(word, known)[1]))
                except WorkFailed as error:
                    bad[number] = str(error)
            bar.advance(task, len(part))
        if bad:
            raise WorkFailed(f"{len(bad)} of {count} lines of {file} make no sense, so none was taken:\n{_listed(bad)}")
        new = _new(meant, _reviews(session, [sha256 for _, sha256 in meant]), now)
        if new:
            columns = ("sha256", "label", "reviewer", "note", "created_at")
            session.execute(insert(Review), [{name: getattr(row, name) for name in columns} for row in new])
        for reviewer, added in sorted(Counter(row.reviewer for row in new).items()):
            session.add(_audit(reviewer, f"{added} images from a file"))
    without = f", {blank} lines have no word yet" if blank else ""
    out.print(f"{len(new)} reviews were added, {len(words) - len(new)} were known already{without}.")


def _listed(bad: dict[int, str]) -> str:
    shown = "\n".join(f"line {number}: {reason}" for number, reason in sorted(bad.items())[:MAX_LINES_SHOWN])
    return shown + (f"\n… and {len(bad) - MAX_LINES_SHOWN} more" if len(bad) > MAX_LINES_SHOWN else "")


def _lines(file: Path) -> Iterator[tuple[int, dict[str | None, Any]]]:
    """Each line with its number; columns are named in the first one, in capitals or not. Raises WrongSettings."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongSettings(f"{file} cannot be read as UTF-8 text: {error}") from error
    if "\0" in text:
        raise WrongSettings(f"{file} cannot be read as UTF-8 text: it holds a zero byte. Save it as CSV in UTF-8.")
    first = text.split("\n", 1)[0]
    # Strict: a quote that is never closed would else swallow all further lines.
    reader = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=first.count), strict=True)
    try:
        names = [(name or "").strip().lower() for name in reader.fieldnames or []]
        _check_columns(file, names, first)
        reader.fieldnames = names
        for row in reader:
            yield (
                reader.line_num,
                {name: value.strip() if isinstance(value, str) else value for name, value in row.items()},
            )
    except csv.Error as error:
        raise WrongSettings(f"{file} is no CSV file from line {reader.line_num} on: {error}") from error


def _check_columns(file: Path, names: Sequence[str], first: str) -> None:
    if not {"label", "reviewed_label"} & set(names) or not set(KEYS) & set(names):
        raise WrongSettings(
            f"{file} needs a first line with `label` and one of {', '.join(KEYS)}; it has: {first.strip()[:200]}"
        )
    if "probability" in names and "reviewed_label" not in names:
        raise WrongSettings(
            f"{file} comes from `pneumoscreen results`, where `label` is what the model said: "
            "put the reader's word into a column `reviewed_label`."
        )


def _word(line: dict[str | None, Any], by: str | None, note: str | None) -> ReviewEntry | None:
    """None for a line of `results` to which no reader has added a word. Raises WrongSettings."""
    if None in line:
        raise WrongSettings("it has more cells than the first line: put quotes around a text with the separator in it")
    # In what `results` prints, `label` is the model's: taken for the reader's, it would train the next model.
    label = line.get("reviewed_label", line.get("label"))
    if not label and "reviewed_label" in line:
        return None
    key = next((key for key in KEYS if line.get(key)), None)
    if key is None:
        raise WrongSettings(f"it names no image ({', '.join(KEYS)})")
    return ReviewEntry(
        key,
        line[key].lower() if key == "sha256" else line[key],
        _label(label or ""),
        _reviewer(line.get("by") or by),
        line.get("note") or _text(note),
        _moment(line.get("reviewed_at")),
    )


def _moment(when: str | None) -> datetime | None:
    if not when:
        return None
    at = instant(when, "reviewed_at")
    if at > datetime.now(UTC) + LATEST:
        raise WrongSettings(f"reviewed_at lies in the future: {when!r}")
    return at


def _label(text: str) -> Label:
    if text.upper() not in get_args(Label):
        raise WrongSettings(f"a label is {' or '.join(get_args(Label))}, not {text!r}")
    return cast(Label, text.upper())


def _reviewer(by: str | None) -> str:
    if not by or not by.strip():
        raise WrongSettings("who says so is missing: --by NAME (or a column `by`)")
    return as_text(by.strip())[0]


def _text(note: str | None) -> str | None:
    return as_text(note.strip())[0] or None if note else None


def _looked_up(
    session: Session, words: Sequence[ReviewEntry], roots: Sequence[str]
) -> dict[tuple[str, str], list[Seen]]:
    """The sightings of what at most MAX_ROWS words name, by key and value."""
    named = {key: {word.value for word in words if word.key == key} for key in (*KEYS, "target")}
    paths = named["path"] | named["target"]
    numbers = {n for n in named["sighting_id"] | named["target"] if n.isdecimal() and len(n) <= MAX_DIGITS}
    wanted: list[tuple[str, ColumnElement[bool]]] = []
    if named["sha256"]:
        wanted.append(("sha256", Sighting.sha256.in_(named["sha256"])))
    if numbers:
        wanted.append(("id", Sighting.id.in_([int(number) for number in numbers])))
    if paths:
        wanted += [("path", condition) for condition in bearing(paths, roots)]
    found: dict[tuple[str, str], list[Seen]] = defaultdict(list)
    for column, condition in wanted:
        query = select(*SEEN).where(condition, Sighting.state != SightingState.SUPERSEDED)
        for row in session.execute(query):
            if column == "path":
                for name in paths & {row.path, f"{row.source}/{row.path}", row.origin}:
                    found["path", name].append(row)
            else:
                found["sighting_id" if column == "id" else column, str(row._mapping[column])].append(row)
    return found


def _meant(word: ReviewEntry, known: dict[tuple[str, str], list[Seen]]) -> tuple[Seen, str]:
    """The newest sighting of the image that is meant, and its content. Raises WorkFailed."""
    keys = ("path", "sighting_id") if word.key == "target" else (word.key,)
    rows = next((known[key, word.value] for key in keys if (key, word.value) in known), None)
    if rows is None:
        named = f"image with the SHA-256 {word.value!r}" if word.key == "sha256" else f"image {word.value!r}"
        raise WorkFailed(f"there is no {named}: `pneumoscreen results` shows those that there are")
    rows = sorted(rows, key=lambda row: row.id, reverse=True)
    newest: dict[str, Seen] = {}
    for row in rows:
        newest.setdefault(f"{row.source}/{row.origin or row.path}", row)
    contents = {row.sha256 for row in newest.values()}
    if len(contents) > 1:
        choice = ", ".join(f"{row.id} is {name}" for name, row in newest.items())
        raise WorkFailed(f"{word.value!r} stands for several images: name one by its sighting_id ({choice})")
    sighting, (sha256,) = rows[0], contents
    if sha256 is None:
        is_waiting = sighting.state == SightingState.WAITING
        then = "wait for its result" if is_waiting else "`pneumoscreen results` tells why; mend that, then `retry`"
        raise WorkFailed(f"{word.value!r} was not read{' yet' * is_waiting}, so there is no content to review: {then}")
    return sighting, sha256


def _reviews(session: Session, contents: Sequence[str]) -> dict[tuple[str, str], list[Review]]:
    """What is on record about contents, by content and reviewer, the last word last."""
    said: dict[tuple[str, str], list[Review]] = defaultdict(list)
    wanted = sorted(set(contents))
    for start in range(0, len(wanted), MAX_ROWS):
        part = Review.sha256.in_(wanted[start : start + MAX_ROWS])
        for row in session.scalars(select(Review).where(part).order_by(Review.id)):
            said[str(row.sha256), row.reviewer].append(row)
    return said


def _new(
    words: Sequence[tuple[ReviewEntry, str]], said: dict[tuple[str, str], list[Review]], now: datetime
) -> list[Review]:
    """The words that are not on record, in the order in which they were said, so that the last one counts.

    One with a time is on record if the same was said at that time. Those without a time are if the reviewer's last word
    is the last of them: then the file was imported before, and nobody has changed their mind since.
    """
    new = []

    def add(word: ReviewEntry, sha256: str) -> None:
        new.append(_row(word, sha256, word.at or now))
        said[sha256, word.by].append(new[-1])

    for word, sha256 in sorted((found for found in words if found[0].at), key=lambda found: found[0].at or now):
        if not any(_is_same(row, word) and row.created_at == word.at for row in said[sha256, word.by]):
            add(word, sha256)
    timeless = [(word, sha256) for word, sha256 in words if word.at is None]
    last = {(sha256, word.by): word for word, sha256 in timeless}
    known = {whose for whose, word in last.items() if said[whose] and _is_same(said[whose][-1], word)}
    for word, sha256 in timeless:
        mine = said[sha256, word.by]
        if (sha256, word.by) not in known and not (mine and _is_same(mine[-1], word)):
            add(word, sha256)
    return new


def _is_same(row: Review, word: ReviewEntry) -> bool:
    return (row.label, row.note) == (word.label, word.note)


def _row(word: ReviewEntry, sha256: str, at: datetime) -> Review:
    return Review(sha256=sha256, label=word.label, reviewer=word.by, note=word.note, created_at=at)


def _audit(actor: str, detail: str) -> AuditEntry:
    return AuditEntry(at=datetime.now(UTC), actor=actor, action="review", detail=detail)
