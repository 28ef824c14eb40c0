"""Settings, messages and manifests: what makes no sense is refused with a sentence, and nothing else comes of it."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared import sources
from shared.base import settings
from shared.base.errors import BrokenModel, MalformedMessage, PneumoscreenError, WrongSettings
from shared.base.settings import Settings
from shared.models import manifest
from shared.queue.messages import MAX_JOBS, SCHEMA, Message
from tests.fuzz.size import TIMEOUT, examples, seeded
from tests.models import make_linear_version

pytestmark = pytest.mark.timeout(TIMEOUT)
TEXTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["", "nan", "-inf", "1e999", "true", "null", "[]", "{}", "~nobody/x", "~", "\0", "/", "1_0", "٣", "0x10"]
    ),
)
NUMBERS = st.one_of(
    st.integers(-5, 5),
    st.integers(),
    st.floats(),
    st.sampled_from([2**31, 2**63 - 1, 2**63, -(2**63), 10**30, 10**400, True, False, 0.0, -0.0, 1e308]),
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def told(error: PneumoscreenError) -> None:
    assert str(error).strip(), "refused without a word"
    assert len(str(error)) < 2000, str(error)


# --- Settings ---

NAMES = st.sampled_from(sorted(set(Settings.model_fields) - {"home"}))
FOLDERS = st.dictionaries(
    TEXTS,
    st.fixed_dictionaries(
        {}, optional={"path": TEXTS, "lane": st.just("stat") | TEXTS, "polling": VALUES, "other": VALUES}
    ),
    max_size=3,
)


def toml(value: Any) -> str:
    """A value as TOML writes it; what TOML has no word for becomes text."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return hex(value) if value.bit_length() > 10_000 else str(value)
        case float():
            return str(value)
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case dict():
            return "{" + ", ".join(f"{toml(str(key))} = {toml(inner)}" for key, inner in value.items()) + "}"
    text = json.dumps(str(value), ensure_ascii=False)
    return text.replace("\x7f", "\\u007F")


def load(home: Path, variables: dict[str, str]) -> None:
    """What comes of it: settings, or a sentence."""
    with patch.dict(os.environ, {"HOME": str(home), **variables}, clear=True):
        try:
            found = settings.load(home)
        except WrongSettings as error:
            told(error)
        else:
            assert found.home == home
            assert set(sources.build(found)) >= set(sources.OWN)
            assert found.database


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def written(home: Path, content: bytes) -> Path:
    (home / "pneumoscreen.toml").write_bytes(content)
    return home


@seeded
@examples(0.3)
@given(values=st.dictionaries(NAMES | TEXTS, VALUES, max_size=4), folders=st.none() | FOLDERS)
def test_settings_of_any_values_are_taken_or_refused(
    home: Path, values: dict[str, Any], folders: dict[str, Any] | None
) -> None:
    lines = [f"{toml(name)} = {toml(value)}" for name, value in values.items() if name != "folders"]
    lines += [] if folders is None else [f"folders = {toml(folders)}"]
    load(written(home, "\n".join(lines).encode(errors="replace")), {})


@seeded
@examples(0.3)
@given(content=st.binary(max_size=60) | st.text("abc_=.[]{}\"'#\n 0123456789-+:TZexn", max_size=80).map(str.encode))
@example(content=b"settle = " + b"[" * 5000)
@example(content=b"a = " + b"{b = " * 5000)
def test_a_settings_file_of_any_content_is_taken_or_refused(home: Path, content: bytes) -> None:
    load(written(home, content), {})


@seeded
@examples(0.3)
@given(values=st.dictionaries(NAMES, (TEXTS | VALUES.map(json.dumps)), min_size=1, max_size=3))
@example(values={"folders": "[" * 50_000})
@example(values={"folders": '{"ward": {"path": "~nobody-of-that-name/x"}}'})
def test_variables_of_any_values_are_taken_or_refused(home: Path, values: dict[str, str]) -> None:
    variables = {f"PNEUMOSCREEN_{name.upper()}": value for name, value in values.items()}
    possible = {
        name: value.replace("\0", "").encode(errors="replace").decode() for name, value in variables.items()
    }  # no system takes others
    load(written(home, b""), possible)


# --- Messages ---

