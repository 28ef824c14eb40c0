"""`models list` and `models show`: prints what `queries.versions` finds."""

import json

from cli.console import out, table
from queries import versions
from queries.versions import FigureWithInterval, VersionRow
from shared.base.settings import Settings
from shared.database import opened

COLUMNS = (
    *("version", "state", "live since (UTC)", "architecture", "images", "patients", *versions.FIGURES, "threshold"),
    *("tags", "last note"),
)


def list_versions(settings: Settings) -> None:
    with opened(settings) as database, database.read() as session:
        rows = versions.list_versions(session, settings.models, settings.signing_key)
    table(COLUMNS, [_cells(row) for row in rows])
    out.print(
        "Figures were measured when a version was made, on images of patients held out from its own data, with 95 % "
        "intervals: those on different images cannot be compared. `pneumoscreen models evaluate --data DIR` measures "
        "versions on the same ones. Other sites and ages differ."
    )


def show(settings: Settings, version: str | None) -> None:
    with opened(settings) as database, database.read() as session:
        described = versions.show_manifest(session, settings.models, version, settings.signing_key)
        tags, notes = versions.annotations(session, described.version)
    written = [{"at": f"{note.created_at:%Y-%m-%d %H:%M}", "by": note.author, "text": note.text} for note in notes]
    shown = described.model_dump(mode="json") | {"tags": tags, "notes": written}
    out.print(json.dumps(shown, indent=2, ensure_ascii=False), markup=False)


def _cells(row: VersionRow) -> list[object]:
    state = "live" if row.is_live else row.state
    if row.problem is not None:
        state = f"{state}, broken: {row.problem}"
    since = f"{row.live_since:%Y-%m-%d %H:%M}" if row.live_since else None
    figures = [_figure(figure) for figure in row.figures]
    threshold = None if row.threshold is None else f"{row.threshold:.4g}"
    note = row.note if row.notes < 2 else f"{row.note} ({row.notes} notes)"
    described = [row.architecture, row.images, row.patients, *figures, threshold]
    return [row.version, state, since, *described, ", ".join(row.tags), note]


def _figure(figure: FigureWithInterval | None) -> str | None:
    if figure is None:
        return None
    if figure.low is None or figure.high is None:
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
