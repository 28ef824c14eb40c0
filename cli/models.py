"""`models list` and `models show`."""

from sqlalchemy import select

from cli.console import out, table
from shared.base.errors import BrokenModel, WorkFailed
from shared.base.settings import Settings
from shared.database import ModelVersion, Promotion, opened
from shared.models import manifest, registry
from shared.statistics.metrics import value


def list_versions(settings: Settings) -> None:
    with opened(settings) as with_database:
        with with_database.read() as session:
            promoted = session.scalars(select(Promotion).order_by(Promotion.id.desc()).limit(1)).first()
            versions = list(session.scalars(select(ModelVersion).order_by(ModelVersion.created_at.desc())))
        rows = []
        for row in versions:
            since = promoted.promoted_at if promoted and promoted.version == row.version else None
            state, when = ("live", f"{since:%Y-%m-%d %H:%M}") if since else (row.state, None)
            try:
                found = manifest.read(settings.models / row.version, row.manifest_sha256, settings.signing_key)
                metrics = found.metrics.get("validation", {})
                figures = [value(metrics.get(name)) for name in ("auc", "recall", "specificity")]
                rows.append([row.version, state, when, found.architecture, *figures, found.threshold])
            except BrokenModel as error:
                rows.append([row.version, f"{state}, broken: {error}", when, *[None] * 5])
        table(
            ("version", "state", "live since (UTC)", "architecture", "auc", "recall", "specificity", "threshold"), rows
        )
        out.print("Figures on validation patients of the training hospital: other sites and ages differ.")


def show(settings: Settings, version: str | None) -> None:
    with opened(settings) as with_database:
        with with_database.read() as session:
            live = registry.live(session)
            if version is None and not live:
                raise WorkFailed("No model version is live.")
            row = registry.published(session, version) if version else live[0]
        found = manifest.read(settings.models / row.version, row.manifest_sha256, settings.signing_key)
        out.print(found.model_dump_json(indent=2), markup=False)