BODIES = st.one_of(
    VALUES,
    st.fixed_dictionaries(
        {},
        optional={
            "schema": st.sampled_from([SCHEMA, SCHEMA, SCHEMA + 1]) | VALUES,
            "delivery": st.integers(1, 5) | VALUES,
            "jobs": st.lists(st.integers(1, 2**63), max_size=5) | st.lists(VALUES, max_size=5) | VALUES,
            "path": VALUES,
        },
    ),
)


@seeded
@examples(0.3)
@given(body=BODIES)
def test_a_message_of_any_shape_is_ours_or_malformed(body: Any) -> None:
    try:
        message = Message.decode(body)
    except MalformedMessage as error:
        told(error)
        json.dumps(body, default=str)  # as it goes to the dead letters
    else:
        assert 0 < message.attempt < 2**63
        assert 0 < len(message.jobs) <= MAX_JOBS
        assert all(type(job) is int and 0 < job < 2**63 for job in message.jobs)
        assert Message.decode(message.encode()) == message


# --- Manifests ---

GOOD: dict[str, Any] = {}
AGES = (0.0, 3.5, 200.0)
LOGITS = (-1e30, -1.0, 0.0, 1.0, 1e30)


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_linear_version(tmp_path_factory.mktemp("models"), "v1")
    GOOD.update(json.loads((folder / manifest.NAME).read_bytes()))
    return folder


def read(folder: Path, content: bytes) -> None:
    """What comes of it: a manifest that can be used, or a sentence."""
    (folder / manifest.NAME).write_bytes(content)
    try:
        found = manifest.read(folder)
    except BrokenModel as error:
        told(error)
        return
    for logit in LOGITS:
        probability = found.calibration.probability(logit)
        assert 0 <= probability <= 1, probability
        assert found.label(probability) in ("NORMAL", "PNEUMONIA")
    assert {found.is_outside_population(age) for age in AGES} <= {True, False, None}
    assert 0 <= found.threshold <= 1
    assert found.created_at <= datetime.max.replace(tzinfo=UTC) if found.created_at.tzinfo else True
    assert found.model_dump_json()


@st.composite
def changes(draw: st.DrawFn) -> list[tuple[tuple[str, ...], Any]]:
    """Places in a manifest, and what is put there."""
    places = [("version",), ("threshold",), ("files",), ("preprocessing",), ("preprocessing", "width"), ("population",)]
    places += [("calibration", name) for name in ("method", "slope", "intercept", "other")]
    places += [
        ("population", "age_years"),
        ("population", "age_years", "lowest"),
        ("population", "age_years", "highest"),
    ]
    places += [
        ("created_at",),
        ("classes",),
        ("metrics",),
        ("exports",),
        ("engine",),
        ("schema_version",),
        ("novelty",),
        ("familiarity",),
        ("lite",),
        ("parameters",),
    ]
    files = st.dictionaries(
        TEXTS | st.sampled_from(["..", ".", "a/b", "/etc/passwd", "weights.npy"]), TEXTS, max_size=3
    )
    check = st.fixed_dictionaries(
        {
            "source": TEXTS,
            "file": TEXTS,
            "limit": NUMBERS,
            "flagged": NUMBERS,
            "caught": st.dictionaries(TEXTS, NUMBERS),
        }
    )
    return draw(st.lists(st.tuples(st.sampled_from(places), VALUES | NUMBERS | files | check), min_size=1, max_size=3))


@seeded
@examples(0.3)
@given(changes=changes())
@example(changes=[(("calibration", "slope"), float("nan"))])
@example(changes=[(("calibration", "intercept"), float("-inf"))])
@example(changes=[(("files",), {"\0": "x"})])
@example(changes=[(("population", "age_years", "lowest"), float("nan"))])
def test_a_manifest_of_any_values_is_usable_or_refused(
    version: Path, changes: list[tuple[tuple[str, ...], Any]]
) -> None:
    changed = json.loads(json.dumps(GOOD))
    for place, value in changes:
        part = changed
        for name in place[:-1]:
            part = part[name] if isinstance(part, dict) and isinstance(part.get(name), dict) else {}
        part[place[-1]] = value
    read(version, json.dumps(changed).encode(errors="replace"))


@seeded
@examples(0.3)
@given(content=st.binary(max_size=100) | VALUES.map(lambda value: json.dumps(value).encode()))
@example(content=b"[" * 100_000)
@example(content=b'{"a":' * 100_000)
def test_a_manifest_of_any_content_is_usable_or_refused(version: Path, content: bytes) -> None:
    read(version, content)
