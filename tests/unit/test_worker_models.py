import gc
import json
import shutil
import weakref
from pathlib import Path

import pytest

from shared.base.errors import BrokenModel
from shared.models import manifest, registry
from shared.models.engines import LINEAR_FILE
from shared.models.registry import Loaded, Published
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


def test_a_version_of_a_newer_schema_is_refused_and_leaves_the_old_one_in_service(
    tmp_path: Path, one: Published, two: Published
) -> None:
    models = Models(tmp_path)
    old = models.live([one])
    file = tmp_path / "v2" / manifest.NAME
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema_version": manifest.SCHEMA + 1}))
    newer = published(tmp_path / "v2")
    assert models.live([newer, one]) is old
    assert models.version == "v1"
    assert models.error is not None
    assert "has schema 3, this program reads up to 2: upgrade it" in models.error


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


def test_a_version_that_was_rolled_back_serves_no_more_even_where_no_other_loads(
    tmp_path: Path, one: Published, two: Published
) -> None:
    models = Models(tmp_path)
    models.live([two, one])
    damage(tmp_path, one)
    assert models.is_behind([one])
    for _ in range(2):
        with pytest.raises(BrokenModel, match="v1 is refused"):
            models.live([one])
    assert (models.version, models.device) == (None, "none")
    assert "v1 is refused" in (models.error or "")
    with pytest.raises(BrokenModel):
        models.live([one])
    assert not models.is_behind([one]), "it was refused just now"


def test_a_rollback_to_a_version_that_was_refused_just_now_is_followed_at_once(
    tmp_path: Path, one: Published, two: Published
) -> None:
    damage(tmp_path, one)
    models = Models(tmp_path)
    models.live([two])
    models.live([one, two])
    assert models.version == "v2", "it was not rolled back"
    assert models.is_behind([one])


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


def test_a_named_version_that_is_promoted_is_not_loaded_again_and_is_held_once(
    tmp_path: Path, one: Published, two: Published
) -> None:
    models = Models(tmp_path)
    old = models.live([one])
    named = models.named(two)
    assert models.live([two, one]) is named
    assert models.named(two) is named
    assert models.named(one) is not old, "the one that was live is not kept beside it"


def test_three_versions_are_never_in_memory(
    tmp_path: Path, one: Published, two: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither after a load nor, at worst, while it is under way."""
    held: list[weakref.ref[Loaded]] = []
    load = registry.load

    def counted(folder: Path, version: Published, *_: object) -> Loaded:
        gc.collect()
        assert sum(loaded() is not None for loaded in held) < 2, f"two are held while {version.version} is loaded"
        loaded = load(folder, version)
        held.append(weakref.ref(loaded))
        return loaded

    monkeypatch.setattr(registry, "load", counted)
    three, four = (published(make_linear_version(tmp_path, name)) for name in ("v3", "v4"))
    models = Models(tmp_path)
    models.live([one])
    models.named(two)
    models.named(three)  # drops v2
    models.live([four, one])  # drops v3, then v1
    models.named(one)
    models.live([two, four, one])
    assert len(held) == 6
    gc.collect()
    assert sum(loaded() is not None for loaded in held) == 1


def test_whether_there_is_something_to_do_for_a_process_that_is_idle(
    tmp_path: Path, one: Published, two: Published
) -> None:
    models = Models(tmp_path)
    assert not models.is_behind([]), "nothing was ever published"
    assert models.is_behind([one])
    models.live([one])
    assert not models.is_behind([one])
    damage(tmp_path, two)
    assert models.is_behind([two, one])
    models.live([two, one])
    assert not models.is_behind([two, one]), "it was refused just now"
    assert models.is_behind([one, two]), "the error is over"


def test_of_two_versions_that_do_not_load_the_live_one_is_named(tmp_path: Path, one: Published, two: Published) -> None:
    damage(tmp_path, one)
    damage(tmp_path, two)
    models = Models(tmp_path)
    with pytest.raises(BrokenModel, match="v2 is refused"):
        models.live([two, one])
    assert "v2 is refused" in (models.error or "")
