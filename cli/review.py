"""`review`: a reader's word on an image, or many of them from a CSV file."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from actions import actor, review_file, review_import, reviews, withdrawal
from actions.review_import import Imported
from actions.reviews import Manner, Reviewed, ReviewEntry
from cli.console import err, out, progress, shown
from queries import draws
from shared.base.errors import InvalidRequest, WorkFailed
from shared.base.settings import Settings
from shared.database import ReviewMethod, opened

MAX_LINES_SHOWN = 20
AFTER_MODEL = "not taken as blind"


def review(
    settings: Settings,
    which: str | None,
    label: str | None,
    by: str | None,
    note: str | None,
    csv_file: Path | None,
    *,
    blind: bool = False,
    draw: int | None = None,
    withdraw: bool = False,
) -> None:
    """Raises InvalidRequest for words that make no sense, WorkFailed for an image that cannot be reviewed."""
    manner = Manner(is_blind=blind or draw is not None, draw=draw, seniors=settings.senior_readers)
    if withdraw:
        if not which or label or csv_file or blind or draw:
            raise InvalidRequest("--withdraw takes an image and --by NAME alone: it takes that reader's word back.")
        _withdraw(settings, which, actor.named(by))
    elif csv_file is not None:
        if which or label:
            raise InvalidRequest("Give either an image with its label, or --csv FILE, not both.")
        _import(settings, csv_file, by, note, replace(manner, method=ReviewMethod.CSV))
    elif which and label:
        word, reviewer = reviews.parse_label(label), actor.named(by)
        entry = ReviewEntry(which, word, reviewer, review_file.parse_note(note))
        with opened(settings) as database, database.write() as session:
            reviewed = reviews.review(session, entry, datetime.now(UTC), manner)
            is_apart = reviewed.is_blind and draw is None
            unserved = draws.newest_with(session, reviewed.sighting_id) if is_apart else None
        _tell_one(reviewed, manner, unserved)
    else:
        raise InvalidRequest(
            "Say which image and what it shows, as in `pneumoscreen review ward-7/scan.dcm NORMAL --by 'Dr. Okafor'`, "
            "or --csv FILE for many."
        )


def _tell_one(reviewed: Reviewed, manner: Manner, unserved: int | None) -> None:
    """Of a blind word, the model's answer is not told: the reader may be asked about the same picture again.

    `unserved` is a draw with the image in it, for which the word does not count.
    """
    entry = reviewed.entry
    said = f"{shown(entry.name)}: {entry.reviewer} says {entry.label}"
    if reviewed.is_blind:
        out.print(f"{said}, blind.", markup=False)
        if unserved is not None:
            err.print(
                f"It trains. The image is in draw {unserved}: for that it counts only if you say --draw {unserved}."
            )
    elif manner.is_blind:
        out.print(f"{said}.", markup=False)
        err.print(f"{AFTER_MODEL}: the model's answer was in sight before, or told after an earlier word.")
    else:
        out.print(f"{said}, the model said {reviewed.model_label or 'nothing'}.", markup=False)
        err.print("In sight of the model's answer, a word is shown, and neither trains nor counts: see --blind.")


def _withdraw(settings: Settings, which: str, reader: str) -> None:
    with opened(settings) as database, database.write() as session:
        withdrawn = withdrawal.withdraw(session, which, reader, datetime.now(UTC))
    words = "1 word" if withdrawn.words == 1 else f"{withdrawn.words} words"
    out.print(f"{shown(which)}: {words} of {reader} taken back; on record, they count no more.", markup=False)


def _import(settings: Settings, path: Path, by: str | None, note: str | None, manner: Manner) -> None:
    """All or nothing: every line that makes no sense is named, and then none is taken."""
    now = datetime.now(UTC)
    file = review_file.parse(
        _read(path), str(path), by, note, now, is_blind=manner.is_blind, is_of_draw=manner.draw is not None
    )
    with opened(settings) as database, progress() as bar:
        task = bar.add_task("checking lines", total=len(file.entries))
        with database.write() as session:
            imported, wrong = review_import.import_words(
                session,
                file.entries,
                now,
                lambda lines: bar.advance(task, lines),
                manner=manner,
                refuse=bool(file.wrong),
            )
    if wrong := {**file.wrong, **wrong}:
        raise WorkFailed(
            f"{len(wrong)} of {file.lines} lines of {path} make no sense, so none was taken:\n{_listed(wrong)}"
        )
    _tell(imported, file.blank)


def _tell(imported: Imported, blank: int) -> None:
    without = f", {blank} lines have no word yet" if blank else ""
    out.print(f"{imported.added} reviews were added, {imported.known} were known already{without}.")
    if number := imported.after_model:
        err.print(f"{number} of them are {AFTER_MODEL}: their readers had seen the model's answer before.")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} cannot be read as UTF-8 text: {error}") from error


def _listed(wrong: dict[int, str]) -> str:
    lines = "\n".join(f"line {number}: {reason}" for number, reason in sorted(wrong.items())[:MAX_LINES_SHOWN])
    return lines + (f"\n… and {len(wrong) - MAX_LINES_SHOWN} more" if len(wrong) > MAX_LINES_SHOWN else "")
