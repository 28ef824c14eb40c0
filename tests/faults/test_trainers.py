"""A trainer killed in every step of a run and of publishing, two trainers at once, and a folder of models that is gone.

All the while images are screened: whatever becomes of a training, the live version stays in service.
"""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from actions import promotion
from shared import database
from shared.database import Review
from shared.models import manifest, registry
from tests import pace
from tests.faults.trial import CHOSEN, IS_LONG, KINDS, MIN_IMAGES, SEED, Trial, struck
from tests.models import make_linear_version, promote, published
from tests.plan import short
from tests.servers import Servers
from tests.system import System

STEPS = (
    "run taken",  # its row is there, and nobody was told
    "gathered",
    "epoch",  # its checkpoint is written
    "fitted",
    "written aside",  # weights, and no manifest yet
    "renamed",  # whole, in the folder of candidates
    "forgotten",  # the checkpoints are gone
    "copying",  # into the folder of models, under a temporary name
    "placed",  # there under its own name, and known to nobody
    "judged",
    "publishing",  # in the transaction that ends the run
    "ended",  # and nothing tidied
)
SECONDS = pace.seconds(240)
"""For one step of a trainer, which is slow to start."""
REAL = ("epoch", "fitted")
"""Only a real network comes to these steps."""
PATIENTS = 60
"""Of each class; a few are held out, and the gate is told that they are enough."""
RUNS = 4
"""So that none is killed more than three times: after five starts it is given up."""
SETTINGS = {
    "PNEUMOSCREEN_ARCHITECTURE": "tiny7",
    "PNEUMOSCREEN_RETRAIN_AFTER_LABELS": "20",
    "MIN_PATIENTS": "1",
    "EPOCHS": "2",
    "TICK_SECONDS": "2",
    "TRAINER_HEARTBEAT": "1",
    "ALIVE": pace.setting(8),
    "AFTER_FAILURE": "5",
    "RETRY_SECONDS": "2",
}
NETWORKS = ("linear", "real")
"""The short form fits no network: a real one is killed amid its fit in tests/unit/test_train.py."""
StartTrial = Callable[[System, str], Trial]


def groups(network: str) -> list[tuple[str, ...]]:
    """The steps at which one run after the other is killed, far from each other; the short form has one run."""
    steps = [step for step in STEPS if network == "real" or step not in REAL]
    runs = [tuple(steps[start::RUNS]) for start in range(RUNS)]
    return runs if IS_LONG else [runs[(SEED - 1) % RUNS]]


@pytest.fixture(scope="module", params=short([(CHOSEN, "linear")], product(KINDS, NETWORKS)), ids="-".join)
def system(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    make_servers: Callable[[str], Servers | None],
) -> Iterator[System]:
    """Labelled images and all, but no run yet: the labelled folder is still empty."""
    kind, network = request.param
    folder = tmp_path_factory.mktemp("trainers")
    data = folder / "labelled"
    data.mkdir()
    settings = SETTINGS | {"PNEUMOSCREEN_TRAINING_DATA": str(data), "NETWORK": network}
    with struck(folder, make_servers(kind), pace=0.06, trainer=True, **settings) as found:
        yield found


@contextmanager
def opened(system: System) -> Iterator[database.Database]:
    found = database.connect(system.database_url)
    yield found
    found.close()


def demand_a_run(system: System) -> int:
    """Twenty more reviews, and at first the labelled images; returns the number of the run that will be next."""
    data = Path(system.environment["PNEUMOSCREEN_TRAINING_DATA"])
    number = 1 + int(system.query("SELECT coalesce(max(id), 0) FROM training_runs")[0][0])
    if number > 1:
        with opened(system) as ledger, ledger.write() as session:
            for _ in range(20):
                review = Review(
                    sha256=uuid.uuid4().hex * 2, label="NORMAL", reviewer="me", created_at=datetime.now(UTC)
                )
                session.add(review)
        return number
    draw = np.random.default_rng(SEED)
    aside = data.parent / "aside-labelled"
    for name, stem, low in (("NORMAL", "IM-", 5), ("PNEUMONIA", "person", 150)):
        (aside / name).mkdir(parents=True)
        for patient in range(PATIENTS):
            pixels = draw.integers(low, low + 95, (64, 64)).astype(np.uint8)
            Image.fromarray(pixels).save(aside / name / f"{stem}{patient:04d}_1.png")
    data.rmdir()
    aside.rename(data)
    return number


def meanwhile(fault: Trial, condition: Callable[[], object], what: str) -> None:
    """Until a condition holds, while images never run out."""
    patience = pace.Patience(SECONDS, fault.system.traces_of_training)

    def looks() -> bool:
        assert not patience.is_over(), f"waited in vain for {what}:\n{fault.system.logs()}"
        if fault.count - fault.finished() < 20:
            fault.drop(60)
        return bool(condition())

    fault.wait(looks, what)


def lay(system: System, name: str) -> Path:
    strike = system.home.parent / "strikes" / name
    strike.touch()
    return strike


