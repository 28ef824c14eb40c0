"""`rescreen`: one version screens again what others did; the old results stay until the new ones are there."""

from datetime import UTC, datetime

from cli.console import out, progress
from cli.versions import user
from queries.instant import instant
from shared import sources
from shared.base.errors import WrongSettings
from shared.base.settings import Settings
from shared.database import AuditEntry, opened
from shared.ledger import register
from shared.ledger.register import MAX_ROWS
from shared.models import manifest, registry


def rescreen(settings: Settings, model: str, root: str | None, since: str | None, by: str | None) -> None:
    """Raises BrokenModel for a version that was never published or is damaged, WrongSettings for an unknown folder."""
    moment, now = instant(since, "--since") if since else None, datetime.now(UTC)
    known = sources.build(settings)
    if root is not None and root not in known:
        raise WrongSettings(f"There is no folder named {root!r}; there are: {', '.join(known)}.")
    seen = new = 0
    with opened(settings) as database, progress() as bar:
        with database.read() as session:
            row = registry.published(session, model)
            total = register.count_others(session, model, root, moment)
        manifest.read(settings.models / row.version, row.manifest_sha256, settings.signing_key)
        task, after = bar.add_task("rescreening", total=total), 0
        while True:
            with database.write() as session:
                had, added, last = register.rescreen(session, model, now, after, root, moment)
                if total and after == 0:
                    detail = f"{model}: {total} results of other versions"
                    session.add(AuditEntry(at=now, actor=by or user(), action="rescreen", detail=detail))
            seen, new = seen + had, new + added
            bar.advance(task, MAX_ROWS if last is not None else total)
            if last is None:
                break
            after = last
    out.print(
        f"{new} images are screened again by {model}, in the background lane; {seen} it had seen before, "
        "so their results are its own now. The old results stay in `pneumoscreen results --history`.",
        markup=False,
    )
