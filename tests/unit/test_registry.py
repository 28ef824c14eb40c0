import os
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr
from sqlalchemy import select

from actions import promotion
from shared.base.errors import BrokenModel, ServiceUnavailable, WorkFailed
from shared.database import AuditEntry, Database, ModelVersion, Promotion
from shared.models import manifest, registry
from shared.models.engines import LINEAR_FILE
from shared.models.registry import Published
from tests.models import DAY, SIZE, describe, go_live, make_linear_version, passed, promote, published
from tests.unit.steps import finish, in_hand, rows, screened


def live(database: Database) -> list[Published]:
    with database.read() as session:
        return registry.live(session)


def test_before_the_first_publication_nothing_is_live(database: Database) -> None:
    assert live(database) == []


def test_the_version_promoted_last_is_live_and_those_before_it_follow(database: Database, tmp_path: Path) -> None:
    one, two, three = (make_linear_version(tmp_path, name) for name in ("v1", "v2", "v3"))
    for version in (one, two, three, two):
        go_live(database, version)
    assert [row.version for row in live(database)] == ["v2", "v3", "v1"]
    assert live(database)[0] == published(two)


def test_the_order_of_promotions_counts_and_not_their_clock(database: Database, tmp_path: Path) -> None:
    go_live(database, make_linear_version(tmp_path, "v2"), DAY + timedelta(days=1))
    go_live(database, make_linear_version(tmp_path, "v1"), DAY)
    assert live(database)[0].version == "v1"


def test_a_version_is_found_by_its_name(database: Database, tmp_path: Path) -> None:
    row = go_live(database, make_linear_version(tmp_path, "v1"))
    with database.read() as session:
        assert registry.published(session, "v1") == row
        with pytest.raises(BrokenModel, match="There is no model version 'v9'"):
            registry.published(session, "v9")


def test_a_published_version_is_loaded_and_answers(tmp_path: Path) -> None:
    loaded = registry.load(tmp_path, published(make_linear_version(tmp_path, "v1")))
    batch = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 1)).astype(np.uint8)
    logits = loaded.network.logits(batch)
    assert (logits.shape, logits.dtype) == ((3,), np.float32)
    assert np.isfinite(logits).all()
    assert len(set(logits)) == 3


def test_an_image_gets_the_same_logit_alone_and_in_a_batch(tmp_path: Path) -> None:
    network = registry.load(tmp_path, published(make_linear_version(tmp_path, "v1"))).network
    batch = np.random.default_rng(0).integers(0, 256, (20, SIZE, SIZE, 1)).astype(np.uint8)
    alone = [network.logits(batch[n : n + 1])[0] for n in range(20)]
    assert network.logits(batch) == pytest.approx(alone, abs=1e-4)


def test_the_linear_network_is_a_weighted_sum_of_pixels(tmp_path: Path) -> None:
    version = make_linear_version(tmp_path, "v1")
    weights = np.load(version / LINEAR_FILE)
    network = registry.load(tmp_path, published(version)).network
    white = np.full((1, SIZE, SIZE, 1), 255, np.uint8)
    assert network.logits(white)[0] == pytest.approx(weights.sum(), abs=1e-3)
    assert network.logits(np.zeros_like(white))[0] == weights[-1]


def test_two_seeds_make_two_networks(tmp_path: Path) -> None:
    one = (make_linear_version(tmp_path, "v1", seed=1) / LINEAR_FILE).read_bytes()
    assert one == (make_linear_version(tmp_path, "same", seed=1) / LINEAR_FILE).read_bytes()
    assert one != (make_linear_version(tmp_path, "v2", seed=2) / LINEAR_FILE).read_bytes()


def rewritten(version: Path, weights: np.ndarray) -> Published:
    np.save(version / LINEAR_FILE, weights)
    describe(version)
    return published(version)


def test_weights_that_do_not_fit_the_pixels_are_refused(tmp_path: Path) -> None:
    version = make_linear_version(tmp_path, "v1")
    with pytest.raises(BrokenModel, match="shape"):
        registry.load(tmp_path, rewritten(version, np.zeros(7, np.float32)))