def kill_at(fault: Trial, step: str) -> None:
    strike = lay(fault.system, f"{step}-{fault.strikes}")
    meanwhile(fault, lambda: not strike.exists(), f"the trainer to come to {step!r}")
    fault.strikes += 1


def end_of(system: System, run: int) -> tuple[str, str | None, str | None]:
    """State, version and problem of this run, or the next: PostgreSQL leaves a number out if two trainers begin one."""
    sql = "SELECT state, version, problem FROM training_runs WHERE id >= ? ORDER BY id LIMIT 1"
    ((state, version, problem),) = system.query(sql, run) or [("due", None, None)]
    return state, version, problem


def has_ended(system: System, run: int) -> bool:
    return end_of(system, run)[0] not in ("due", "running")


def finish(fault: Trial) -> None:
    """All of at least MIN_IMAGES, each once."""
    if fault.count < MIN_IMAGES:
        fault.drop(MIN_IMAGES - fault.count)
    fault.end()


def check_end(system: System, run: int) -> None:
    """The run had one end and one version, judged and told once, and nothing half is left of it."""
    state, version, _ = end_of(system, run)
    assert state in ("published", "rejected"), system.query("SELECT * FROM training_runs WHERE id = ?", run)
    rows = system.query("SELECT state, verdict IS NOT NULL FROM model_versions WHERE version = ?", version)
    assert [(row, bool(is_judged)) for row, is_judged in rows] == [(state, True)]
    said = "SELECT action, count(*) FROM audit_log WHERE detail = ? GROUP BY action"
    last = "promote" if state == "published" else "reject"
    assert dict(system.query(said, version)) == {"publish": 1, last: 1}
    promotions = system.query("SELECT count(*) FROM promotions WHERE version = ? AND promoted_by = 'trainer'", version)
    assert promotions == [(int(state == "published"),)]
    unjudged = "SELECT count(*) FROM model_versions WHERE state = 'published' AND verdict IS NULL AND version <> ?"
    candidate = registry.bundled().name  # comes with the program, beside the first version
    assert system.query(unjudged, candidate) == [(1,)], "only the first version was judged by nobody"


def check_folders(system: System) -> None:
    """Between two runs: what lies in the folder of models is known and whole, and nothing else was kept."""
    known = {str(version) for (version,) in system.query("SELECT version FROM model_versions")}
    models = system.home / "models"
    assert {folder.name for folder in models.iterdir()} == known
    for folder in models.iterdir():
        manifest.read(folder)
    assert not list((system.home / "candidates").glob("*/*"))
    assert not list((system.home / "training").glob("*/state"))


def trainer_processes(system: System) -> list[psutil.Process]:
    return [found for part in ("cli.main trainer", "trainer.run") for found in system.processes(part)]


def test_a_trainer_killed_in_any_step_publishes_its_version_once_or_rejects_it(
    system: System, trial: StartTrial
) -> None:
    network = system.environment["NETWORK"]
    for steps in groups(network):
        fault = trial(system, f"trainer killed ({network}): {', '.join(steps)}")
        before = live(system)
        run = demand_a_run(system)
        for step in steps:
            kill_at(fault, step)
            if step != "ended":
                assert live(system) == before, f"{step}: the version that was live stays so"
        meanwhile(fault, lambda run=run: has_ended(system, run), "the run to end")
        system.wait(lambda: not system.processes("trainer.run"), "the run's process to end")
        finish(fault)
        check_end(system, run)
        fences = system.query("SELECT fence FROM training_runs WHERE id = ?", run)
        assert fences == [(1 + len([step for step in steps if step != "ended"]),)], "one successor for each death"
        if "ended" not in steps:  # else the next run tidies
            check_folders(system)


@pytest.mark.soak
@pytest.mark.parametrize("is_alone", [True, False], ids=lambda is_alone: "alone" if is_alone else "all")
def test_a_trainer_service_that_is_killed_is_followed_by_another(
    system: System, trial: StartTrial, is_alone: bool
) -> None:
    """A training that outlived it would write into the checkpoints that its successor goes on from."""
    what = "alone" if is_alone else "with its training"
    fault = trial(system, f"trainer service killed {what} ({system.environment['NETWORK']})")
    run = demand_a_run(system)
    freeze = lay(system, "freeze forgotten")
    meanwhile(fault, lambda: not freeze.exists(), "the run to be under way")
    (training,) = system.processes("trainer.run")
    for process in system.processes("cli.main trainer") + ([] if is_alone else [training]):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    fault.strikes += 1
    if is_alone:
        training.resume()
    meanwhile(fault, lambda: not is_training(training), "the training to end with its service")
    meanwhile(fault, lambda: has_ended(system, run), "the run to end")
    system.wait(lambda: not system.processes("trainer.run"), "the run's process to end")
    finish(fault)
    check_end(system, run)
    if system.query("SELECT fence FROM training_runs WHERE id = ?", run) != [(1,)]:
        check_folders(system)  # else the first one said the last word as it was killed, and the next run tidies


