"""`make release VERSION=x.y.z`: builds, tries and tags a version. It never pushes.

Everything is done in a clone of what is committed, so that nothing else gets into the files, and a failure leaves the
repository as it was. Ends with 0 if the version was tagged (or, with DRY_RUN=1, could be), else with 1 and a sentence.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
from collections.abc import Iterator
from datetime import UTC, datetime
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

TOP = Path(__file__).parents[1]
PROGRAM, CHANGELOG = Path("shared/__init__.py"), Path("CHANGELOG.md")
COMING = "## Coming release"
IN_PROGRAM = re.compile(r'^__version__ = "([^"]+)"', re.MULTILINE)
VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
PACKAGES = {"shared", "queries", "actions", "producer", "worker", "trainer", "node", "courier", "local", "cli", "web"}
NEEDED = ("Name", "Version", "Summary", "Requires-Python", "License-Expression", "Description-Content-Type")
IN_SDIST = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "docs/operations.md", "docs/roles.sql")


class Refused(Exception):
    """Why there is no release, in a sentence that says what to do."""


def main() -> int:
    """`python .ci/release.py VERSION`; DRY_RUN=1 tags nothing, SKIP=tests leaves the tests out."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    try:
        release(TOP, wanted, is_dry="DRY_RUN" in os.environ, runs_tests=os.environ.get("SKIP") != "tests")
    except Refused as error:
        print(f"No release: {error}")
        return 1
    return 0


def release(top: Path, wanted: str, *, is_dry: bool, runs_tests: bool) -> None:
    """Raises Refused; then nothing was changed."""
    check_version(top, wanted)
    check_repository(top, wanted)
    if re.search(rf"^## {re.escape(wanted)}\b", read(top / CHANGELOG), re.MULTILINE):
        raise Refused(f"{CHANGELOG} has a section of {wanted} already: choose the next version.")
    if not entries(read(top / CHANGELOG)):
        raise Refused(f"{CHANGELOG} has no entry under '{COMING}': write what changed for the people who use it.")
    if runs_tests:
        say("Testing (SKIP=tests leaves this out).")
        run(top, "make", "test", shows=True)
    with tempfile.TemporaryDirectory(prefix="release-") as name:
        clone = Path(name) / "clone"
        run(top, "git", "clone", "--quiet", "--no-hardlinks", str(top), str(clone))
        write(clone, wanted, datetime.now(UTC).strftime("%Y-%m-%d"))
        wheel, sdist = build(clone, clone / "dist")
        check_wheel(wheel, wanted)
        check_sdist(sdist, wanted)
        say(f"Trying {wheel.name} in an environment of its own.")
        try_out(wheel, Path(name), wanted)
        if is_dry:
            say(f"Dry run: {wanted} could be released. Nothing was written, committed or tagged.")
            return
        (top / "dist").mkdir(exist_ok=True)
        for file in (wheel, sdist):
            shutil.copy2(file, top / "dist" / file.name)
        for file in (PROGRAM, CHANGELOG):
            shutil.copyfile(clone / file, top / file)
    run(top, "git", "commit", "--quiet", "--message", f"Version {wanted}", "--", str(PROGRAM), str(CHANGELOG))
    run(top, "git", "tag", "--annotate", f"v{wanted}", "--message", f"Pneumoscreen {wanted}")
    say(f"Tagged v{wanted}; the files are in dist/. To publish it: git push --follow-tags")


def check_version(top: Path, wanted: str) -> None:
    if VERSION.fullmatch(wanted) is None:
        raise Refused(f"name a version as in make release VERSION=1.2.3, not {wanted!r}.")
    present = version_of(read(top / PROGRAM))
    if numbers(wanted) < numbers(present):
        raise Refused(f"{PROGRAM} has version {present} already: choose a higher one than {wanted}.")


def check_repository(top: Path, wanted: str) -> None:
    branch = run(top, "git", "rev-parse", "--abbrev-ref", "HEAD").strip()
    if branch != "main":
        raise Refused(f"releases are made on main, and this is {branch}: git switch main.")
    if changes := run(top, "git", "status", "--porcelain").rstrip():
        raise Refused(f"something is not committed: commit it or put it away.\n{changes}")
    if tag(top, wanted):
        raise Refused(f"there is a tag v{wanted} already: choose the next version.")


def tag(top: Path, wanted: str) -> str:
    return run(top, "git", "tag", "--list", f"v{wanted}").strip()


