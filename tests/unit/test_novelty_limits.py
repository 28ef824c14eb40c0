"""An operating point's own novelty limit: a site's framing stops being strange, strangers do not."""

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from actions import novelty_limits
from shared.base.settings import Settings
from shared.database import Database, OperatingPoint, Prediction, Sighting, SightingState
from shared.ledger import operating_points
from shared.models import manifest, reading
from shared.models.manifest import Manifest, Novelty
from tests.models import home_with_versions, promote
from tests.points import add_point, digest
from tests.unit.steps import NOW
from trainer.novelty import SOURCE


@pytest.fixture
def chosen(database: Database, tmp_path: Path) -> Settings:
    settings = home_with_versions(database, tmp_path, "v1")
    promote(database, "v1", "Ada", NOW, "the first")
    return settings


@pytest.fixture
def described(chosen: Settings) -> Manifest:
    """A version whose limit is 1.2."""
    found = manifest.read(chosen.models / "v1")
    return found.model_copy(update={"novelty": Novelty(source=SOURCE, file="novelty.npz", limit=1.2, flagged=0.015)})


def screened(database: Database, scores: list[float], source: str = "ward", first: int = 0) -> None:
    with database.write() as session:
        for number, score in enumerate(scores, start=first):
            prediction = Prediction(
                sha256=digest(number),
                model_version="v1",
                decoder_revision=1,
                logit=0.0,
                unfamiliar_score=score,
                created_at=NOW,
            )
            session.add(prediction)
            session.flush()
            session.add(
                Sighting(
                    source=source,
                    path=f"{number}.png",
                    size=1,
                    state=SightingState.DONE,
                    sha256=digest(number),
                    prediction_id=prediction.id,
                    seen_at=NOW,
                    finished_at=NOW,
                )
            )


def fit(database: Database, described: Manifest) -> novelty_limits.NoveltyLimit | None:
    with database.read() as session:
        return novelty_limits.fit(session, "ward", described)


def test_a_site_that_frames_in_its_own_way_gets_a_limit_that_flags_one_in_fifty(
    database: Database, described: Manifest
) -> None:
    scores = list(np.random.default_rng(0).normal(1.5, 0.1, 500))
    screened(database, scores)
    screened(database, [9.0] * 300, source="elsewhere", first=1000)
    found = fit(database, described)
    assert found is not None
    assert found.limit is not None
    assert found.flagged > 0.95
    assert 0.01 <= found.flagged_then <= novelty_limits.SHARE
    assert 1.6 < found.limit < 1.9, "what is stranger than the site's own stays strange"


def test_a_site_like_the_training_hospital_or_with_few_images_keeps_the_versions_limit(
    database: Database, described: Manifest
) -> None:
    assert fit(database, described) is None, "nothing was screened"
    screened(database, [1.5] * 49)
    few = fit(database, described)
    assert few is not None
    assert (few.limit, few.images) == (None, 49)
    screened(database, [1.0] * 5000, first=200)
    usual = fit(database, described)
    assert usual is not None
    assert usual.limit is None


def test_images_of_the_source_are_judged_by_the_points_limit_and_those_of_others_by_the_versions(
    database: Database, described: Manifest
) -> None:
    number = add_point(database)
    with database.write() as session:
        session.execute(
            OperatingPoint.__table__.update().where(OperatingPoint.id == number).values(novelty_limit=1.7)  # type: ignore[attr-defined]
        )
        assert session.scalars(select(OperatingPoint.novelty_limit)).all() == [1.7]
    with database.read() as session:
        points = operating_points.applied(session)
    ward, other = (reading.of_source(described, points, source) for source in ("ward", "other"))
    assert [ward.is_unfamiliar(score) for score in (1.5, 1.8, None)] == [False, True, None]
    assert [other.is_unfamiliar(score) for score in (1.0, 1.5)] == [False, True]
