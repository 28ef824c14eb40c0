"""`db prune`: delete old history and bookkeeping."""

from datetime import UTC, datetime

from rich.progress import TaskID

from actions import pruning
from actions.actor import named_or_user
from actions.pruning import Pruned
from cli.console import out, progress, table
from shared import sources
from shared.base.filesystem import MARKER
from shared.base.settings import Settings
from shared.database import opened


def prune(settings: Settings, older_than: int, dry_run: bool) -> None:
    tasks: dict[str, TaskID] = {}
    bar = progress()
    bar.disable = dry_run  # it would count up rows that stay

    def advance(name: str, rows: int) -> None:
        if name not in tasks:
            tasks[name] = bar.add_task(name, total=None)
        bar.advance(tasks[name], rows)

    with opened(settings) as database, bar:
        pruned = pruning.prune(
            database,
            sources.build(settings),
            older_than,
            named_or_user(None),
            datetime.now(UTC),
            dry_run=dry_run,
            advance=advance,
        )
    rows = [(name, f"{count:,}") for name, count in pruned.counts.items()]
    table(("would be deleted" if dry_run else "deleted", "rows"), rows)
    _show_kept(pruned)


def _show_kept(pruned: Pruned) -> None:
    if pruned.kept:
        out.print(f"{pruned.kept:,} old rows stay, since their file is still there: it would be screened again.")
    for source, count in sorted(pruned.out_of_reach.items()):
        out.print(
            f"{count:,} old rows of the source {source!r} stay, since this host cannot see whether their files are "
            f"still there: run it where [sources.{source}] is set and {MARKER}, or what its setting `marker` names, "
            "can be seen in it.",
            markup=False,
        )
