"""`results`: rows of the views, filtered, as a table or a file."""

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, Boolean, TextualSelect, bindparam, text
from sqlalchemy.orm import Session

from cli.console import err, out, table
from cli.instant import instant
from shared import sources
from shared.base.errors import WrongSettings
from shared.base.settings import Settings
from shared.database import opened
from shared.database.tables import Instant
from shared.ledger.lookup import known_sources

SHORT = ("sighting_id", "root", "path", "state", "label", "probability", "unfamiliar", "reviewed_label", "reason")
"""The table's columns. What most rows have in common is left out, so that a terminal has room for the others."""
HISTORY = (*SHORT, "model_version")
TO_REVIEW = ("why", "sighting_id", "root", "path", "label", "probability", "threshold", "outside_population")
FLAGS = ("unfamiliar", "outside_population")
"""SQLite has numbers in their place."""
TABLE_ROWS = 50
NEAR = 0.1
"""So far from the threshold, as a calibrated probability, a label is hardly more than a guess."""
URGENCY = {
    "unfamiliar": "unfamiliar",
    "near the threshold": f"abs(probability - threshold) <= {NEAR}",  # on both sides: a missed pneumonia costs most
    "positive": "label = 'PNEUMONIA'",
    "negative": "label = 'NORMAL'",
}
"""Why a reader should see a result, the most urgent first; the first that holds counts."""
WHY = "CASE " + " ".join(f"WHEN {test} THEN '{name}'" for name, test in URGENCY.items()) + " END"
RANK = "CASE " + " ".join(f"WHEN {test} THEN {rank}" for rank, test in enumerate(URGENCY.values())) + " END"
READING_ORDER = ", ".join(
    (
        RANK,
        "CASE WHEN outside_population THEN 0 ELSE 1 END",  # less to be trusted than others of the same urgency
        f"CASE WHEN {WHY} IN ('near the threshold', 'negative') THEN abs(probability - threshold) END",
        "probability DESC",  # where the distance does not count
        "sighting_id",
    )
)
STATES = ("waiting", "done", "quarantined")
LABELS = ("NORMAL", "PNEUMONIA")


@dataclass(frozen=True)
class Filters:
    state: str | None = None
    label: str | None = None
    path: str | None = None
    source: str | None = None
    model: str | None = None
    since: str | None = None
    to_review: bool = False


def results(settings: Settings, filters: Filters, limit: int | None, format: str, history: bool) -> None:
    if format not in ("table", "csv", "json", "parquet"):
        raise WrongSettings(f"--format must be table, csv, json or parquet, not {format!r}.")
    if filters.to_review and history:
        raise WrongSettings("--to-review looks at the newest results: it does not go with --history.")
    limit = limit or (TABLE_ROWS if format == "table" else None)
    with opened(settings) as with_database, with_database.read() as session:
        _check_root(settings, session, filters.source)
        result = session.execute(_query(filters, limit, history))
        columns = list(result.keys())
        rows = (dict(zip(columns, row, strict=True)) for row in result.yield_per(1000))
        if format == "table":
            names = TO_REVIEW if filters.to_review else HISTORY if history else SHORT
            shown = [[("yes" if row[name] else None) if name in FLAGS else row[name] for name in names] for row in rows]
            table([name.removesuffix("_label") for name in names], shown)  # for room
            if len(shown) == limit:
                err.print(f"The first {limit} are shown; --limit shows more, --format csv all.")
            err.print("A screening aid, not a diagnosis." if shown else "No row matches.")
        else:
            {"csv": _csv, "json": _json, "parquet": _parquet}[format](columns, rows)


def _check_root(settings: Settings, session: Session, root: str | None) -> None:
    """Raises WrongSettings for a name that no folder of the settings has, and none that rows still tell of."""
    configured = sources.build(settings)
    if root is None or root in configured:
        return
    known = sorted({*configured, *known_sources(session)})
    if root not in known:
        raise WrongSettings(f"There is no folder named {root!r}; there are: {', '.join(known)}.")


def _query(filters: Filters, limit: int | None, history: bool) -> TextualSelect:
    matches = {
        "state": _one_of(filters.state, "--state", (*STATES, "superseded") if history else STATES),
        "label": _one_of(filters.label and filters.label.upper(), "--label", LABELS),
        "root": filters.source,
        "model_version": filters.model,
    }
    conditions = [f"{column} = :{column}" for column, value in matches.items() if value]
    values: list[BindParameter[Any]] = [bindparam(column, value) for column, value in matches.items() if value]
    if filters.path:
        escaped = filters.path.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        conditions.append("path LIKE :path ESCAPE '\\'")
        values.append(bindparam("path", f"%{escaped}%"))
    if filters.since:
        conditions.append("seen_at >= :since")
        # Without its type PostgreSQL would be given text, and read that in the zone of its session.
        values.append(bindparam("since", instant(filters.since, "--since"), Instant))
    columns, order = "*", "sighting_id DESC"
    if filters.to_review:
        columns, order = f"{WHY} AS why, results.*", READING_ORDER
        conditions.append("state = 'done' AND reviewed_label IS NULL")
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    most = f"LIMIT {limit}" if limit else ""
    view = "results_history" if history else "results"
    query = text(f"SELECT {columns} FROM {view} {where} ORDER BY {order} {most}")  # noqa: S608 - every value is bound
    return query.bindparams(*values).columns(**dict.fromkeys(FLAGS, Boolean))


def _one_of(value: str | None, option: str, allowed: Sequence[str]) -> str | None:
    if value and value not in allowed:
        raise WrongSettings(f"{option} must be one of {', '.join(allowed)}, not {value!r}.")
    return value


def _csv(columns: list[str], rows: Iterator[dict[str, Any]]) -> None:
    writer = csv.DictWriter(sys.stdout, columns)
    writer.writeheader()
    for row in rows:
        writer.writerow({name: int(value) if isinstance(value, bool) else value for name, value in row.items()})


def _json(_columns: list[str], rows: Iterator[dict[str, Any]]) -> None:
    out.file.write("[")
    for number, row in enumerate(rows):
        out.file.write((",\n " if number else "\n ") + json.dumps(row, default=str, ensure_ascii=False))
    out.file.write("\n]\n")


def _parquet(columns: list[str], rows: Iterator[dict[str, Any]]) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise WrongSettings(
            "--format parquet needs the package pyarrow: pip install 'pneumoscreen[parquet]'."
        ) from error
    if sys.stdout.isatty():
        raise WrongSettings("Parquet is binary: send it to a file, as in `results --format parquet > results.parquet`.")
    found = list(rows)
    pq.write_table(pa.table({column: [row[column] for row in found] for column in columns}), sys.stdout.buffer)
