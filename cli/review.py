"""`review`: a reader's word on an image, or many of them from a CSV file."""

from datetime import UTC, datetime
from pathlib import Path

from actions import actor, review_file, reviews
from actions.reviews import Imported, ReviewEntry
from cli.console import out, progress, shown
from shared.base.errors import InvalidRequest, WorkFailed
from shared.base.settings import Settings
from shared.database import opened

MAX_LINES_SHOWN = 20


def review(
    settings: Settings, which: str | None, label: str | None, by: str | None, note: str | None, csv_file: Path | None
) -> None:
    """Raises InvalidRequest for words that make no sense, WorkFailed for an image that cannot be reviewed."""
    if csv_file is not None:
        if which or label:
            raise InvalidRequest("Give either an image with its label, or --csv FILE, not both.")
        _import(settings, csv_file, by, note)
    elif which and label:
        word, reviewer = reviews.parse_label(label), actor.named(by)
        entry = ReviewEntry(which, word, reviewer, review_file.parse_note(note))
        with opened(settings) as database, database.write() as session:
            reviewed = reviews.review(session, entry, datetime.now(UTC))
        model = reviewed.model_label or "nothing"
        out.print(f"{shown(which)}: {reviewer} says {word}, the model said {model}.", markup=False)
    else:
        raise InvalidRequest(
            "Say which image and what it shows, as in `pneumoscreen review ward-7/scan.dcm NORMAL --by 'Dr. Okafor'`, "
            "or --csv FILE for many."
        )


def _import(settings: Settings, path: Path, by: str | None, note: str | None) -> None:
    """All or nothing: every line that makes no sense is named, and then none is taken."""
    now = datetime.now(UTC)
    file = review_file.parse(_read(path), str(path), by, note, now)
    with opened(settings) as database, progress() as bar:
        task = bar.add_task("checking lines", total=len(file.entries))
        with database.write() as session:
            imported, wrong = reviews.import_words(
                session, file.entries, now, lambda lines: bar.advance(task, lines), refuse=bool(file.wrong)
            )
    if wrong := {**file.wrong, **wrong}:
        raise WorkFailed(
            f"{len(wrong)} of {file.lines} lines of {path} make no sense, so none was taken:\n{_listed(wrong)}"
        )
    _tell(imported, file.blank)


def _tell(imported: Imported, blank: int) -> None:
    without = f", {blank} lines have no word yet" if blank else ""
    out.print(f"{imported.added} reviews were added, {imported.known} were known already{without}.")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} cannot be read as UTF-8 text: {error}") from error


def _listed(wrong: dict[int, str]) -> str:
    lines = "\n".join(f"line {number}: {reason}" for number, reason in sorted(wrong.items())[:MAX_LINES_SHOWN])
    return lines + (f"\n… and {len(wrong) - MAX_LINES_SHOWN} more" if len(wrong) > MAX_LINES_SHOWN else "")
