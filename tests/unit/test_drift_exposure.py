"""Real X-rays of a source whose exposure changes half way, scored by the bundled version."""

import os
import random
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from actions.drift import look_at_sources
from queries.drift import Look, overview
from shared.database import Database
from shared.imaging import Limits, prepare
from shared.ledger.work import Screened
from shared.models import registry
from shared.models.registry import Loaded
from tests.models import go_live, make_linear_version
from tests.unit.steps import NOW, after, claim, drop, file, finish, send_all

DATA = Path(os.environ.get("XRAY_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "kermany" / "train"
HALF = 300
STEP = 100
Change = Callable[[int], int]


class Scores(NamedTuple):
    logits: list[float]
    novelty: list[float]


@pytest.fixture(scope="module")
def bundled() -> Loaded:
    return registry.load_bundled("litert")


@pytest.fixture(scope="module")
def score(bundled: Loaded) -> Callable[[list[Path], Change], Scores]:
    def score(files: list[Path], change: Change) -> Scores:
        table = [min(255, max(0, change(value))) for value in range(256)]
        pixels = []
        for path in files:
            changed = BytesIO()
            Image.open(path).convert("L").point(table).save(changed, "PNG")
            pixels.append(prepare(changed.getvalue(), bundled.manifest.preprocessing, Limits()))
        assert bundled.network.novelty is not None
        batch = np.stack(pixels)
        parts = [bundled.network.logits(batch[start : start + 32]) for start in range(0, len(batch), 32)]
        return Scores(np.concatenate(parts).tolist(), bundled.network.novelty.scores(batch).tolist())

    return score


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """Three of ten with pneumonia, in an order of no meaning."""
    if not DATA.is_dir():
        pytest.skip("there are no X-rays: set XRAY_TEST_DATA")
    choose = random.Random(7)
    healthy, ill = (sorted((DATA / name).iterdir()) for name in ("NORMAL", "PNEUMONIA"))
    chosen = choose.sample(healthy, round(0.7 * 2 * HALF)) + choose.sample(ill, round(0.3 * 2 * HALF))
    choose.shuffle(chosen)
    return chosen


@pytest.fixture(scope="module")
def unchanged(files: list[Path], score: Callable[[list[Path], Change], Scores]) -> Scores:
    return score(files, lambda value: value)


def looks(database: Database, bundled: Loaded, scores: Scores, home: Path) -> list[Look]:
    """The look after each hundred images, which come within minutes."""
    found, version = [], bundled.manifest
    check = bundled.network.novelty
    assert check is not None
    go_live(database, make_linear_version(home / "models", "v1"), NOW)
    for first in range(0, 2 * HALF, STEP):
        now = after(first + 1)
        drop(database, *(file(f"{number}.png", second=number + 1) for number in range(first, first + STEP)), now=now)
        outcomes = []
        for number, claimed in enumerate(claim(database, send_all(database, now=now), now=now), start=first):
            logit, novelty = scores.logits[number], scores.novelty[number]
            probability = version.calibration.probability(logit)
            answer = (probability, version.threshold, version.label(probability))
            seen = {"unfamiliar": check.is_unfamiliar(novelty), "unfamiliar_score": novelty}
            outcomes.append(Screened(claimed, f"{number:064x}", "v1", *answer, **seen, logit=logit))
        finish(database, *outcomes, now=now)
        look_at_sources(database, home / "models", now)
        with database.read() as session:
            (source,) = overview(session)
        if source.look is not None:
            found.append(source.look)
    return found


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("brighter, and clipped", lambda value: round(1.3 * value)),
        ("a detector's offset", lambda value: value + 60),
        ("too dark, and clipped", lambda value: value - 60),
    ],
)
def test_another_exposure_from_half_way_on_is_found_within_three_hundred_images(
    database: Database,
    bundled: Loaded,
    files: list[Path],
    unchanged: Scores,
    score: Callable[[list[Path], Change], Scores],
    tmp_path: Path,
    name: str,
    change: Change,
) -> None:
    changed = score(files[HALF:], change)
    logits, novelty = (a[:HALF] + b for a, b in zip(unchanged, changed, strict=True))
    found = looks(database, bundled, Scores(logits, novelty), tmp_path)
    is_before = [not look.alarms for look in found[: (HALF - 200) // STEP + 1]]
    assert all(is_before), f"{name}: reported before anything changed"
    assert found[-1].alarms, f"{name}: not found"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_same_exposure_to_the_end_is_nothing(
    database: Database, bundled: Loaded, unchanged: Scores, tmp_path: Path
) -> None:
    assert [look.alarms for look in looks(database, bundled, unchanged, tmp_path)] == [{}] * 5


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_gamma_curve_that_equalising_undoes_is_no_drift(
    database: Database,
    bundled: Loaded,
    files: list[Path],
    unchanged: Scores,
    score: Callable[[list[Path], Change], Scores],
    tmp_path: Path,
) -> None:
    changed = score(files[HALF:], lambda value: round(255 * (value / 255) ** 0.6))
    logits, novelty = (a[:HALF] + b for a, b in zip(unchanged, changed, strict=True))
    found = looks(database, bundled, Scores(logits, novelty), tmp_path)
    assert [look.alarms for look in found] == [{}] * 5
    calls = [bundled.manifest.label(bundled.manifest.calibration.probability(logit)) for logit in logits]
    before = [bundled.manifest.label(bundled.manifest.calibration.probability(logit)) for logit in unchanged.logits]
    assert sum(a != b for a, b in zip(calls, before, strict=True)) <= 3
