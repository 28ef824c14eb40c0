"""What a process takes over from where it was started, and what it must not.

Nothing is imported or run from the working folder, which may be an inbox into which anybody drops files. Variables that
are meant for another program of the same libraries do not redirect ours.
"""

import io
import os
import sys
from pathlib import Path

SEARCHED = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH")
"""Lists of folders in which programs, libraries and modules are searched: an empty entry is the working folder."""
OF_OTHERS = (
    *("BROKER_URL", "RESULT_BACKEND", "LOADER", "CONFIG_MODULE"),  # options of the command `celery`
    *("REMAP_SIGTERM", "DJANGO_SETTINGS_MODULE"),
    *("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH", "KERAS_NNX_ENABLED"),
)
"""Variables by which another application is set up, and which Celery and Keras would obey in ours."""
NEUTRAL = "/"
"""The working folder of what runs for long: only root writes there, it is no source, and it cannot be unmounted."""


def prepare() -> None:
    """For this process and all that it starts; as often as one likes."""
    _read_names_as_utf8()
    _search_nowhere_relative()
    os.environ["PYTHONSAFEPATH"] = "1"  # `python -m` begins its search in the working folder without it
    os.environ["KERAS_BACKEND"] = "tensorflow"
    for name in [name for name in os.environ if name in OF_OTHERS or name.startswith("CELERY_")]:
        del os.environ[name]
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        _open_stream(number, name)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # else a name that the terminal cannot show would end the program
            stream.reconfigure(errors="backslashreplace")


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a module, with nothing imported from the working folder."""
    return (sys.executable, "-P", "-m", module, *arguments)


def use(home: Path) -> None:
    """Keep in this home what libraries would keep in the user's, where there may be none, or settings of others."""
    os.environ["KERAS_HOME"] = str(home / "weights" / "keras")


def settle(home: Path) -> None:
    """For a program that runs for long: leave the working folder, and have room for temporary files."""
    import tempfile

    os.chdir(NEUTRAL)
    try:
        tempfile.gettempdir()
    except FileNotFoundError:  # a read-only container without a /tmp
        os.environ["TMPDIR"] = str(home / "run")


def _open_stream(number: int, name: str) -> None:
    """A closed stream goes to nowhere: its number would be given to the next file, as a database, and written to."""
    try:
        os.fstat(number)
    except OSError:
        os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
        setattr(sys, name, open(number, "r+" if number else "r", closefd=False))  # noqa: SIM115


def _read_names_as_utf8() -> None:
    """Start anew if the locale would have names of files read as something else: they would be other images."""
    if sys.getfilesystemencoding().lower() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    os.environ["PYTHONUTF8"] = "1"


def _search_nowhere_relative() -> None:
    for name in SEARCHED:
        entries = os.environ.get(name, "/").split(os.pathsep)
        absolute = [entry for entry in entries if entry.startswith("/")]
        if len(absolute) == len(entries):
            continue
        os.environ[name] = os.pathsep.join(absolute)
        if not absolute:
            del os.environ[name]
        if name == "PYTHONPATH":
            _forget({str(Path(entry).absolute()) for entry in entries if entry not in absolute})


def _forget(folders: set[str]) -> None:
    """Take folders out of this process's own search, but for those in which Python and this program lie."""
    import sysconfig

    ours = {str(Path(__file__).parents[2]), *sysconfig.get_paths().values()}
    sys.path[:] = [folder for folder in sys.path if folder and (folder in ours or folder not in folders)]
