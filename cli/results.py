"""`results`: rows of the views, filtered, as a table or a file."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from cli.console import err, table
from cli.export import write_csv, write_json, write_parquet
from queries import results as query
from queries.instant import instant
from queries.results import Filters, Listing
from shared.base.errors import InvalidRequest
from shared.base.settings import Settings
from shared.database import opened

SHORT = (
    *("sighting_id", "source", "path", "state", "label", "probability", "unfamiliar", "reviewed_word"),
    *("model_version", "operating_point", "is_provisional", "reason"),
)
"""The table's columns. What most rows have in common is left out, so that a terminal has room for the others."""
OPTIONAL = {"label", "probability", "unfamiliar", "reviewed_word", "model_version", "reason", "resolution"} | {
    *("operating_point", "is_provisional", "why", "threshold"),
}
"""Columns that are left out where no row has a value, for the same reason."""
QUARANTINED = (*SHORT, "resolution")
REPAIRED = (*SHORT, "decoded_with")
TO_REVIEW = (
    *("why", "sighting_id", "lane", "seen_at", "source", "path", "accession_number"),
    *("label", "probability", "threshold", "outside_population"),
)
TITLES = {"reviewed_word": "reviewed", "model_version": "version", "accession_number": "accession"} | {
    **{"operating_point": "point", "is_provisional": "provisional"}
}
TABLE_ROWS = 50
WRITERS = {"csv": write_csv, "json": write_json, "parquet": write_parquet}


def results(
    settings: Settings,
    filters: Filters,
    limit: int | None = None,
    format: str = "table",
    *,
    since: str | None = None,
    patient: str | None = None,
    issuer: str | None = None,
) -> None:
    """`since`, `patient` and `issuer` are as the command line gives them, and join the filters."""
    if format != "table" and format not in WRITERS:
        raise InvalidRequest(f"--format must be table, csv, json or parquet, not {format!r}.")
    if issuer and not patient:
        raise InvalidRequest("--issuer says whose patient id it is: it goes with --patient ID.")
    if since:
        filters = replace(filters, since=instant(since, "--since"))
    if patient:
        filters = replace(filters, patient_key=query.key_of_patient(settings.patient_secret, patient, issuer))
    limit = limit or (TABLE_ROWS if format == "table" else None)
    with opened(settings) as database, database.read() as session:
        listing = query.find(session, settings, filters, datetime.now(UTC), limit)
        if format == "table":
            _print(listing, filters, limit)
        else:
            WRITERS[format](listing)


def _print(listing: Listing, filters: Filters, limit: int | None) -> None:
    names = _columns(filters)
    rows, without_point = [], Counter[str]()
    for row in listing.rows:
        rows.append({name: _cell(row[name]) for name in names})
        if row["label"] is not None and row.get("operating_point") is None:
            without_point[row["source"]] += 1
    columns = [name for name in names if name not in OPTIONAL or any(row[name] is not None for row in rows)]
    table([TITLES.get(name, name) for name in columns], [[row[name] for name in columns] for row in rows])
    if len(rows) == limit:
        err.print(f"The first {limit} are shown; --limit shows more, --format csv all.")
    if without_point:
        listed = ", ".join(f"{count} of {source}" for source, count in sorted(without_point.items()))
        err.print(f"By the version's own threshold, as the source had no operating point then: {listed}.", markup=False)
    if filters.to_review and any(row["probability"] is None for row in rows):
        err.print("Where an image is read blind, what the model says comes after the word, and is left out here.")
    err.print("A screening aid, not a diagnosis." if rows else "No row matches.")


def _columns(filters: Filters) -> tuple[str, ...]:
    if filters.to_review:
        return TO_REVIEW
    if filters.state == "quarantined":
        return QUARANTINED
    return REPAIRED if filters.repaired else SHORT


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else None
    return f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else value