@pytest.mark.soak
def test_of_two_trainers_one_publishes_a_run_and_the_other_that_comes_back_does_not(
    system: System, trial: StartTrial
) -> None:
    fault = trial(system, f"two trainers, one of them frozen as it publishes ({system.environment['NETWORK']})")
    command = [sys.executable, "-m", "cli.main", "trainer"]
    with (system.home / "logs" / "second-trainer.log").open("w") as log:
        second = subprocess.Popen(
            command, env=system.environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        run = demand_a_run(system)
        freeze = lay(system, "freeze judged")
        meanwhile(fault, lambda: not freeze.exists(), "a run to be judged")
        theirs = psutil.Process(second.pid)
        is_theirs = "trainer.run" in str([child.cmdline() for child in theirs.children(recursive=True)])
        holder = [theirs, *theirs.children(recursive=True)] if is_theirs else trainer_processes(system)
        system.halt(holder)
        assert system.query("SELECT state, fence FROM training_runs WHERE id = ?", run) == [("running", 1)]
        fault.strikes += 1
        meanwhile(fault, lambda: has_ended(system, run), "the other trainer to end the run")
        for process in reversed(holder):
            process.resume()
        meanwhile(fault, lambda: not any(map(is_training, holder)), "the first trainer to give up")
        finish(fault)
        assert system.query("SELECT fence FROM training_runs WHERE id = ?", run) == [(2,)]
        assert system.query("SELECT count(*) FROM training_runs WHERE id > ?", run) == [(0,)]
        check_end(system, run)
        check_folders(system)
    finally:
        os.killpg(second.pid, signal.SIGCONT)
        second.terminate()
        second.wait(SECONDS)


def is_training(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and "trainer.run" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def live(system: System) -> str:
    with opened(system) as ledger, ledger.read() as session:
        return registry.live(session)[0].version


@contextmanager
def unreadable(folder: Path) -> Iterator[None]:
    """Root reads whatever its mode, so for root a file lies where the folder was."""
    if os.geteuid():
        mode = folder.stat().st_mode
        folder.chmod(0)
        yield
        folder.chmod(mode)
    else:
        aside = folder.rename(folder.with_name(f"{folder.name}-aside"))
        folder.touch()
        yield
        folder.unlink()
        aside.rename(folder)


@pytest.mark.soak  # the parts of it: test_worker_models.py, test_worker_process.py, test_trainer_tasks.py
def test_a_folder_of_models_that_cannot_be_read_stops_neither_screening_nor_the_next_training(
    system: System, trial: StartTrial
) -> None:
    fault = trial(system, f"folder of models unreadable ({system.environment['NETWORK']})")
    models = system.home / "models"
    old, new = live(system), f"promoted-{uuid.uuid4().hex[:8]}"
    made = published(make_linear_version(models, new, seed=int(new[-4:], 16)))
    with opened(system) as ledger, ledger.write() as session:
        promotion.make_known(session, made, datetime.now(UTC), "test", datetime.now(UTC))
    folder = fault.drop()
    with unreadable(models):
        fault.strikes += 1
        with opened(system) as ledger:
            promote(ledger, new, "test", datetime.now(UTC))
        meanwhile(fault, lambda: new in complaints(system), "the worker to say that it cannot load what is live")
        told = system.command("status")
        assert told.returncode == 1 and f"{old} goes on serving there" in told.stdout, told.stdout
        screened = fault.drop()
        meanwhile(fault, lambda: fault.finished(screened) == 100, "images to be screened all the same")
        versions = "SELECT DISTINCT model_version FROM results WHERE path LIKE ?"
        assert system.query(versions, f"{screened}/%") == [(old,)]

        run = demand_a_run(system)
        meanwhile(fault, lambda: has_ended(system, run), "the run to fail")
        state, _, problem = end_of(system, run)
        assert state == "failed" and problem and str(models) in problem and "Traceback" not in problem, (state, problem)
        # Not at once: while the next run is under way already, that is what it tells.
        meanwhile(fault, lambda: "The live version stays" in system.command("status").stdout, "`status` to say so")

        waiting = fault.drop()
        workers = system.processes("cli.main worker")
        parent = next(one for one in workers if one.ppid() not in {other.pid for other in workers})
        parent.kill()  # now nobody holds a version, and none can be loaded
        fault.strikes += 1
    fault.wait(lambda: fault.finished(waiting) == 100, "the images that waited for a version")
    meanwhile(
        fault, lambda: failed(system) < newest(system) and has_ended(system, newest(system)), "a later run to end"
    )
    system.wait(lambda: not system.processes("trainer.run"), "the run's process to end")
    assert fault.finished(folder) == 100
    finish(fault)
    state, version, _ = end_of(system, newest(system))
    assert live(system) == (version if state == "published" else new)
    check_folders(system)


def complaints(system: System) -> str:
    return " ".join(str(error) for (error,) in system.query("SELECT error FROM workers"))


def failed(system: System) -> int:
    return int(system.query("SELECT coalesce(max(id), 0) FROM training_runs WHERE state = 'failed'")[0][0])


def newest(system: System) -> int:
    return int(system.query("SELECT max(id) FROM training_runs")[0][0])
