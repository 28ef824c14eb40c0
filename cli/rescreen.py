"""`rescreen`: have images screened again whose result is another version's, or an older decoder's."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from actions import rescreening
from actions.actor import named, named_or_user
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
    reason: str | None = None,
) -> None:
    actor = named_or_user(by) if reason is None else named(by)
    moment = instant(since, "--since") if since else None
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
            reason=reason,
            advance=lambda completed, total: bar.update(task, completed=completed, total=total),
        )
    for sentence in _sentences(rescreened, selection):
        out.print(sentence, markup=False)


def _sentences(rescreened: Rescreened, selection: Selection) -> Iterator[str]:
    if rescreened.images or not selection.decoded_before:
        by = ", ".join(rescreened.versions)
        yield f"{rescreened.added} images are screened again by {by}, in the background lane."
    elif not (rescreened.out_of_reach or rescreened.out_of_service):
        yield f"No result was decoded before revision {selection.decoded_before}."
    if rescreened.waiting:
        yield f"{rescreened.waiting} had been asked for already, and wait."
    if rescreened.seen_before:
        yield f"{rescreened.seen_before} had been screened so before: those answers are their results now."
    if rescreened.kept:
        yield (
            f"{rescreened.kept} had been screened so before, by another operating point than their source has today: "
            "those answers are their results now, and are kept as read on their day."
        )
    if rescreened.added:
        stays = "Results stay where the answer is the same; old" if selection.if_differs else "The old"
        yield f"{stays} results stay in `pneumoscreen results --history`."
    for version, number in sorted(rescreened.out_of_reach.items()):
        yield (
            f"{number} results of {version} are left alone, since this host cannot load that version: bring its folder "
            "back, or name another with --model."
        )
    for version, number in sorted(rescreened.out_of_service.items()):
        yield (
            f"{number} results of {version} are left alone, since that version is not in service: name another with "
            "--model, or say with --by NAME and --reason TEXT why it is to screen all the same."
        )
