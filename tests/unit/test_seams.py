"""Where faults strike inside a process (tests/faults/seams) there is a function to strike in."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[1] / "faults" / "seams" / "sitecustomize.py"


@pytest.fixture
def seams(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))  # the module puts a finder of its own there
    specification = importlib.util.spec_from_file_location("seams", FILE)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    monkeypatch.undo()
    return module


def test_every_seam_names_a_function_or_a_constant_that_exists(seams: ModuleType) -> None:
    missing = []
    for name, wrapped in seams.SEAMS.items():
        for path, _ in wrapped:
            owner: object = importlib.import_module(name)
            for part in path.split("."):
                owner = getattr(owner, part, None)
            if owner is None:
                missing.append(f"{name}.{path}")
    assert missing == []