def test_a_network_that_answers_a_blank_image_with_nonsense_is_refused(tmp_path: Path) -> None:
    version = make_linear_version(tmp_path, "v1")
    with pytest.raises(BrokenModel, match="not a number"):
        registry.load(tmp_path, rewritten(version, np.full(SIZE * SIZE + 1, np.nan, np.float32)))


def test_weights_that_are_a_pickle_are_never_opened(tmp_path: Path) -> None:
    version = make_linear_version(tmp_path, "v1")
    with pytest.raises(BrokenModel, match="does not load"):
        registry.load(tmp_path, rewritten(version, np.array([{"a": 1}], dtype=object)))


def test_weights_that_the_manifest_does_not_vouch_for_are_never_opened(tmp_path: Path) -> None:
    version = make_linear_version(tmp_path, "v1")
    (version / "notes.txt").write_text("hello")
    found = manifest.read(version).model_copy(update={"files": {"notes.txt": manifest.sha256(b"hello")}})
    manifest.write(version, found)
    with pytest.raises(BrokenModel):
        registry.load(tmp_path, published(version))


def test_a_fresh_home_takes_the_version_that_comes_with_the_program(database: Database, tmp_path: Path) -> None:
    registry.install_bundled(database, tmp_path / "models", DAY)
    (row,) = live(database)
    found = manifest.read(tmp_path / "models" / row.version, row.manifest_sha256)
    assert found.version == row.version
    assert {path.name for path in (tmp_path / "models").iterdir()} == {row.version}


def test_the_bundled_version_is_installed_once(database: Database, tmp_path: Path) -> None:
    registry.install_bundled(database, tmp_path / "models", DAY)
    first = live(database)
    registry.install_bundled(database, tmp_path / "models", DAY + timedelta(days=1))
    assert live(database) == first


def test_a_home_with_a_live_version_of_its_own_keeps_it(database: Database, tmp_path: Path) -> None:
    row = go_live(database, make_linear_version(tmp_path / "models", "mine"))
    registry.install_bundled(database, tmp_path / "models", DAY)
    assert live(database) == [row]


def test_an_installation_that_died_between_files_and_row_is_completed(database: Database, tmp_path: Path) -> None:
    source = registry.bundled()
    registry.copy_aside(source, tmp_path / "models" / source.name)
    registry.install_bundled(database, tmp_path / "models", DAY)
    assert [row.version for row in live(database)] == [source.name]


def test_a_copy_that_another_process_made_meanwhile_is_kept(tmp_path: Path) -> None:
    source = make_linear_version(tmp_path, "v1")
    target = tmp_path / "models" / "v1"
    registry.copy_aside(source, target)
    registry.copy_aside(source, target)
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["v1"]
    manifest.read(target, published(source).manifest_sha256)


def test_what_a_killed_copy_left_behind_does_not_stop_the_next_one(tmp_path: Path) -> None:
    source = make_linear_version(tmp_path, "v1")
    (tmp_path / "models" / f".v1.{os.getpid()}").mkdir(parents=True)
    registry.copy_aside(source, tmp_path / "models" / "v1")
    manifest.read(tmp_path / "models" / "v1", published(source).manifest_sha256)


def names(models: Path) -> list[str]:
    return sorted(path.name for path in models.iterdir()) if models.exists() else []


def actions(database: Database) -> list[tuple[str, str, str]]:
    with database.read() as session:
        rows = session.scalars(select(AuditEntry).order_by(AuditEntry.id))
        return [(row.actor, row.action, row.detail) for row in rows]


def version_row(database: Database, version: str) -> ModelVersion | None:
    with database.read() as session:
        return session.get(ModelVersion, version)


def put_up(database: Database, tmp_path: Path, *versions: str, live: bool = True) -> Path:
    """Publish versions of these names, and make them live one after the other; returns the home's models."""
    models = tmp_path / "models"
    for seed, name in enumerate(versions):
        promotion.publish(database, models, make_linear_version(tmp_path / "made", name, seed), DAY)
        if live:
            promote(database, name, "Ada", DAY)
    return models


def test_a_published_version_is_known_and_whole_and_not_yet_live(database: Database, tmp_path: Path) -> None:
    source = make_linear_version(tmp_path / "made", "v1")
    (source / "pictures").mkdir()
    (source / "pictures" / "roc.png").write_bytes(b"a picture")
    row = promotion.publish(database, tmp_path / "models", source, DAY, "Ada")
    assert row == published(source)
    assert registry.load(tmp_path / "models", row).manifest.version == "v1"
    assert (tmp_path / "models" / "v1" / "pictures" / "roc.png").exists()
    assert live(database) == []
    assert actions(database) == [("Ada", "publish", "v1")]


