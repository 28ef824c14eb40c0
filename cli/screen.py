"""`screen`: existing files are submitted, waited for and shown."""

from collections.abc import Sequence
from pathlib import Path

import typer
from rich.markup import escape

from actions import submission
from cli.console import err, out, progress, table
from queries.submission import Outcome, outcomes
from shared import sources
from shared.base.settings import Settings
from shared.database import SightingState, opened

COLUMNS = ("path", "state", "label", "probability", "threshold", "unfamiliar", "reason")


def screen(settings: Settings, paths: list[Path]) -> None:
    """Ends with exit code 1 if an image was quarantined or needs a person, or if a file could not be submitted."""
    with opened(settings) as database:
        submission.check(settings, database)
        known = sources.build(settings)
        chosen = submission.find_files(known, paths)
        with progress() as bar:
            submitting = bar.add_task("submitting", total=len(chosen.files))
            sightings = submission.submit_all(database, known, chosen, lambda files: bar.advance(submitting, files))
            screening = bar.add_task("screening", total=len(sightings))
            for finished in submission.wait(database, sightings):
                bar.update(screening, completed=finished)
        with database.read() as session:
            rows = outcomes(session, sightings)
    _show(rows, submission.refusals(chosen))


def _show(rows: Sequence[Outcome], refused: Sequence[str] = ()) -> None:
    cells = [
        (row.path, row.state, row.label, row.probability, row.threshold, "yes" if row.unfamiliar else None, row.reason)
        for row in rows
    ]
    table(COLUMNS, cells)
    quarantined = sum(row.state == SightingState.QUARANTINED for row in rows)
    waiting = sum(row.state == SightingState.WAITING for row in rows)
    positive = sum(row.label == "PNEUMONIA" for row in rows)
    unfamiliar = sum(bool(row.unfamiliar) for row in rows)
    odd = f"{unfamiliar} unfamiliar, " if unfamiliar else ""
    rest = f", {waiting} still waiting" if waiting else ""
    summary = f"{positive} PNEUMONIA, {odd}{quarantined} quarantined{rest}"
    out.print(f"{len(rows)} images: {summary}. A screening aid, not a diagnosis.")
    for sentence in refused:
        err.print(f"Not screened: {escape(sentence)}")
    if quarantined or waiting or refused:
        raise typer.Exit(1)
