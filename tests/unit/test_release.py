"""`make release` tags what it built and tried, refuses what should not be released, and then leaves all as it was."""

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

import pytest

TOP = Path(__file__).parents[2]
NEXT = "99.0.0"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", TOP / ".ci" / "release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cloned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository as it is committed, as a person has it on main."""
    tree = tmp_path_factory.mktemp("repository") / "pneumoscreen"
    git(TOP, "clone", "--quiet", str(TOP), str(tree))
    git(tree, "checkout", "--quiet", "-B", "main")
    git(tree, "config", "user.name", "Ada")
    git(tree, "config", "user.email", "ada@example.org")
    return tree


@pytest.fixture
def tree(cloned: Path) -> Path:
    git(cloned, "checkout", "--quiet", "main")
    return cloned


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def state(tree: Path) -> tuple[str, str, str]:
    return git(tree, "rev-parse", "HEAD"), git(tree, "tag"), git(tree, "status", "--porcelain")


@pytest.mark.soak  # what the wheel holds: test_package.py
def test_a_version_is_built_tried_and_tagged(script: ModuleType, tree: Path) -> None:
    script.release(tree, NEXT, is_dry=False, runs_tests=False)
    assert git(tree, "cat-file", "-t", f"v{NEXT}") == "tag", "an annotated one"
    assert git(tree, "show", "--stat", "--format=%s", "HEAD").startswith(f"Version {NEXT}")
    assert git(tree, "rev-parse", f"v{NEXT}^{{commit}}") == git(tree, "rev-parse", "HEAD")
    assert git(tree, "status", "--porcelain") == ""
    assert f'__version__ = "{NEXT}"' in (tree / "shared" / "__init__.py").read_text()
    changelog = (tree / "CHANGELOG.md").read_text()
    assert f"## Coming release\n\n## {NEXT} (20" in changelog and script.entries(changelog) == []
    names = {path.name for path in (tree / "dist").iterdir()}
    assert names == {f"pneumoscreen-{NEXT}-py3-none-any.whl", f"pneumoscreen-{NEXT}.tar.gz"}

    with pytest.raises(script.Refused, match=r"a tag v99\.0\.0 already"):
        script.release(tree, NEXT, is_dry=False, runs_tests=False)
    with pytest.raises(script.Refused, match=r"no entry under '## Coming release'"):
        script.release(tree, "99.0.1", is_dry=False, runs_tests=False)


@pytest.mark.parametrize("is_dry", [True, False])
def test_a_dry_run_and_a_failure_change_nothing(
    script: ModuleType, tree: Path, monkeypatch: pytest.MonkeyPatch, is_dry: bool
) -> None:
    (tree / "CHANGELOG.md").write_text("# Changelog\n\n## Coming release\n\n### Added\n\n- Something.\n")
    git(tree, "commit", "--quiet", "--all", "--allow-empty", "--message", "Something")
    before = state(tree)

    def refuse(*_: object) -> None:
        if not is_dry:
            raise script.Refused("the installed program does not start.")

    monkeypatch.setattr(script, "build", lambda tree, _: (tree / "CHANGELOG.md", tree / "CHANGELOG.md"))
    for check in ("check_wheel", "check_sdist"):
        monkeypatch.setattr(script, check, lambda *_: None)
    monkeypatch.setattr(script, "try_out", refuse)
    if is_dry:
        script.release(tree, "99.2.0", is_dry=True, runs_tests=False)
    else:
        with pytest.raises(script.Refused, match="does not start"):
            script.release(tree, "99.2.0", is_dry=False, runs_tests=False)
    assert state(tree) == before


@pytest.mark.parametrize("wanted", ["", "1.2", "v1.2.3", "1.2.3rc1", "01.2.3", "0.0.1"])
def test_what_is_no_version_or_a_lower_one_is_refused(script: ModuleType, tree: Path, wanted: str) -> None:
    with pytest.raises(script.Refused, match=r"name a version as in|choose a higher one"):
        script.check_version(tree, wanted)


def test_what_is_not_committed_and_other_branches_are_refused(script: ModuleType, tree: Path) -> None:
    (tree / "new.txt").write_text("not committed")
    with pytest.raises(script.Refused, match=r"not committed.*\n\?\? new\.txt"):
        script.check_repository(tree, "99.1.0")
    (tree / "new.txt").unlink()
    git(tree, "checkout", "--quiet", "-B", "other")
    with pytest.raises(script.Refused, match="this is other"):
        script.check_repository(tree, "99.1.0")


def test_a_version_that_the_changelog_has_is_refused(script: ModuleType, tree: Path) -> None:
    changelog = "# Changelog\n\n## Coming release\n\n- Something.\n\n## 99.3.0 (2026-01-01)\n\n- Something else.\n"
    (tree / "CHANGELOG.md").write_text(changelog)
    git(tree, "checkout", "--quiet", "-B", "main")
    git(tree, "commit", "--quiet", "--all", "--message", "A section")
    with pytest.raises(script.Refused, match=r"has a section of 99\.3\.0 already"):
        script.release(tree, "99.3.0", is_dry=True, runs_tests=False)


def test_a_wheel_with_a_folder_too_many_or_metadata_too_few_is_refused(script: ModuleType, tmp_path: Path) -> None:
    wheel = tmp_path / "pneumoscreen-1.0.0-py3-none-any.whl"

    def write(*more: str, metadata: str) -> None:
        with ZipFile(wheel, "w") as packed:
            for name in (*(f"{package}/__init__.py" for package in script.PACKAGES), *more):
                packed.writestr(name, "")
            packed.writestr("pneumoscreen-1.0.0.dist-info/METADATA", metadata)

    fields = "".join(f"{name}: {'1.0.0' if name == 'Version' else 'x'}\n" for name in script.NEEDED)
    write(metadata=f"{fields}\n# Pneumoscreen\n")
    script.check_wheel(wheel, "1.0.0")
    for more in ("tests/test_a.py", "bench/run.py", "shared/tests/test_a.py"):
        write(more, metadata=f"{fields}\n# Pneumoscreen\n")
        with pytest.raises(script.Refused, match="holds"):
            script.check_wheel(wheel, "1.0.0")
    for metadata, match in (("Name: x\n", "says nothing of Version"), (f"{fields}\nnothing", "no README")):
        write(metadata=metadata)
        with pytest.raises(script.Refused, match=match):
            script.check_wheel(wheel, "1.0.0")