def test_publishing_twice_changes_nothing(database: Database, tmp_path: Path) -> None:
    source = make_linear_version(tmp_path / "made", "v1")
    rows = [promotion.publish(database, tmp_path / "models", source, DAY) for _ in range(2)]
    assert rows[0] == rows[1]
    assert names(tmp_path / "models") == ["v1"]
    assert len(actions(database)) == 1


def test_another_version_of_the_same_name_is_refused(database: Database, tmp_path: Path) -> None:
    models = put_up(database, tmp_path, "v1")
    with pytest.raises(WorkFailed, match="it is another one"):
        promotion.publish(database, models, make_linear_version(tmp_path / "other", "v1", seed=9), DAY)
    registry.load(models, live(database)[0])


def test_a_damaged_folder_is_not_published(database: Database, tmp_path: Path) -> None:
    source = make_linear_version(tmp_path / "made", "v1")
    (source / LINEAR_FILE).write_bytes(b"damaged")
    with pytest.raises(BrokenModel, match="damaged"):
        promotion.publish(database, tmp_path / "models", source, DAY)
    with pytest.raises(BrokenModel, match="cannot be read"):
        promotion.publish(database, tmp_path / "models", tmp_path, DAY)
    assert names(tmp_path / "models") == []


@pytest.mark.parametrize(
    "step", ["shutil.copytree", "os.fsync", "manifest.read", "tempfile.mkdtemp", "Path.rename", "insert_new"]
)
def test_a_publication_interrupted_at_any_step_leaves_the_old_version_live(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    models = put_up(database, tmp_path, "v1")
    source = make_linear_version(tmp_path / "made", "v2", seed=5)

    class Interrupted(Exception):
        pass

    def interrupt(*_: object, **__: object) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        where = {"os.fsync": "", "insert_new": "actions.promotion."}.get(step, "shared.models.registry.")
        patch.setattr(where + step, interrupt)
        with pytest.raises(Interrupted):
            promotion.publish(database, models, source, DAY)
    assert [row.version for row in live(database)] == ["v1"]
    assert version_row(database, "v2") is None
    for name in names(models):
        manifest.read(models / name)
    assert [name for name in names(models) if name.startswith(".")] == []
    row = promotion.publish(database, models, source, DAY)
    registry.load(models, row)
    assert names(models) == ["v1", "v2"]


def test_what_half_a_copy_damaged_under_a_final_name_is_never_made_known(database: Database, tmp_path: Path) -> None:
    source = make_linear_version(tmp_path / "made", "v1")
    half = tmp_path / "models" / "v1"
    half.mkdir(parents=True)
    with pytest.raises(BrokenModel):
        promotion.publish(database, tmp_path / "models", source, DAY)
    assert version_row(database, "v1") is None


def test_a_promotion_says_who_made_what_live_and_why(database: Database, tmp_path: Path) -> None:
    put_up(database, tmp_path, "v1", "v2")
    promote(database, "v1", "Ben", DAY, "fewer false alarms")
    with database.read() as session:
        newest = session.scalars(select(Promotion).order_by(Promotion.id.desc())).first()
    assert newest is not None
    assert (newest.version, newest.promoted_by, newest.reason) == ("v1", "Ben", "fewer false alarms")
    assert actions(database)[-1] == ("Ben", "promote", "v1: fewer false alarms")


def test_promoting_what_is_live_already_adds_nothing(database: Database, tmp_path: Path) -> None:
    put_up(database, tmp_path, "v1")
    before = actions(database)
    promote(database, "v1", "Ada", DAY)
    assert actions(database) == before


def test_a_version_that_was_never_published_cannot_be_promoted(database: Database) -> None:
    with pytest.raises(BrokenModel, match="There is no model version 'v9'"):
        promote(database, "v9", "Ada", DAY)


def test_a_version_is_promoted_only_with_a_reason_or_after_it_has_passed(database: Database, tmp_path: Path) -> None:
    put_up(database, tmp_path, "v1")
    put_up(database, tmp_path, "v2", "v3", live=False)
    with database.write() as session:
        promotion.reject(session, "v2", "Ada", DAY, '{"passed": false}')
    row = version_row(database, "v2")
    assert row is not None and (row.state, row.verdict) == ("rejected", '{"passed": false}')
    with pytest.raises(WorkFailed, match="was rejected"):
        promote(database, "v2", "Ada", DAY, None)
    with pytest.raises(WorkFailed, match="v3 has not passed the gate"):
        promote(database, "v3", "Ada", DAY, None)
    for verdict in (passed("v3"), replace(passed("v2"), passed=False)):  # another version's, and one that it lost
        with pytest.raises(WorkFailed, match="was rejected"):
            promote(database, "v2", "Ada", DAY, None, verdict)
    assert live(database)[0].version == "v1"
    promote(database, "v2", "Ada", DAY, "we need it")
    row = version_row(database, "v2")
    assert row is not None and row.state == "rejected"
    assert live(database)[0].version == "v2"
    promote(database, "v1", "Ada", DAY)
    promote(database, "v2", "Ada", DAY, None, passed("v2"))
    row = version_row(database, "v2")
    assert row is not None and (row.state, row.verdict) == ("published", passed("v2").as_json())


def test_what_was_rolled_back_counts_and_serves_no_more_until_it_is_promoted_again(
    database: Database, tmp_path: Path
) -> None:
    put_up(database, tmp_path, "v1", "v2")
    for version in ("v1", "v2"):
        promote(database, version, "Ada", DAY)
    promotion.rollback(database, "Ada", DAY, "a mistake")
    assert [row.version for row in live(database)] == ["v1"], "v2's first time counts no more, either"
    with database.read() as session:
        undone = session.scalars(select(Promotion).where(Promotion.version == "v2")).all()
        assert registry.rolled_back(session) == {"v2": "a mistake"}
    assert [(row.undone_at, row.undone_because) for row in undone] == [(DAY, "a mistake")] * 2
    promote(database, "v2", "Ada", DAY)
    assert [row.version for row in live(database)] == ["v2", "v1"]
    with database.read() as session:
        assert registry.rolled_back(session) == {}


def test_a_rollback_goes_back_one_version_at_a_time(database: Database, tmp_path: Path) -> None:
    put_up(database, tmp_path, "v1", "v2", "v3")
    assert promotion.rollback(database, "Ada", DAY, "too many false alarms").version == "v2"
    assert live(database)[0].version == "v2"
    assert actions(database)[-1] == ("Ada", "rollback", "v2: too many false alarms")
    assert promotion.rollback(database, "Ada", DAY, "still too many").version == "v1"
    with pytest.raises(WorkFailed, match="No version was live before"):
        promotion.rollback(database, "Ada", DAY, "and more")


def test_after_a_rollback_a_new_version_rolls_back_to_the_one_it_replaced(database: Database, tmp_path: Path) -> None:
    put_up(database, tmp_path, "v1", "v2")
    promotion.rollback(database, "Ada", DAY, "no")
    put_up(database, tmp_path, "v3")
    assert promotion.rollback(database, "Ada", DAY, "no").version == "v1"


def test_promotions_and_rollbacks_change_no_result(database: Database, tmp_path: Path) -> None:
    put_up(database, tmp_path, "v1", "v2")
    (claimed,) = in_hand(database, "a.png")
    finish(database, screened(claimed, 0.9, version="v2"))
    before = rows(database)
    promotion.rollback(database, "Ada", DAY, "no")
    promote(database, "v2", "Ada", DAY)
    assert rows(database) == before


KEY, OTHER = SecretStr("thirty random characters or more"), SecretStr("the key of another hospital's system")


def test_with_a_key_a_published_version_is_signed_and_loads(database: Database, tmp_path: Path) -> None:
    models = tmp_path / "models"
    row = promotion.publish(database, models, make_linear_version(tmp_path / "made", "v1"), DAY, key=KEY)
    assert registry.load(models, row, KEY).manifest.version == "v1"
    assert len((models / "v1" / manifest.SIGNATURE).read_text()) == 65
    assert not (tmp_path / "made" / "v1" / manifest.SIGNATURE).exists()


@pytest.mark.parametrize("key", [None, OTHER], ids=["not signed", "signed with another key"])
def test_a_version_without_a_valid_signature_is_refused_and_publishing_it_again_signs_it(
    database: Database, tmp_path: Path, key: SecretStr | None
) -> None:
    models = tmp_path / "models"
    row = promotion.publish(database, models, make_linear_version(tmp_path / "made", "v1"), DAY, key=key)
    with pytest.raises(BrokenModel, match=r"version v1 is not signed .*`pneumoscreen models publish .*models/v1`"):
        registry.load(models, row, KEY)
    registry.load(models, row)
    assert promotion.publish(database, models, models / "v1", DAY, key=KEY) == row
    registry.load(models, row, KEY)
    assert {path.name for path in (models / "v1").iterdir()} == {LINEAR_FILE, manifest.NAME, manifest.SIGNATURE}


def test_a_signature_is_of_one_manifest_only(database: Database, tmp_path: Path) -> None:
    models = tmp_path / "models"
    first = promotion.publish(database, models, make_linear_version(tmp_path / "made", "v1"), DAY, key=KEY)
    second = promotion.publish(database, models, make_linear_version(tmp_path / "made", "v2", seed=1), DAY)
    shutil.copy(models / "v1" / manifest.SIGNATURE, models / "v2")
    with pytest.raises(BrokenModel, match="v2 is not signed"):
        registry.load(models, second, KEY)
    changed = manifest.read(models / "v1").model_copy(update={"threshold": 0.99})
    digest = manifest.write(models / "v1", changed)  # who can write the database too
    with pytest.raises(BrokenModel, match="v1 is not signed"):
        registry.load(models, Published(first.version, digest), KEY)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"0" * 64, b"\0" * 1000, "Ä".encode()])
