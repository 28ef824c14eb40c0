"""`db backup`: write a backup of the database."""

import shlex
from pathlib import Path

from cli.console import out, progress, shown
from local import backup as backing_up
from shared.base.settings import Settings


def backup(settings: Settings, file: Path) -> None:
    file = file.absolute()
    with progress() as bar:
        task = bar.add_task("copying", total=None)
        size = backing_up.backup(settings, file, lambda copied, total: bar.update(task, completed=copied, total=total))
    out.print(f"{shown(file)}: {size:,} bytes, for its owner alone to read, since results are in it.", markup=False)
    out.print(
        f"To restore it, stop producers and workers, then: pneumoscreen db restore {shlex.quote(str(file))}",
        markup=False,
    )
    out.print(
        f"Not in it, so back them up as files: {settings.models}, and in {settings.home} pneumoscreen.toml and "
        "patient.secret. Copies that `screen` made are in its folder submitted.",
        markup=False,
    )
