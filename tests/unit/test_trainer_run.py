"""A run of the trainer service from labelled images to a verdict; what fits networks is replaced by linear weights."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from actions.comparison import Ground, Side
from actions.promotion import publish, request_promotion
from actions.verdict import Verdict, judge
from shared.base.errors import WorkFailed
from shared.base.settings import Settings, load
from shared.database import Database, Draw, ModelVersion, Review, RunState, TrainingRun
from shared.imaging import Preprocessing
from shared.ledger.register import register
from shared.ledger.work import Screened
from shared.models import manifest, registry
from shared.models.engines import LINEAR_FILE
from shared.sources.folder.facts import Facts
from tests.models import SIZE, describe, go_live, make_linear_version
from tests.unit.steps import NOW, claim, finish, send_all
from trainer import datasets, gate, leases, pipeline, run
from trainer.description import Description
from trainer.patients import Rule, of_key, parse_pattern
from trainer.pipeline import Plan, Trained
from trainer.reviewed import ReviewedImage

Make = Callable[[Plan, Path, Console, Description], Trained]
CONSOLE = Console(quiet=True)


def version(folder: Path, name: str, slope: float) -> Path:
    """A version that calls bright pictures PNEUMONIA if its slope is positive."""
    made = make_linear_version(folder, name)
    weights = np.full(SIZE * SIZE + 1, slope / SIZE**2, np.float32)
    weights[-1] = -slope / 2
    np.save(made / LINEAR_FILE, weights)
    describe(made)
    return made


def picture(file: Path, is_bright: bool, seed: int) -> Path:
    random = np.random.default_rng(seed)
    values = random.integers(150, 250, (64, 64)) if is_bright else random.integers(5, 100, (64, 64))
    Image.fromarray(values.astype(np.uint8)).save(file)
    return file


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough patients that over thirty of each class are held out."""
    folder = tmp_path_factory.mktemp("labelled")
    for label in ("NORMAL", "PNEUMONIA"):
        (folder / label).mkdir()
        for number in range(300):
            name = f"person{number}_1.png" if label == "PNEUMONIA" else f"IM-{number:04d}-0001.png"
            picture(folder / label / name, label == "PNEUMONIA", hash_of(label, number))
    return folder


def hash_of(label: str, number: int) -> int:
    return number + (1000 if label == "NORMAL" else 0)


@pytest.fixture
def settings(tmp_path: Path, database: Database, labelled: Path) -> Settings:
    go_live(database, version(tmp_path / "models", "champion", 20.0))
    (tmp_path / "ward").mkdir()
    return load(tmp_path, training_data=labelled, sources={"ward": {"path": tmp_path / "ward"}})


def making_of(slope: float, monkeypatch: pytest.MonkeyPatch, seen: list[Path] | None = None) -> None:
    def train(plan: Plan, data: Path, _console: Console, _said: Description) -> Trained:
        if seen is not None:
            seen.extend(sorted(data.glob("*/*")))
        folder = version(plan.out, f"challenger-{plan.seed}", slope)
        return Trained(folder, manifest.read(folder))

    monkeypatch.setattr(pipeline, "train", train)


def begun(database: Database) -> leases.Lease:
    with database.write() as session:
        lease = leases.begin(session, "screen", "schedule", NOW)
    assert lease is not None
    return lease


def ended(database: Database) -> TrainingRun:
    with database.read() as session:
        return session.query(TrainingRun).one()


def live(database: Database) -> str:
    with database.read() as session:
        return registry.live(session)[0].version


