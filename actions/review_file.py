"""A CSV file of reviews: each line that makes sense becomes an entry, for each other one the reason is told."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from actions import actor
from actions.reviews import ReviewEntry, parse_label
from queries.instant import instant
from shared.base.errors import InvalidRequest
from shared.ledger.lookup import MAX_DIGITS, Key
from shared.ledger.register import as_text

KEYS = (Key.CONTENT, Key.SIGHTING, Key.PATH)
"""The columns that may say which image is meant; the first of them that is filled in counts."""
NUMBER = "number"
"""The column of an image's number in its draw; where a key is filled in beside it, both must mean the same image."""
CLOCKS_APART = timedelta(days=1)
"""So far ahead a time may lie: one without a zone is taken as UTC, and the reader's clock may show a later hour."""

Line = dict[str | None, Any]


@dataclass
class ReviewFile:
    """`entries` and `wrong` are by line number; `blank` counts lines to which nobody has added a word yet."""

    entries: list[tuple[int, ReviewEntry]] = field(default_factory=list)
    wrong: dict[int, str] = field(default_factory=dict)
    lines: int = 0
    blank: int = 0


def parse(
    text: str,
    name: str,
    by: str | None,
    note: str | None,
    now: datetime,
    *,
    is_blind: bool = False,
    is_of_draw: bool = False,
) -> ReviewFile:
    """`by` and `note` are for lines without their own. Raises InvalidRequest for what is no such file at all.

    A line that shows the model's answer holds no blind word. Of a draw, a column `number` may name the image.
    """
    file = ReviewFile()
    for number, line in _lines(text, name, is_of_draw=is_of_draw):
        file.lines += 1
        try:
            entry = _entry(line, by, note, now, is_of_draw=is_of_draw)
            _check_blindness(line, is_blind=is_blind and entry is not None)
        except InvalidRequest as error:
            file.wrong[number] = str(error)
            continue
        if entry is None:
            file.blank += 1
        else:
            file.entries.append((number, entry))
    return file


def parse_note(note: str | None) -> str | None:
    return as_text(note.strip())[0] or None if note else None


def _lines(text: str, name: str, *, is_of_draw: bool) -> Iterator[tuple[int, Line]]:
    """Each line with its number; columns are named in the first one, in capitals or not."""
    if "\0" in text:
        raise InvalidRequest(f"{name} cannot be read as UTF-8 text: it holds a zero byte. Save it as CSV in UTF-8.")
    first = text.split("\n", 1)[0]
    # Strict: a quote that is never closed would else swallow all further lines.
    reader = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=first.count), strict=True)
    try:
        columns = [(column or "").strip().lower() for column in reader.fieldnames or []]
        _check_columns(name, columns, first, (*((NUMBER,) if is_of_draw else ()), *KEYS))
        reader.fieldnames = columns
        for row in reader:
            cells = {key: value.strip() if isinstance(value, str) else value for key, value in row.items()}
            yield reader.line_num, cells
    except csv.Error as error:
        raise InvalidRequest(f"{name} is no CSV file from line {reader.line_num} on: {error}") from error


def _check_columns(name: str, columns: Sequence[str], first: str, keys: Sequence[str]) -> None:
    words = {"label", "reviewed_label", "reviewed_word"}
    if not words & set(columns) or not set(keys) & set(columns):
        raise InvalidRequest(
            f"{name} needs a first line with `label` and one of {', '.join(keys)}; it has: {first.strip()[:200]}"
        )
    if "probability" in columns and not {"reviewed_label", "reviewed_word"} & set(columns):
        raise InvalidRequest(
            f"{name} comes from `pneumoscreen results`, where `label` is what the model said: "
            "put the reader's word into a column `reviewed_label`."
        )


def _entry(line: Line, by: str | None, note: str | None, now: datetime, *, is_of_draw: bool) -> ReviewEntry | None:
    """None for a line of `results`, or of a draw's list, to which no reader has added a word. Raises InvalidRequest."""
    if None in line:
        raise InvalidRequest("it has more cells than the first line: put quotes around a text with the separator in it")
    word = _word(line)
    if word is None or (is_of_draw and not word):
        return None
    key = next((key for key in KEYS if line.get(key)), None)
    number = _number(line.get(NUMBER)) if is_of_draw else None
    if key is None and number is None:
        raise InvalidRequest(f"it names no image ({', '.join((*((NUMBER,) if is_of_draw else ()), *KEYS))})")
    return ReviewEntry(
        name=line[key] if key else "",
        label=parse_label(word),
        reviewer=actor.named(line.get("by") or by),
        note=line.get("note") or parse_note(note),
        at=_moment(line.get("reviewed_at"), now),
        keys=(key,) if key else (),
        number=number,
    )


def _check_blindness(line: Line, *, is_blind: bool) -> None:
    if is_blind and line.get("probability"):
        raise InvalidRequest(
            "it shows the model's answer (`probability`), so its word is not blind: have the list filled in that "
            "`pneumoscreen calibrate list-draw` or `pneumoscreen results --to-review --blind` prints"
        )


def _number(cell: str | None) -> int | None:
    if not cell:
        return None
    if not (cell.isascii() and cell.isdigit() and len(cell) <= MAX_DIGITS):
        raise InvalidRequest(f"its number in the draw is a whole number, not {cell!r}")
    return int(cell)


def _word(line: Line) -> str | None:
    """In what `results` prints, `label` is the model's: taken for the reader's, it would train the next model."""
    if not {"reviewed_label", "reviewed_word"} & line.keys():
        return line.get("label") or ""
    return line.get("reviewed_label") or line.get("reviewed_word") or None


def _moment(given: str | None, now: datetime) -> datetime | None:
    if not given:
        return None
    at = instant(given, "reviewed_at")
    if at > now + CLOCKS_APART:
        raise InvalidRequest(f"reviewed_at lies in the future: {given!r}")
    return at
