"""`db restore`: replace the database by a backup."""

from pathlib import Path

import typer

from actions.actor import named_or_user
from cli.console import out, progress
from cli.upgrade import describe_logits
from local import restore as restoring
from shared.base.settings import Settings


def restore(settings: Settings, file: Path, yes: bool) -> None:
    file = file.absolute()
    with restoring.prepare(settings, file) as restoration:
        if not yes:
            hint = "it is kept beside" if restoration.is_replaced_kept else "back it up first, it is lost otherwise"
            typer.confirm(f"Replace what is in {restoration.database.name} ({hint}) by {file}?", abort=True)
        with progress() as bar:
            task = bar.add_task("restoring", total=None)
            restored = restoration.run(
                named_or_user(None), lambda copied, total: bar.update(task, completed=copied, total=total)
            )
    before = f" What was there before is {restored.replaced}." if restored.replaced else ""
    out.print(f"{restored.name} is restored.{before}", markup=False)
    for line in describe_logits(restored.logits):
        out.print(line, markup=False)
    if restored.missing_versions:
        names = ", ".join(restored.missing_versions)
        out.print(f"Model versions without a folder in {settings.models}: {names}. Restore those, too.", markup=False)
    out.print(
        "Start the system again: open jobs are sent again at once, and files dropped since the backup are found again. "
        "What `db forget` erased since the backup is back: erase it again."
    )
