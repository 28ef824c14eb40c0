"""`screen`: existing files are submitted, waited for and shown."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import typer

from actions import submission
from cli.console import out, progress, table
from queries.submission import Outcome, outcomes
from shared import sources
from shared.base.settings import Settings
from shared.database import SightingState, opened

COLUMNS = ("path", "state", "label", "probability", "threshold", "unfamiliar", "reason")


def screen(settings: Settings, paths: list[Path]) -> None:
    """Ends with exit code 1 if an image was quarantined."""
    with opened(settings) as database:
        submission.check(settings, database)
        known = sources.build(settings)
        files = submission.find_files(known, paths)
        with progress() as bar:
            submitting = bar.add_task("submitting", total=len(files))
            sightings = []
            for file in files:
                sightings.append(submission.submit(database, known, file, datetime.now(UTC)))
                bar.advance(submitting)
            screening = bar.add_task("screening", total=len(sightings))
            for finished in submission.wait(database, sightings):
                bar.update(screening, completed=finished)
        with database.read() as session:
            rows = outcomes(session, sightings)
    _show(rows)


def _show(rows: Sequence[Outcome]) -> None:
    cells = [
        (row.path, row.state, row.label, row.probability, row.threshold, "yes" if row.unfamiliar else None, row.reason)
        for row in rows
    ]
    table(COLUMNS, cells)
    quarantined = sum(row.state == SightingState.QUARANTINED for row in rows)
    positive = sum(row.label == "PNEUMONIA" for row in rows)
    unfamiliar = sum(bool(row.unfamiliar) for row in rows)
    summary = f"{positive} PNEUMONIA, {f'{unfamiliar} unfamiliar, ' if unfamiliar else ''}{quarantined} quarantined"
    out.print(f"{len(rows)} images: {summary}. A screening aid, not a diagnosis.")
    if quarantined:
        raise typer.Exit(1)
