"""The home folder: which one is meant, and what a running `up` leaves in it for other programs."""

import os
from pathlib import Path

import psutil
from platformdirs import user_state_path

from shared.base.errors import WrongSettings


def announcement(home: Path) -> Path:
    """Where a running `up` writes the settings that only it knows: its broker's address and its sources."""
    return home / "run" / "up.toml"


def default_home() -> Path:
    return Path(os.environ.get("PNEUMOSCREEN_HOME") or Path.home() / ".pneumoscreen")


def find_home() -> Path:
    """The home named by PNEUMOSCREEN_HOME, else that of the one `up` running for this user, else ~/.pneumoscreen."""
    if "PNEUMOSCREEN_HOME" not in os.environ:
        running = _running_homes()
        if len(running) > 1:
            names = ", ".join(str(home) for home in running)
            raise WrongSettings(f"Several systems run here ({names}): name one with --home or PNEUMOSCREEN_HOME.")
        if running:
            return running[0]
    return default_home()


def register_home(home: Path) -> Path:
    """Note that this process runs the system in `home`, for `find_home`; returns the note, to be deleted at the end."""
    folder = user_state_path("pneumoscreen") / "running"
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / str(os.getpid())
    note.write_text(f"{psutil.Process().create_time()}\n{home}", encoding="utf-8")
    return note


def _running_homes() -> list[Path]:
    folder = user_state_path("pneumoscreen") / "running"
    homes = []
    for note in sorted(folder.glob("*")) if folder.is_dir() else []:
        try:
            began, home = note.read_text(encoding="utf-8").split("\n", 1)
            alive = psutil.Process(int(note.name)).create_time() == float(began)
        except (OSError, ValueError, psutil.Error):
            alive = False
        if alive:
            homes.append(Path(home))
        else:
            note.unlink(missing_ok=True)  # left behind by a killed `up`
    return homes
