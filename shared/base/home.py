"""The home folder: which one is meant, and what a running `up` leaves in it for other programs."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from platformdirs import user_state_path

from shared.base.errors import WrongSettings
from shared.base.source_settings import absolute

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def announcement(home: Path) -> Path:
    """Where a running `up` writes the settings that only it knows: its broker's address and its sources."""
    return home / "run" / "up.toml"


def default_home() -> Path:
    """Raises WrongSettings for a user without a folder, as of a service or in a container."""
    if named := os.environ.get("PNEUMOSCREEN_HOME"):
        return Path(named)
    try:
        return Path.home() / ".pneumoscreen"
    except RuntimeError as error:
        raise WrongSettings("This user has no folder of its own: name one with --home or PNEUMOSCREEN_HOME.") from error


def resolve(home: Path) -> Path:
    """The whole path; raises WrongSettings for one that cannot be found, or that a settings file cannot hold."""
    try:
        home = absolute(home)
    except (ValueError, OSError) as error:
        raise WrongSettings(f"The home folder cannot be found: {error}.") from error
    name = str(home)
    if CONTROL.search(name):
        raise WrongSettings(
            f"The home folder {ascii(name)[1:-1]} has control characters in its path: "
            "choose another with --home or PNEUMOSCREEN_HOME."
        )
    return home


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


@contextmanager
def registered(home: Path) -> Iterator[Path]:
    """Note that this process runs the system in `home`, for `find_home`, until the end; gives the note.

    Where this user has no folder that can be written, commands in a second shell must name the home.
    """
    note = _notes() / str(os.getpid())
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(f"{psutil.Process().create_time()}\n{home}", encoding="utf-8")
    try:
        yield note
    finally:
        with suppress(OSError):
            note.unlink(missing_ok=True)


def _notes() -> Path:
    try:
        return user_state_path("pneumoscreen") / "running"
    except RuntimeError:  # a user without a folder
        return Path(os.devnull) / "running"  # where nothing can be written, and nothing is found


def _running_homes() -> list[Path]:
    homes = []
    for note in _listed(_notes()):
        try:
            began, home = note.read_text(encoding="utf-8").split("\n", 1)
            alive = psutil.Process(int(note.name)).create_time() == float(began)
        except (OSError, ValueError, psutil.Error):
            alive = False
        if alive:
            homes.append(Path(home))
        else:
            with suppress(OSError):
                note.unlink(missing_ok=True)  # left behind by a killed `up`
    return homes


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # there is none, or it is another user's
        return []
