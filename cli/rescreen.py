"""`rescreen`: have one version screen again what others did."""

from collections.abc import Sequence
from datetime import UTC, datetime

from actions import rescreening
from actions.actor import named_or_user
from cli.console import out, progress
from queries.instant import instant
from shared import sources
from shared.base.settings import Settings
from shared.database import opened


def rescreen(
    settings: Settings, names: Sequence[str], model: str, source: str | None, since: str | None, by: str | None
) -> None:
    actor, moment = named_or_user(by), instant(since, "--since") if since else None
    with opened(settings) as database, progress() as bar:
        task = bar.add_task("rescreening", total=None)
        rescreened = rescreening.rescreen(
            database,
            settings.models,
            sources.build(settings),
            model,
            actor,
            datetime.now(UTC),
            names=names,
            source=source,
            since=moment,
            key=settings.signing_key,
            advance=lambda completed, total: bar.update(task, completed=completed, total=total),
        )
    out.print(
        f"{rescreened.added} images are screened again by {rescreened.version}, in the background lane; "
        f"{rescreened.seen_before} it had seen before, so their results are its own now. The old results stay in "
        "`pneumoscreen results --history`.",
        markup=False,
    )
