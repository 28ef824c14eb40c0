"""docs/architecture.md is true: what it names exists, and its floors are those of the import contract."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PAGE = (TOP / "docs" / "architecture.md").read_text(encoding="utf-8")
PICTURE = (TOP / "docs" / "architecture.svg").read_text(encoding="utf-8")
WORDS_IN_PICTURE = "\n".join(re.findall(r">([^<]+)</text>", PICTURE))
CONTRACTS = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]

_NAMED = re.compile(r"`([\w.-]+/[\w./-]*)`(?: \(((?:`[\w.]+`(?:, )?)+)\))?")
CHANGES = PAGE.partition("## Where to make a change")[2]


def named_paths(text: str) -> list[str]:
    return sorted({path for path, _ in _NAMED.findall(text)})


def named_symbols(text: str) -> list[tuple[str, str]]:
    return sorted(
        {(path, symbol) for path, symbols in _NAMED.findall(text) for symbol in re.findall(r"[\w.]+", symbols)}
    )


def definitions(file: Path) -> set[str]:
    """What a module defines or brings in by name, and the members of its classes as `Class.member`."""
    defined: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        match node:
            case ast.ClassDef(name=name, body=body):
                defined |= {name, *(f"{name}.{each.name}" for each in body if isinstance(each, ast.FunctionDef))}
            case ast.FunctionDef(name=name):
                defined.add(name)
            case ast.Assign(targets=targets):
                defined |= {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                defined.add(name)
            case ast.ImportFrom(names=names):
                defined |= {alias.asname or alias.name for alias in names}
    return defined


def floors(contract: str) -> list[list[str]]:
    """The layers of a contract from the top, each with its packages; without those that may be missing."""
    (layers,) = (each["layers"] for each in CONTRACTS if each["name"].startswith(contract))
    return [[name.strip() for name in re.split("[|:]", layer) if "(" not in name] for layer in layers]


def test_the_page_names_thirteen_changes() -> None:
    rows = [line for line in CHANGES.splitlines() if line.startswith("| ")]
    assert len(rows) - 2 == 13  # less the heading and the line under it


@pytest.mark.parametrize("path", named_paths(PAGE))
def test_every_path_on_the_page_exists(path: str) -> None:
    assert (TOP / path).exists()


@pytest.mark.parametrize(("path", "symbol"), named_symbols(PAGE))
def test_every_symbol_is_defined_in_the_file_beside_it(path: str, symbol: str) -> None:
    assert symbol in definitions(TOP / path)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\b[a-z]+/[\w/]+(?:\.py)?", WORDS_IN_PICTURE))))
def test_every_path_in_the_picture_exists(path: str) -> None:
    assert (TOP / path).exists()


@pytest.mark.parametrize("contract", ["The floors:", "The floors within shared"])
def test_page_and_picture_show_the_floors_of_the_import_contract_in_its_order(contract: str) -> None:
    expected = [set(layer) for layer in floors(contract) if layer != ["bench"]]
    boxes = re.findall(r'class="name"[^>]*>(\w+)<', PICTURE)
    rows = [
        {name.removeprefix("shared/") for name in re.findall(r"`([\w/]+)/`", line.split("|")[1])}
        for line in PAGE.partition("## Where to make a change")[0].splitlines()
        if line.startswith("| `")
    ]
    assert [row for row in rows if row in expected] == expected
    wanted = [name for layer in expected for name in layer]
    assert sorted(wanted, key=boxes.index) == [name for layer in expected for name in sorted(layer, key=boxes.index)]


def test_the_readme_names_every_package() -> None:
    contract = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    table = (TOP / "README.md").read_text(encoding="utf-8").partition("## Contributing")[2]
    assert set(contract["root_packages"]) <= set(re.findall(r"^\| `(\w+)/` \|", table, re.MULTILINE))


def test_a_path_that_is_not_there_and_a_symbol_that_is_not_there_are_noticed() -> None:
    line = "| a lane | `shared/queue/lanes.py` (`Lane`, `LANES`) | `cli/` |"
    assert named_paths(line) == ["cli/", "shared/queue/lanes.py"]
    assert named_symbols(line) == [("shared/queue/lanes.py", "LANES"), ("shared/queue/lanes.py", "Lane")]
    assert "Lane" in definitions(TOP / "shared" / "base" / "lanes.py")
    assert "Street" not in definitions(TOP / "shared" / "base" / "lanes.py")
