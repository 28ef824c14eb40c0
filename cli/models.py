"""`models list` and `models show`."""

from sqlalchemy import select

from cli.console import out, table
from cli.opened import opened
from shared import manifest, registry
from shared.database import ModelVersion
from shared.errors import BrokenModel, WorkFailed
from shared.settings import Settings


def list_versions(settings: Settings) -> None:
    with opened(settings) as with_database:
        with with_database.read() as session:
            live = registry.live(session)
            versions = list(session.scalars(select(ModelVersion).order_by(ModelVersion.created_at.desc())))
        rows = []
        for row in versions:
            state = "live" if live and live[0].version == row.version else "published"
            try:
                found = manifest.read(settings.models / row.version, row.manifest_sha256)
                metrics = found.metrics.get("validation", {})
                figures = [metrics.get(name) for name in ("auc", "recall", "specificity")]
                rows.append([row.version, state, found.architecture, *figures, found.threshold])
            except BrokenModel as error:
                rows.append([row.version, f"broken: {error}", None, None, None, None, None])
        table(("version", "state", "architecture", "auc", "recall", "specificity", "threshold"), rows)
        out.print("Figures on validation patients of the training hospital: other sites and ages differ.")


def show(settings: Settings, version: str | None) -> None:
    with opened(settings) as with_database:
        with with_database.read() as session:
            live = registry.live(session)
            if version is None and not live:
                raise WorkFailed("No model version is live.")
            row = registry.published(session, version) if version else live[0]
        found = manifest.read(settings.models / row.version, row.manifest_sha256)
        out.print(found.model_dump_json(indent=2), markup=False)
