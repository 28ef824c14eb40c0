"""`rescreen`: have images screened again whose result is another version's, or an older decoder's."""

from collections.abc import Sequence
from datetime import UTC, datetime

from actions import rescreening
from actions.actor import named_or_user
from actions.rescreening import Rescreened
from cli.console import out, progress
from queries.instant import instant
from shared import sources
from shared.base.settings import Settings
from shared.database import opened
from shared.ledger.rescreening import Selection


def rescreen(
    settings: Settings,
    names: Sequence[str],
    model: str | None,
    source: str | None,
    since: str | None,
    by: str | None,
    *,
    decoded_before: int | None = None,
    where_differs: bool = False,
) -> None:
    actor, moment = named_or_user(by), instant(since, "--since") if since else None
    selection = Selection(model, source, moment, decoded_before=decoded_before, if_differs=where_differs)
    with opened(settings) as database, progress() as bar:
        task = bar.add_task("rescreening", total=None)
        rescreened = rescreening.rescreen(
            database,
            settings.models,
            sources.build(settings),
            selection,
            actor,
            datetime.now(UTC),
            names=names,
            key=settings.signing_key,
            advance=lambda completed, total: bar.update(task, completed=completed, total=total),
        )
    out.print(_sentence(rescreened, selection), markup=False)


def _sentence(rescreened: Rescreened, selection: Selection) -> str:
    if not rescreened.added + rescreened.seen_before and selection.decoded_before is not None:
        return f"No result was decoded before revision {selection.decoded_before}."
    by = ", ".join(rescreened.versions)
    if selection.if_differs:
        return (
            f"{rescreened.added} images are read and screened again by {by}, in the background lane. Results stay "
            "where the answer is the same; the others are replaced, and the old ones stay in "
            "`pneumoscreen results --history`."
        )
    return (
        f"{rescreened.added} images are screened again by {by}, in the background lane; "
        f"{rescreened.seen_before} it had seen before, so their results are its own now. The old results stay in "
        "`pneumoscreen results --history`."
    )
