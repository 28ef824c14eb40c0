import shutil
from pathlib import Path

import pytest

from shared.errors import BrokenModel
from shared.inference import LINEAR_FILE
from shared.registry import Published
from tests.models import make_linear_version, published
from worker.models import Models


@pytest.fixture
def one(tmp_path: Path) -> Published:
    return published(make_linear_version(tmp_path, "v1", seed=1))


@pytest.fixture
def two(tmp_path: Path) -> Published:
    return published(make_linear_version(tmp_path, "v2", seed=2))


def damage(folder: Path, version: Published) -> None:
    (folder / version.version / LINEAR_FILE).write_bytes(b"damaged")


def test_a_worker_holds_no_version_before_it_was_asked_for_one(tmp_path: Path) -> None:
    models = Models(tmp_path)
    assert (models.version, models.device, models.error) == (None, "none", None)


def test_the_live_version_is_loaded_once(tmp_path: Path, one: Published) -> None:
    models = Models(tmp_path)
    loaded = models.live([one])
    assert models.live([one]) is loaded
    assert (models.version, models.device, models.error) == ("v1", "cpu", None)


def test_a_promoted_version_takes_over_between_two_messages(tmp_path: Path, one: Published, two: Published) -> None:
    models = Models(tmp_path)
    models.live([one])
    assert models.live([two, one]).manifest.version == "v2"
    assert models.version == "v2"


def test_a_rollback_takes_the_old_version_back(tmp_path: Path, one: Published, two: Published) -> None:
    models = Models(tmp_path)
    models.live([two, one])
    assert models.live([one, two]).manifest.version == "v1"


def test_a_broken_version_leaves_the_old_one_in_service(tmp_path: Path, one: Published, two: Published) -> None:
    models = Models(tmp_path)
    old = models.live([one])
    damage(tmp_path, two)
    assert models.live([two, one]) is old
    assert models.version == "v1"
    assert models.error is not None
    assert "damaged" in models.error


def test_a_broken_version_leaves_in_service_what_is_held_even_if_others_were_live_since(
    tmp_path: Path, one: Published, two: Published
) -> None:
    three = published(make_linear_version(tmp_path, "v3"))
    models = Models(tmp_path)
    held = models.live([one])
    damage(tmp_path, three)
    assert models.live([three, two, one]) is held


def test_a_cold_start_under_a_broken_live_version_takes_the_one_before_it(
    tmp_path: Path, one: Published, two: Published
) -> None:
    damage(tmp_path, two)
    models = Models(tmp_path)
    assert models.live([two, one]).manifest.version == "v1"
    assert models.error is not None
    assert models.live([two, one]).manifest.version == "v1"
    assert "v2" in models.error


def test_a_mended_publication_of_a_broken_version_ends_the_error(
    tmp_path: Path, one: Published, two: Published
) -> None:
    models = Models(tmp_path)
    damage(tmp_path, two)
    models.live([two, one])
    shutil.rmtree(tmp_path / "v2")
    three = published(make_linear_version(tmp_path, "v3"))
    assert models.live([three, two, one]).manifest.version == "v3"
    assert models.error is None


def test_a_version_whose_manifest_is_not_the_published_one_is_refused(tmp_path: Path, one: Published) -> None:
    with pytest.raises(BrokenModel, match="not the one that was published"):
        Models(tmp_path).live([Published(one.version, "0" * 64)])


def test_without_any_version_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BrokenModel, match="no model version was ever published"):
        Models(tmp_path).live([])


def test_if_no_version_loads_the_reason_is_told_each_time(tmp_path: Path, one: Published) -> None:
    damage(tmp_path, one)
    models = Models(tmp_path)
    for _ in range(2):
        with pytest.raises(BrokenModel, match="damaged"):
            models.live([one])


def test_after_a_rollback_from_a_broken_version_no_error_is_reported(
    tmp_path: Path, one: Published, two: Published
) -> None:
    models = Models(tmp_path)
    models.live([one])
    damage(tmp_path, two)
    models.live([two, one])
    models.live([one, two])
    assert models.error is None


def test_a_version_out_of_reach_at_the_start_is_taken_when_it_can_be_read(tmp_path: Path, one: Published) -> None:
    models = Models(tmp_path / "mount")
    with pytest.raises(BrokenModel):
        models.live([one])
    shutil.copytree(tmp_path / "v1", tmp_path / "mount" / "v1")
    assert models.live([one]).manifest.version == "v1"


def test_a_job_may_name_a_version_that_is_not_live(tmp_path: Path, one: Published, two: Published) -> None:
    models = Models(tmp_path)
    live = models.live([two, one])
    old = models.named(one)
    assert old.manifest.version == "v1"
    assert models.named(one) is old
    assert models.named(two) is live
    assert models.version == "v2"


def test_at_most_one_version_beside_the_live_one_is_held(tmp_path: Path, one: Published, two: Published) -> None:
    models = Models(tmp_path)
    models.live([published(make_linear_version(tmp_path, "v3"))])
    first = models.named(one)
    models.named(two)
    assert models.named(one) is not first


def test_a_named_version_that_is_broken_is_refused_and_the_live_one_stays(
    tmp_path: Path, one: Published, two: Published
) -> None:
    models = Models(tmp_path)
    live = models.live([two])
    damage(tmp_path, one)
    with pytest.raises(BrokenModel, match="damaged"):
        models.named(one)
    assert models.live([two]) is live
