"""`make audit` says what it found, and never that all is well when it could not look."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TOP = Path(__file__).parents[2]
FINE = {"name": "redis", "version": "8.1.0", "vulns": []}
WEAK = {"name": "pillow", "version": "1.0", "vulns": [{"id": "CVE-2099-1", "fix_versions": ["1.1"]}]}
UNKNOWN = {"name": "celery", "skip_reason": "Dependency not found on PyPI and could not be audited: celery (5.6.3)"}


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", TOP / ".ci" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("dependencies", "said", "code"),
    [
        ([FINE, FINE], "No known weakness in 2 dependencies", 0),
        ([FINE, WEAK], "pillow 1.0: CVE-2099-1, mended in 1.1", 1),
        ([FINE, UNKNOWN], "Not looked up, .* celery", 1),
        ([UNKNOWN, UNKNOWN], "nothing was audited", 1),
        ([], "nothing was audited", 1),
    ],
)
def test_the_report_is_judged(audit: ModuleType, dependencies: list[dict[str, Any]], said: str, code: int) -> None:
    sentences, found = audit.judged(json.dumps({"dependencies": dependencies, "fixes": []}), "")
    assert found == code
    assert re.search(said, "\n".join(sentences))


def test_without_the_advisory_database_it_says_so_and_fails(audit: ModuleType) -> None:
    (sentence,), code = audit.judged("", "INFO: begun\nERROR: Max retries exceeded\n")
    assert code == 1
    assert "could not be reached" in sentence
    assert "Max retries exceeded" in sentence


def test_no_registrys_address_stands_in_it() -> None:
    assert "://" not in (TOP / ".ci" / "audit.py").read_text()