def test_a_challenger_that_passes_the_gate_goes_live(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    making_of(25.0, monkeypatch)
    lease = begun(database)
    run.run(settings, lease.run, lease.fence, CONSOLE)
    assert live(database) == "challenger-1"
    assert (ended(database).state, ended(database).version) == (RunState.PUBLISHED, "challenger-1")
    assert not list((settings.home / "training").iterdir()), "what was gathered is gone"


def test_a_challenger_that_fails_it_is_kept_as_rejected_with_the_figures(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    making_of(-5.0, monkeypatch)
    lease = begun(database)
    run.run(settings, lease.run, lease.fence, CONSOLE)
    assert live(database) == "champion"
    assert ended(database).state == RunState.REJECTED
    with database.read() as session:
        row = session.get_one(ModelVersion, "challenger-1")
    assert row.state == "rejected"
    assert '"recall"' in (row.verdict or "")
    assert (settings.models / "challenger-1").is_dir()


def test_a_challenger_is_compared_again_if_another_version_went_live_meanwhile(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    making_of(25.0, monkeypatch)
    other = version(settings.models, "other", 22.0)
    examine = gate.examine
    against: list[str] = []

    def examine_slowly(models: Path, challenger: registry.Published, live: list[registry.Published], *more: Any) -> Any:
        if not against:
            go_live(database, other)
        against.append(live[0].version)
        return examine(models, challenger, live, *more)

    monkeypatch.setattr(gate, "examine", examine_slowly)
    lease = begun(database)
    run.run(settings, lease.run, lease.fence, CONSOLE)
    assert against == ["champion", "other"]
    assert live(database) == "challenger-1"


def test_what_people_promote_is_not_judged_against_a_version_that_is_no_longer_live(
    database: Database, settings: Settings
) -> None:
    publish(database, settings.models, version(settings.home / "candidates", "mine", 25.0), NOW)
    other = version(settings.models, "other", 22.0)

    def measure(*_: object) -> Verdict:
        go_live(database, other)
        return judge(None, Side("mine", np.array([0.9, 0.1]), 0.5), Ground(np.array([1, 0], np.uint8), ("p1", "p2")))

    with pytest.raises(WorkFailed, match="another version went live while mine was compared with champion"):
        request_promotion(database, settings, "mine", "A. Nurse", lambda: NOW, measure)
    assert live(database) == "other"
    with database.read() as session:
        assert session.get_one(ModelVersion, "mine").state == "published"


def test_a_run_that_another_trainer_took_over_makes_nothing_live(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    making_of(25.0, monkeypatch)
    lease = begun(database)
    with pytest.raises(WorkFailed, match="took this run over"):
        run.run(settings, lease.run, lease.fence + 1, CONSOLE)
    assert live(database) == "champion"
    assert ended(database).state == RunState.RUNNING


def screened(database: Database, file: Path, content: bytes | None = None) -> str:
    """Register and screen a file of the ward; returns its content's checksum."""
    digest = hashlib.sha256(content or file.read_bytes()).hexdigest()
    with database.write() as session:
        register(session, "ward", "routine", [Facts.of(file.stat()).found(file.name)], NOW)
    (claimed,) = claim(database, send_all(database))
    finish(database, Screened(claimed, digest, "champion", 0.9, 0.5, "PNEUMONIA"))
    return digest


def test_what_reviewers_labelled_is_learned_from_and_their_word_wins(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch, labelled: Path
) -> None:
    ward = settings.sources["ward"].path
    new = screened(database, picture(ward / "scan.png", True, 9001))
    gone = screened(database, picture(ward / "gone.png", True, 9002))
    (ward / "gone.png").unlink()
    (ward / "copy.png").write_bytes((labelled / "NORMAL" / "IM-0007-0001.png").read_bytes())
    corrected = screened(database, ward / "copy.png")
    with database.write() as session:
        for digest, label in ((new, "NORMAL"), (new, "PNEUMONIA"), (gone, "NORMAL"), (corrected, "PNEUMONIA")):
            session.add(Review(sha256=digest, label=label, reviewer="Dr. Okafor", created_at=NOW))
    seen: list[Path] = []
    making_of(25.0, monkeypatch, seen)
    lease = begun(database)
    run.run(settings, lease.run, lease.fence, CONSOLE)
    found = {path.resolve() if path.is_symlink() else path: path for path in seen}
    names = [str(path.relative_to(path.parents[1])) for path in seen]
    assert len(found) == 601
    assert sum(name.startswith("PNEUMONIA/") for name in names) == 302, "the new one and the corrected one"
    assert not [name for name in names if "IM-0007" in name], "under its old label it is not learned from"


def test_from_an_image_that_a_reader_calls_unclear_nothing_is_learned_and_not_readable_is_no_word_on_its_pixels(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch, labelled: Path
) -> None:
    ward = settings.sources["ward"].path
    digests = {}
    for name in ("IM-0007-0001.png", "IM-0008-0001.png"):
        (ward / name).write_bytes((labelled / "NORMAL" / name).read_bytes())
        digests[name] = screened(database, ward / name)
    unclear, readable = digests.values()
    with database.write() as session:
        for digest, label in ((unclear, "PNEUMONIA"), (unclear, "UNCLEAR"), (readable, "NOT_READABLE")):
            session.add(Review(sha256=digest, sighting_id=1, label=label, reviewer="Dr. Okafor", created_at=NOW))
    seen: list[Path] = []
    making_of(25.0, monkeypatch, seen)
    lease = begun(database)
    run.run(settings, lease.run, lease.fence, CONSOLE)
    assert len(seen) == 599
    assert not [path for path in seen if "IM-0007" in path.name]
    assert len([path for path in seen if "IM-0008" in path.name]) == 1


def test_a_patients_key_decides_whose_an_image_is() -> None:
    def patient(name: str, key: str | None) -> str:
        return ReviewedImage("0" * 64, "NORMAL", "ward", name, Path(name), key).owner().patient

    assert patient("a.dcm", "k" * 64) == patient("b.dcm", "k" * 64) == "person167085402194616298"
    assert patient("a.dcm", "j" * 64) != patient("a.dcm", "k" * 64)
    assert patient("person12_virus_3.jpeg", None) == "person12"
    assert patient("scan.png", None) == "person403865683272935549"


def test_a_declared_pattern_looks_at_the_folders_of_a_reviewed_image_too() -> None:
    """Where exports name all files alike, and a folder is a patient's."""
    image = ReviewedImage("0" * 64, "NORMAL", "ward", "patient12345/study1/view1.jpg", Path("view1.jpg"), None)
    assert image.owner(parse_pattern("chexpert", "dataset.toml")).patient == "patient12345"


@pytest.mark.parametrize("is_drawn", [False, True])
def test_what_readers_chose_judges_nothing_but_what_a_random_draw_chose_does(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch, *, is_drawn: bool
) -> None:
    """The order of the worklist is no sample: a version would be judged by what its predecessor was unsure of."""
    ward = settings.sources["ward"].path
    held_out = next(name for number in range(99) if datasets.is_held_out(of_key(name := f"scan{number}")))
    digest = screened(database, picture(ward / f"{held_out}.png", True, 9001))
    with database.write() as session:
        draw = Draw(source="ward", model_version="champion", seed=1, until=NOW, created_by="Ada", created_at=NOW)
        session.add(draw)
        session.flush()
        word = Review(sha256=digest, label="PNEUMONIA", reviewer="Dr. Okafor", created_at=NOW, is_blind=True)
        word.draw_id = draw.id if is_drawn else None
        session.add(word)
    making_of(25.0, monkeypatch)
    lease = begun(database)
    run.run(settings, lease.run, lease.fence, CONSOLE)
    with database.read() as session:
        verdict = json.loads(session.get_one(ModelVersion, "challenger-1").verdict or "")
    names = [name for number in range(300) for name in (f"person{number}", f"IM-{number:04d}")]
    assert verdict["images"] == sum(map(datasets.is_held_out, names)) + is_drawn


def test_images_of_the_labelled_folder_keep_their_names_and_patients_where_they_are_gathered(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number before the name would make another patient of each file whenever files are added."""
    folder = tmp_path / "table"
    (folder / "in").mkdir(parents=True)
    (tmp_path / "ward").mkdir()
    for number, name in enumerate(("one_1.png", "one_2.png", "two_1.png", "three.png")):
        picture(folder / "in" / name, number > 1, number)
    rows = "path,label,patient\nin/one_1.png,NORMAL,\nin/one_2.png,NORMAL,\nin/two_1.png,PNEUMONIA,\n"
    (folder / "labels.csv").write_text(rows + "in/three.png,PNEUMONIA,third\n")
    (folder / "dataset.toml").write_text("[patients]\npattern = '/([a-z]+)_'\n")
    found = load(tmp_path, training_data=folder, sources={"ward": {"path": tmp_path / "ward"}})
    reviewed = picture(tmp_path / "ward" / "copy.png", True, 77)
    reviewed.write_bytes((folder / "in" / "two_1.png").read_bytes())
    digest = screened(database, reviewed)
    with database.write() as session:
        session.add(Review(sha256=digest, label="NORMAL", reviewer="Dr. Okafor", created_at=NOW))
    run._gather(found, database, 9, tmp_path / "gathered", CONSOLE)
    data = datasets.read(tmp_path / "gathered", Preprocessing(width=16, height=16), CONSOLE)
    whose = dict(zip(data.names, zip(data.patients, data.labels.tolist(), strict=True), strict=True))
    assert whose == {
        "in/one_1.png": ("one", 0),
        "in/one_2.png": ("one", 0),
        "in/two_1.png": ("two", 0),
        "in/three.png": ("third", 1),
    }
    assert data.rules.count(Rule.PATTERN) == 3
