"""`accuracy`: how many pneumonias the running system misses, by its audit samples."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from cli.console import err, out, shown, table
from queries import accuracy as query
from queries.accuracy import Accuracy
from queries.instant import instant
from shared.base.errors import InvalidRequest
from shared.base.settings import Settings
from shared.database import opened
from shared.statistics.weighted import Share

COLUMNS = (
    *("source", "version", "drawn", "read", "undecided", "waiting", "unread", "found", "missed"),
    *("recall", "specificity", "misses per 1,000"),
)


def accuracy(settings: Settings, source: str | None, since: str | None, format: str) -> None:
    if format not in ("table", "json"):
        raise InvalidRequest(f"--format must be table or json, not {format!r}.")
    begin = instant(since, "--since") if since else None
    with opened(settings) as database, database.read() as session:
        total, parts = query.overall(session, settings, source, begin, datetime.now(UTC))
    if format == "json":
        left_out = [{"source": source, "model_version": version} for source, version in total.left_out]
        found = {"total": {**_as_json(total), "left_out": left_out}, "parts": [_as_json(part) for part in parts]}
        out.file.write(json.dumps(found, indent=2, ensure_ascii=False, default=str) + "\n")
        return
    rows = [_row(part) for part in parts]
    table(COLUMNS, [*rows, _row(total)] if len(rows) != 1 else rows)
    err.print("Each bound holds with 95 %, by patient; each image weighs as much as those that it stands for.")
    _tell(settings, total)


def _tell(settings: Settings, total: Accuracy) -> None:
    reading = total.reading
    if not reading.drawn:
        err.print("No image was drawn yet: `audit_share` says how many are, when they are screened.")
        return
    if total.recall.value is None:
        err.print("Nothing can be said before images of both kinds were read: `pneumoscreen results --to-review`.")
    elif total.left_out:
        names = ", ".join(f"{shown(source)} ({version})" for source, version in total.left_out)
        err.print(
            f"The shares of all are without {names}: images of one answer at most were read there, so that nobody "
            "knows what was missed.",
            markup=False,
        )
    if reading.non_response:
        err.print(
            f"{reading.overdue} were not read within {settings.audit_days:g} days ({reading.non_response:.0%} "
            "non-response). Others of the same answer stand for them, which holds only if nobody chose what to leave."
        )


def _row(part: Accuracy) -> list[Any]:
    reading = part.reading
    return [
        *(part.source or "all", part.model_version or "all", reading.drawn, reading.read, reading.undecided),
        *(reading.waiting, reading.overdue, part.found, part.missed),
        *(_interval(part.recall, 3), _interval(part.specificity, 3), _interval(part.misses_per_1000, 1)),
    ]


def _interval(share: Share, digits: int) -> str:
    if share.value is None:
        return "unknown"
    return f"{share.value:.{digits}f} ({share.low:.{digits}f} to {share.high:.{digits}f})"


def _as_json(part: Accuracy) -> dict[str, Any]:
    figures = {"recall": part.recall, "specificity": part.specificity, "misses_per_1000": part.misses_per_1000}
    return {
        "source": part.source,
        "model_version": part.model_version,
        "since": part.since.isoformat() if part.since else None,
        "until": part.until.isoformat() if part.until else None,
        **asdict(part.reading),
        "non_response": part.reading.non_response,
        "found": part.found,
        "missed": part.missed,
        **{name: asdict(share) for name, share in figures.items()},
    }