def version_of(program: str) -> str:
    found = IN_PROGRAM.search(program)
    if found is None:
        raise Refused(f'{PROGRAM} has no line __version__ = "…".')
    return found[1]


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def entries(changelog: str) -> list[str]:
    """What stands in the changelog for the coming release."""
    section = changelog.partition(f"\n{COMING}\n")[2]
    return re.findall(r"^- .+", re.split(r"^## ", section, maxsplit=1, flags=re.MULTILINE)[0], re.MULTILINE)


def write(tree: Path, wanted: str, day: str) -> None:
    """The version into the program, and its heading, with the day, into the changelog."""
    program, changelog = read(tree / PROGRAM), read(tree / CHANGELOG)
    (tree / PROGRAM).write_text(IN_PROGRAM.sub(f'__version__ = "{wanted}"', program, count=1), encoding="utf-8")
    dated = changelog.replace(f"\n{COMING}\n", f"\n{COMING}\n\n## {wanted} ({day})\n", 1)
    (tree / CHANGELOG).write_text(dated, encoding="utf-8")


def build(tree: Path, folder: Path) -> tuple[Path, Path]:
    """The wheel and the source archive, by the build backend itself, which the lock names: no network is needed."""
    run(tree, sys.executable, "-m", "hatchling", "build", "--directory", str(folder))
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def check_wheel(wheel: Path, wanted: str) -> None:
    """The program's packages and nothing else, and metadata that an index takes."""
    with ZipFile(wheel) as packed:
        names = packed.namelist()
        information = f"pneumoscreen-{wanted}.dist-info"
        if {name.partition("/")[0] for name in names} != {*PACKAGES, information}:
            raise Refused(
                f"{wheel.name} holds other folders than it should: {sorted({n.partition('/')[0] for n in names})}"
            )
        if strange := [name for name in names if "__pycache__" in name or "/tests/" in name]:
            raise Refused(f"{wheel.name} holds {strange[0]}")
        metadata = Parser().parsestr(packed.read(f"{information}/METADATA").decode())
    check_metadata(wheel.name, wanted, {name: metadata.get(name, "") for name in NEEDED}, str(metadata.get_payload()))


def check_metadata(name: str, wanted: str, fields: dict[str, str], description: str) -> None:
    if missing := [field for field in NEEDED if not fields[field]]:
        raise Refused(f"{name} says nothing of {', '.join(missing)}: mend pyproject.toml.")
    if fields["Version"] != wanted:
        raise Refused(f"{name} calls itself {fields['Version']}, not {wanted}.")
    if "# Pneumoscreen" not in description:
        raise Refused(f"{name} carries no README as its description.")


def check_sdist(sdist: Path, wanted: str) -> None:
    with tarfile.open(sdist) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    if missing := [name for name in IN_SDIST if name not in names]:
        raise Refused(f"{sdist.name} lacks {missing[0]}")
    if strange := sorted(name for name in names if name.startswith((".venv", "dist/", "demo-home"))):
        raise Refused(f"{sdist.name} holds {strange[0]}")


def try_out(wheel: Path, folder: Path, wanted: str) -> None:
    """Install it where nothing of the repository is, with the dependencies of this environment; run its commands."""
    place = folder / "venv"
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    (packages,) = (place / "lib").glob("python*/site-packages")
    run(
        folder,
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        str(wheel),
    )
    (packages / "dependencies.pth").write_text("\n".join(dependencies()) + "\n", encoding="utf-8")
    program, home = str(place / "bin" / "pneumoscreen"), str(folder / "home")
    printed = run(folder, program, "--version")
    if not printed.startswith(f"pneumoscreen {wanted} "):
        raise Refused(f"the installed program calls itself {printed.strip()!r}.")
    for command in (
        ("--help",),
        ("db", "upgrade", "--home", home),
        ("models", "show", "--home", home),
        ("results", "--home", home),
    ):
        run(folder, program, *command)


def dependencies() -> Iterator[str]:
    """Folders with this environment's packages; of the repository itself, installed to be edited, they know nothing."""
    yield from dict.fromkeys(
        [sysconfig.get_path("purelib"), *(path for path in sys.path if path.endswith("site-packages"))]
    )


def run(folder: Path, *command: str, shows: bool = False) -> str:
    """What it prints, unless it is shown; raises Refused, with the end of what it said, if it fails."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PNEUMOSCREEN_", "PYTHONPATH"))}
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=not shows, text=True)
    if done.returncode:
        said = "\n".join(((done.stdout or "") + (done.stderr or "")).strip().splitlines()[-15:])
        raise Refused(f"`{' '.join(command)}` failed.\n{said}")
    return done.stdout or ""


def read(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def say(sentence: str) -> None:
    print(sentence, flush=True)


if __name__ == "__main__":
    sys.exit(main())
