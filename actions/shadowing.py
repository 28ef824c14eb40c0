"""A version scores part of the traffic beside the live one: started and ended here; workers do the work."""

from collections.abc import Collection
from datetime import datetime
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy.orm import Session

from shared.base.errors import InvalidRequest, WorkFailed
from shared.database import Database, ShadowRun, audit
from shared.ledger import lookup, shadows
from shared.models import manifest, registry


def start(
    database: Database,
    models: Path,
    sources: Collection[str],
    version: str,
    source: str,
    share: float,
    actor: str,
    now: datetime,
    key: SecretStr | None = None,
) -> int:
    """Have a version score a share of a source's images from now on; returns the number of the run.

    It writes no result. Raises BrokenModel for a version that was never published or is damaged, InvalidRequest for a
    share that is none or an unknown source, WorkFailed for the live version, or while a shadow is there already: a
    worker process holds two versions, the live one and one more.
    """
    if not 0 < share <= 1:
        raise InvalidRequest(f"--share must be above 0 and at most 1, the share of the images, not {share:g}.")
    with database.read() as session:
        row = registry.published(session, version)
        known = sorted({*sources, *lookup.known_sources(session)})
    manifest.read(models / row.version, row.manifest_sha256, key)  # else no worker could load it
    if source not in known:
        raise InvalidRequest(f"There is no source named {source!r}; there are: {', '.join(known)}.")
    with database.write() as session:
        shadows.hold_runs(session)
        if registry.newest_promotion(session) == version:
            raise WorkFailed(f"{version} is live: it scores every image already.")
        for run in shadows.open_runs(session):
            if run.model_version != version or run.source == source:
                raise WorkFailed(
                    f"{run.model_version} is in shadow for {run.source} since {run.started_at:%Y-%m-%d %H:%M} (UTC): a "
                    "worker holds one version beside the live one. End it first: "
                    f"pneumoscreen models shadow {run.model_version} --source {run.source} --end."
                )
        started = ShadowRun(model_version=version, source=source, share=share, started_by=actor, started_at=now)
        session.add(started)
        session.flush()
        audit.record(session, actor, "shadow", f"{version}: {share:g} of source {source}, run {started.id}", at=now)
        return started.id


def end(database: Database, version: str, source: str | None, actor: str, now: datetime) -> int:
    """End a version's shadow, in one source or in all; returns of how many. Raises WorkFailed where there is none."""
    with database.write() as session:
        ended = end_all(session, version, actor, now, source)
    if not ended:
        where = "" if source is None else f" for {source}"
        raise WorkFailed(f"{version} is not in shadow{where}: `pneumoscreen models compare --shadow` lists what was.")
    return ended


def end_all(session: Session, version: str, actor: str, now: datetime, source: str | None = None) -> int:
    runs = [run for run in shadows.open_runs(session) if run.model_version == version and source in (None, run.source)]
    for run in runs:
        run.ended_by, run.ended_at = actor, now
        audit.record(session, actor, "shadow", f"{version}: run {run.id} ended", at=now)
    return len(runs)
