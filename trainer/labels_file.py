"""`labels.csv` in a labelled folder: which files there are, their labels, and whose they are."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from shared.base.errors import WrongSettings
from shared.base.filesystem import replace_file
from trainer.patients import Owner, Rule

NAME = "labels.csv"
COLUMNS = ("path", "label", "patient", "name", "patient_from")
"""`path` and `label` are needed. `name` is what patterns look at in place of the path, `patient_from` is a Rule."""
WITHOUT_LABEL = ("UNCLEAR", "NOT_READABLE")
"""What reviewers may say of an image from which nothing can be learnt."""
MAX_TOLD = 5


@dataclass(frozen=True)
class Row:
    """A line of the file; `owner` is None where it says nothing of the patient."""

    path: str
    label: str
    owner: Owner | None = None
    name: str | None = None
    line: int = 0


@dataclass
class LabelsFile:
    rows: list[Row] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)
    """Paths of rows whose label is one of WITHOUT_LABEL."""


def read(folder: Path, classes: tuple[str, ...]) -> LabelsFile:
    """The file's rows. Raises WrongSettings, naming up to MAX_TOLD lines that are wrong."""
    file = folder / NAME
    try:
        text = file.read_text(encoding="utf-8-sig", errors="surrogateescape")  # as names of files are decoded
    except OSError as error:
        raise WrongSettings(f"{file} cannot be read: {error.strerror}") from error
    found, wrong, seen = LabelsFile(), list[str](), dict[str, int]()
    for line, cells in _lines(file, text):
        try:
            row = _row(folder, cells, line, classes)
            if row.path in seen:
                raise ValueError(f"{row.path!r} stands in line {seen[row.path]} too")  # noqa: TRY301
        except ValueError as error:
            wrong.append(f"line {line}: {error}")
            continue
        seen[row.path] = line
        if row.label in classes:
            found.rows.append(row)
        else:
            found.unlabelled.append(row.path)
    if wrong:
        more = f"; and {len(wrong) - MAX_TOLD} more lines" if len(wrong) > MAX_TOLD else ""
        raise WrongSettings(f"{file}: {'; '.join(wrong[:MAX_TOLD])}{more}. Mend or remove these lines.")
    return found


def write(file: Path, rows: Iterable[Row]) -> None:
    """Write or replace the file; names that are not UTF-8 keep their bytes."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        owner = (row.owner.patient, "", row.owner.rule) if row.owner else ("", "", "")
        writer.writerow((row.path, row.label, owner[0], row.name or "", owner[2]))
    replace_file(file, buffer.getvalue().encode("utf-8", "surrogateescape"), mode=0o600)  # names may tell of patients


def _lines(file: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    first = text.split("\n", 1)[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    try:
        columns = [(column or "").strip().lower() for column in reader.fieldnames or []]
        if missing := {"path", "label"} - set(columns):
            raise WrongSettings(
                f"{file}: its first line must name the columns path and label, and may name patient; "
                f"{' and '.join(sorted(missing))} is missing in {first.strip()[:200]!r}"
            )
        reader.fieldnames = columns
        for cells in reader:
            yield reader.line_num, {key: value.strip() for key, value in cells.items() if isinstance(value, str)}
    except csv.Error as error:
        raise WrongSettings(f"{file} is no CSV file from line {reader.line_num} on: {error}") from error


def _row(folder: Path, cells: dict[str, str], line: int, classes: tuple[str, ...]) -> Row:
    """Raises ValueError with what is wrong about it."""
    label = cells.get("label", "").upper()
    if label not in (*classes, *WITHOUT_LABEL):
        raise ValueError(f"the label {cells.get('label', '')!r} is neither {' nor '.join(classes)}")
    path = _path(folder, cells.get("path", ""))
    patient, rule = cells.get("patient", ""), cells.get("patient_from", "")
    try:
        owner = Owner(patient, Rule(rule) if rule else Rule.STATED) if patient else None
    except ValueError:
        raise ValueError(f"patient_from {rule!r} is none of {', '.join(Rule)}") from None
    return Row(path, label, owner, cells.get("name") or None, line)


def _path(folder: Path, text: str) -> str:
    """Relative to the folder and within it; the file itself may be a link, as in the folders of classes."""
    if not text or "\0" in text:
        raise ValueError("it names no file in the column path")
    if "\\" in text and not (folder / text).exists():
        text = text.replace("\\", "/")  # as Windows writes it
    path = PurePosixPath(text)
    is_outside = path.is_absolute() or ".." in path.parts or path.name == ""
    if is_outside or not (folder / path).parent.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"the path {text!r} leads out of the folder")
    return str(path)
