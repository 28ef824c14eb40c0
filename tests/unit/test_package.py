"""What the installed package holds, and what of the repository is not in it."""

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.builders.wheel import WheelBuilder

TOP = Path(__file__).parents[2]
INSTALLED = """
import sys
from pathlib import Path

wheel = sys.argv.pop(1)
sys.path = [wheel, *(path for path in sys.path if not (Path(path or ".") / "bench").is_dir())]
from cli.main import main

main()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel holds, as an installation has it."""
    folder = tmp_path_factory.mktemp("wheel")
    (file,) = WheelBuilder(str(TOP)).build(directory=str(folder), versions=["standard"])
    with ZipFile(file) as packed:
        packed.extractall(folder / "installed")
    return folder / "installed"


def test_the_wheel_holds_the_program_with_its_migrations_and_its_bundled_model(wheel: Path) -> None:
    packages = {path.name for path in wheel.iterdir() if not path.name.endswith(".dist-info")}
    assert packages == {
        "shared",
        "queries",
        "actions",
        "producer",
        "worker",
        "trainer",
        "node",
        "courier",
        "local",
        "cli",
        "web",
    }
    migrations, bundled = Path("shared/database/migrations"), Path("shared/models/bundled")
    for folder in (migrations, bundled, Path("web/templates"), Path("web/static")):
        kept = {path.relative_to(TOP) for path in (TOP / folder).rglob("*") if "__pycache__" not in path.parts}
        assert {path for path in kept if not (wheel / path).exists()} == set()
    assert list((wheel / bundled).glob("*/manifest.json")) and list((wheel / migrations).glob("versions/0001*.py"))


def test_the_benchmark_is_not_installed_and_the_command_says_where_it_is(wheel: Path, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = [sys.executable, "-c", INSTALLED, str(wheel)]
    for arguments, code in ((["bench", "--help"], 0), (["bench", "--only", "limit"], 2)):
        process = subprocess.run(
            [*command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        assert process.returncode == code, process.stderr
    assert process.stderr == (
        "Error: The benchmark is part of the repository, not of the installed package: run it in a checkout.\n"
    )
