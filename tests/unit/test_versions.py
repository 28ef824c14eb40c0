"""`models publish`, `promote`, `rollback` and `list`, as a person calls them, with the gate in between."""

import json
from pathlib import Path

import pytest
import typer
from sqlalchemy import select

from actions import promotion
from cli import annotate
from cli.compare import compare
from cli.models import list_versions, show
from cli.versions import promote, publish, rollback
from shared.base import settings
from shared.base.errors import BrokenModel, InvalidRequest, WorkFailed
from shared.base.settings import Settings
from shared.database import AuditEntry, Database, ModelVersion, Promotion
from shared.models import manifest, registry
from shared.models.engines import LINEAR_FILE
from tests.models import DAY, SIZE, make_linear_version
from tests.models import promote as make_live
from tests.unit.test_gate import brightness, labelled


@pytest.fixture
def chosen(database: Database, tmp_path: Path) -> Settings:
    return settings.load(tmp_path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return labelled(tmp_path_factory.mktemp("labelled"))


def live(database: Database) -> str | None:
    with database.read() as session:
        return next((row.version for row in registry.live(session)), None)


def stored(database: Database, version: str) -> ModelVersion:
    with database.read() as session:
        return session.get_one(ModelVersion, version)


def known(chosen: Settings, tmp_path: Path, name: str, sign: float = 1.0) -> str:
    publish(chosen, brightness(tmp_path / "made", name, sign))
    return name


def test_publishing_makes_a_version_known_but_not_live(database: Database, chosen: Settings, tmp_path: Path) -> None:
    publish(chosen, make_linear_version(tmp_path / "made", "v1"))
    assert stored(database, "v1").state == "published"
    assert live(database) is None


def test_without_data_a_promotion_needs_a_reason(database: Database, chosen: Settings, tmp_path: Path) -> None:
    known(chosen, tmp_path, "v1")
    for reason in (None, " "):
        with pytest.raises(InvalidRequest, match="--data DIR"):
            promote(chosen, "v1", "Ada", None, reason)
    with pytest.raises(InvalidRequest, match="--by"):
        promote(chosen, "v1", " ", None, "the first one")
    promote(chosen, "v1", "Ada", None, "the first one")
    assert live(database) == "v1"


def test_a_version_that_passes_the_gate_is_live_with_the_figures_kept(
    database: Database, chosen: Settings, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    promote(chosen, known(chosen, tmp_path, "bad", -1.0), "Ada", None, "the first one")
    promote(chosen, known(chosen, tmp_path, "good"), "Ada", data, None)
    assert live(database) == "good"
    verdict = json.loads(stored(database, "good").verdict or "")
    assert verdict["passed"] and verdict["challenger"]["recall"] == 1.0
    (beside,) = verdict["comparisons"]
    assert (beside["role"], beside["other"]["version"]) == ("champion", "bad")
    for difference in (beside["specificity"], beside["at_equal_recall"]["difference"]):
        assert (difference["low"], difference["value"], difference["high"]) == (1.0, 1.0, 1.0)
    assert 0 < beside["at_equal_recall"]["threshold"] < 1 == beside["at_equal_recall"]["specificity"]
    printed = capsys.readouterr().out
    assert "champion" in printed and "It passed the gate" in printed


def test_a_version_that_loses_is_rejected_with_a_table_of_what_decided_and_exit_code_1(
    database: Database, chosen: Settings, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    promote(chosen, known(chosen, tmp_path, "good"), "Ada", None, "the first one")
    with pytest.raises(typer.Exit) as ended:
        promote(chosen, known(chosen, tmp_path, "bad", -1.0), "Ada", data, None)
    assert ended.value.exit_code == 1
    assert live(database) == "good"
    row = stored(database, "bad")
    assert row.state == "rejected"
    assert not json.loads(row.verdict or "")["passed"]
    printed = capsys.readouterr()
    assert "-1.0000 (-1.0000 to -1.0000)" in printed.out
    assert "Its recall at its threshold is 0.0000" in printed.out
    assert "good stays live" in printed.err
    with pytest.raises(InvalidRequest):
        promote(chosen, "bad", "Ada", None, None)


def test_a_person_overrides_the_gate_with_a_reason_that_is_recorded(
    database: Database, chosen: Settings, tmp_path: Path, data: Path
) -> None:
    promote(chosen, known(chosen, tmp_path, "good"), "Ada", None, "the first one")
    promote(chosen, known(chosen, tmp_path, "bad", -1.0), "Ben", data, "for a study of errors")
    assert live(database) == "bad"
    assert stored(database, "bad").state == "rejected"
    with database.read() as session:
        promotion = session.scalars(select(Promotion).order_by(Promotion.id.desc())).first()
        entries = session.scalars(select(AuditEntry).order_by(AuditEntry.id)).all()
    assert promotion is not None
    assert (promotion.promoted_by, promotion.reason) == ("Ben", "for a study of errors")
    assert [entry.action for entry in entries] == ["publish", "promote", "publish", "reject", "promote"]
    assert entries[-1].detail == "bad: for a study of errors"


def test_a_challenger_must_beat_a_version_that_was_live_long_ago(
    database: Database, chosen: Settings, tmp_path: Path, data: Path
) -> None:
    promote(chosen, known(chosen, tmp_path, "best"), "Ada", None, "the first one")
    promote(chosen, known(chosen, tmp_path, "worst", -1.0), "Ada", None, "a mistake")
    publish(chosen, make_linear_version(tmp_path / "made", "chance", seed=4))
    with pytest.raises(typer.Exit):
        promote(chosen, "chance", "Ada", data, None)
    comparisons = json.loads(stored(database, "chance").verdict or "")["comparisons"]
    assert [(found["other"]["version"], found["role"]) for found in comparisons] == [
        ("worst", "champion"),
        ("best", "earlier"),
    ]


def test_a_damaged_version_is_not_promoted_and_not_rolled_back_to(
    database: Database, chosen: Settings, tmp_path: Path
) -> None:
    for name in ("v1", "v2"):
        promote(chosen, known(chosen, tmp_path, name), "Ada", None, "a test")
    known(chosen, tmp_path, "v3")
    for name in ("v1", "v3"):
        (chosen.models / name / LINEAR_FILE).write_bytes(b"damaged")
    with pytest.raises(BrokenModel, match="damaged"):
        promote(chosen, "v3", "Ada", None, "a test")
    with pytest.raises(BrokenModel, match=r"damaged.*takes another version back"):
        rollback(chosen, "Ada", "a test")
    assert live(database) == "v2"


def test_promoting_the_live_version_says_so(
    chosen: Settings, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    promote(chosen, known(chosen, tmp_path, "v1"), "Ada", None, "the first one")
    promote(chosen, "v1", "Ada", data, None)
    assert "v1 is live already" in capsys.readouterr().out


def test_an_unknown_version_is_named(chosen: Settings) -> None:
    with pytest.raises(BrokenModel, match="There is no model version 'v9'"):
        promote(chosen, "v9", "Ada", None, "a test")


def test_a_rollback_makes_the_version_before_live_and_records_who_and_why(
    database: Database, chosen: Settings, tmp_path: Path
) -> None:
    promote(chosen, known(chosen, tmp_path, "v1"), "Ada", None, "the first one")
    with pytest.raises(WorkFailed, match="No version was live before"):
        rollback(chosen, "Ada", "a test")
    promote(chosen, known(chosen, tmp_path, "v2"), "Ada", None, "a test")
    with pytest.raises(InvalidRequest, match="--reason"):
        rollback(chosen, "Ada", " ")
    rollback(chosen, "Ben", "too many false alarms")
    assert live(database) == "v1"
    with database.read() as session:
        entry = session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc())).first()
    assert entry is not None
    assert (entry.actor, entry.action, entry.detail) == ("Ben", "rollback", "v1: too many false alarms")


def test_notes_and_tags_stand_in_the_list_and_beside_the_manifest(
    database: Database, chosen: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known(chosen, tmp_path, "v1")
    annotate.note(chosen, "v1", "too bright", "Ada")
    annotate.note(chosen, "v1", " without the sharpened series ", "Ben")
    annotate.tag(chosen, "v1", ["site-b", "baseline", "old"], "Ada", remove=False)
    annotate.tag(chosen, "v1", ["old"], "Ada", remove=True)
    capsys.readouterr()
    list_versions(chosen)
    printed = capsys.readouterr().out
    assert "baseline, site-b" in printed and "without the sharpened series (2 notes)" in printed
    show(chosen, "v1")
    described = json.loads(capsys.readouterr().out)
    assert described["tags"] == ["baseline", "site-b"]
    assert [(note["by"], note["text"]) for note in described["notes"]] == [
        ("Ada", "too bright"),
        ("Ben", "without the sharpened series"),
    ]
    with database.read() as session:
        entries = session.scalars(select(AuditEntry).order_by(AuditEntry.id)).all()
    assert [(entry.actor, entry.action) for entry in entries][1:] == [
        ("Ada", "note"),
        ("Ben", "note"),
        ("Ada", "tag"),
        ("Ada", "tag"),
    ]


def test_what_is_no_note_and_no_tag_is_refused(database: Database, chosen: Settings, tmp_path: Path) -> None:
    known(chosen, tmp_path, "v1")
    with pytest.raises(InvalidRequest, match="between 1 and"):
        annotate.note(chosen, "v1", " ", "Ada")
    with pytest.raises(InvalidRequest, match="unlike 'Site B'"):
        annotate.tag(chosen, "v1", ["fine", "Site B"], "Ada", remove=False)
    for annotated in (
        lambda: annotate.note(chosen, "v9", "a", "Ada"),
        lambda: annotate.tag(chosen, "v9", ["a"], "A", remove=False),
    ):
        with pytest.raises(BrokenModel, match="There is no model version 'v9'"):
            annotated()
    assert stored(database, "v1").tags == "[]"


def test_a_version_that_was_rolled_back_blocks_no_better_one_and_is_listed_as_such(
    database: Database, chosen: Settings, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was promoted by mistake, and finds all by calling everything ill: nothing could have beaten its recall."""
    promote(chosen, known(chosen, tmp_path, "bad", -1.0), "Ada", None, "the first one")
    everything = brightness(tmp_path / "made", "everything")
    manifest.write(everything, manifest.read(everything).model_copy(update={"threshold": 0.00001}))
    publish(chosen, everything)
    with pytest.raises(typer.Exit):
        promote(chosen, "everything", "Ada", data, None)
    assert "calls every image PNEUMONIA" in capsys.readouterr().out
    promote(chosen, "everything", "Ada", None, "by mistake")
    rollback(chosen, "Ben", "it calls everything ill")
    capsys.readouterr()
    list_versions(chosen)
    assert "rolled back" in capsys.readouterr().out
    promote(chosen, known(chosen, tmp_path, "good"), "Ada", data, None)
    comparisons = json.loads(stored(database, "good").verdict or "")["comparisons"]
    assert [found["other"]["version"] for found in comparisons] == ["bad"]


def test_going_back_to_a_version_that_had_lost_at_the_gate_is_told(
    database: Database, chosen: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("lost", "next"):
        promote(chosen, known(chosen, tmp_path, name), "Ada", None, "a test")
    with database.write() as session:
        promotion.reject(session, "lost", "Ada", DAY, "{}")
    rollback(chosen, "Ben", "slower")
    assert live(database) == "lost"
    assert "lost had lost at the gate" in capsys.readouterr().err


def test_two_versions_are_compared_on_the_same_images(
    database: Database, chosen: Settings, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, sign in (("good", 1.0), ("bad", -1.0)):
        known(chosen, tmp_path, name, sign)
    capsys.readouterr()
    compare(chosen, "good", "bad", data, "json")
    report = json.loads(capsys.readouterr().out)
    assert (report["first"]["recall"]["value"], report["second"]["recall"]["value"]) == (1.0, 0.0)
    found = report["disagreement"]["PNEUMONIA"]
    assert (found["only_first"], found["only_second"], found["both_right"]) == (found["images"], 0, 0)
    assert found["p_value"] == 2 * 0.5 ** found["images"]
    assert report["recipes"]["version"] == ["good", "bad"]
    assert report["recipes"]["preprocessing.width"] == [SIZE, SIZE]
    compare(chosen, "good", "bad", data, "table")
    printed = capsys.readouterr().out
    assert "p (McNemar, exact)" in printed and "data.fingerprint" not in printed
    compare(chosen, "good", "bad", None, "table")
    printed = capsys.readouterr().out
    assert "libraries.numpy" in printed and "--data DIR" in printed


def test_the_list_tells_what_is_live_since_when_and_what_was_rejected(
    database: Database, chosen: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("old", "now", "lost"):
        known(chosen, tmp_path, name)
    for name in ("old", "now"):
        make_live(database, name, "Ada", DAY)
    with database.write() as session:
        promotion.reject(session, "lost", "Ada", DAY, "{}")
    capsys.readouterr()
    list_versions(chosen)
    lines = capsys.readouterr().out.splitlines()
    found = {name: next(line for line in lines if f" {name} " in line) for name in ("old", "now", "lost")}
    assert " live " in found["now"] and f"{DAY:%Y-%m-%d %H:%M}" in found["now"]
    assert " published " in found["old"] and f"{DAY:%Y}" not in found["old"]
    assert " rejected " in found["lost"]


def test_with_a_signing_key_only_what_it_signed_is_promoted_listed_and_rolled_back_to(
    database: Database, chosen: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = settings.load(tmp_path, signing_key="thirty random characters or more")
    publish(chosen, make_linear_version(tmp_path / "made", "v1"))
    promote(chosen, "v1", "Ada", None, "the first one")
    publish(strict, make_linear_version(tmp_path / "made", "v2"))
    promote(strict, "v2", "Ada", None, "a signed one")
    list_versions(strict)
    assert "v1 is not signed" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(BrokenModel, match="v1 is not signed"):
        rollback(strict, "Ada", "slower")
    with pytest.raises(BrokenModel, match="v1 is not signed"):
        promote(strict, "v1", "Ada", None, "again")
    publish(strict, tmp_path / "models" / "v1")
    rollback(strict, "Ada", "slower")
    assert live(database) == "v1"


def test_the_list_shows_on_how_many_images_figures_rest_and_how_sure_they_are(
    database: Database, chosen: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version = make_linear_version(tmp_path / "made", "v1")
    measured = {
        "auc": {"value": 0.9, "low": 0.8, "high": 0.95},
        "recall": {"value": 1.0, "low": 0.884, "high": 1.0},
        "specificity": 0.75,
        "images": 43,
        "patients": 21,
    }
    manifest.write(version, manifest.read(version).model_copy(update={"metrics": {"validation": measured}}))
    publish(chosen, version)
    capsys.readouterr()
    list_versions(chosen)
    printed = capsys.readouterr().out
    cells = next([cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if " v1 " in line)
    assert cells[4:9] == ["43", "21", "0.900 (0.800 to 0.950)", "1.000 (0.884 to 1.000)", "0.750"]
    assert "training hospital" not in printed
    assert "held out from its own data" in " ".join(printed.split())