def test_a_damaged_signature_is_no_signature(database: Database, tmp_path: Path, content: bytes) -> None:
    models = tmp_path / "models"
    row = promotion.publish(database, models, make_linear_version(tmp_path / "made", "v1"), DAY, key=KEY)
    (models / "v1" / manifest.SIGNATURE).write_bytes(content)
    with pytest.raises(BrokenModel, match="not signed"):
        registry.load(models, row, KEY)


def test_the_bundled_version_is_signed_when_it_is_installed(database: Database, tmp_path: Path) -> None:
    registry.install_bundled(database, tmp_path / "models", DAY, KEY)
    (row,) = live(database)
    manifest.read(tmp_path / "models" / row.version, row.manifest_sha256, KEY)
    registry.check(database, tmp_path / "models", KEY)


def test_a_key_that_is_set_later_signs_the_bundled_version_and_no_other(database: Database, tmp_path: Path) -> None:
    models = tmp_path / "models"
    registry.install_bundled(database, models, DAY)
    (bundled,) = live(database)
    mine = promotion.publish(database, models, make_linear_version(tmp_path / "made", "mine"), DAY)
    with pytest.raises(ServiceUnavailable, match="not signed"):
        registry.check(database, models, KEY)
    registry.install_bundled(database, models, DAY, KEY)
    registry.check(database, models, KEY)
    manifest.read(models / bundled.version, bundled.manifest_sha256, KEY)
    with pytest.raises(BrokenModel, match="mine is not signed"):
        manifest.read(models / "mine", mine.manifest_sha256, KEY)


def test_a_damaged_bundled_version_is_not_signed(database: Database, tmp_path: Path) -> None:
    registry.install_bundled(database, tmp_path / "models", DAY)
    folder = tmp_path / "models" / live(database)[0].version
    with (folder / manifest.NAME).open("a") as file:
        file.write(" ")
    registry.install_bundled(database, tmp_path / "models", DAY, KEY)
    assert not (folder / manifest.SIGNATURE).exists()


def test_a_version_that_cannot_be_signed_is_named(database: Database, tmp_path: Path) -> None:
    models = tmp_path / "models"
    promotion.publish(database, models, make_linear_version(tmp_path / "made", "v1"), DAY)
    (models / "v1" / manifest.SIGNATURE).mkdir()  # on this machine root may write everywhere
    with pytest.raises(BrokenModel, match="v1 cannot be signed"):
        promotion.publish(database, models, models / "v1", DAY, key=KEY)
