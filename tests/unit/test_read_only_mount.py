"""A source on a mount that is read-only: a real one, in a mount namespace that ends with the process that made it."""

import os
import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from queries import needs, producers
from queries.sources import overview
from shared import database as databases
from shared.base import host
from shared.base.filesystem import MARKER
from shared.base.settings import load
from shared.database import Database
from shared.ledger.register import register
from shared.ledger.source_states import write_states
from tests.models import go_live, make_linear_version
from tests.unit.steps import rows
from tests.unit.test_folder_unseen import sweep_whole
from tests.unit.test_screening import message, png

TOP = Path(__file__).parents[2]
MOUNT = 'mount -o bind,ro "$1" "$2" && shift 2 && exec "$@"'


def screen_all(home: Path, ward: Path) -> None:
    """What producer and worker do, in the process that sees the mount; prints what needs a person, a line each."""
    from shared.sources.folder.polling import FolderPoller
    from shared.sources.folder.source import FolderSource
    from worker.process import WorkerProcess
    from worker.screening import screen_message

    settings = load(home, sources={"ward": {"path": ward, "polling": True}}, settle=0.0)
    database = databases.connect(settings.database)
    poller = FolderPoller(FolderSource("ward", ward, polling=True, settle=0.0), threading.Event())
    report, paths = sweep_whole(poller)
    now = datetime.now(UTC)
    with database.write() as session:
        write_states(session, host.name(), now, {"ward": report})
        found = [poller._source.find(path) for path in paths]
        register(session, "ward", "routine", [each for each in found if each], now)
    process = WorkerProcess(settings)
    screen_message(process, message(database))
    process.stop()
    with database.read() as session:
        overviews = overview(session, settings, now)
    wanted, _ = needs.of_sources(overviews, now)
    explained = {"ward"} if report.problem else set()
    for sentence in (
        *wanted,
        *producers.needs(settings, overviews, now),
        *needs.sources_out_of_reach(settings, explained),
    ):
        print(sentence)
    database.close()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_source_on_a_read_only_mount_is_screened_and_said_in_one_sentence_and_nothing_is_written(
    database: Database, tmp_path: Path
) -> None:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("only root may mount, in a mount namespace of its own (`unshare`)")
    behind, ward = tmp_path / "behind", tmp_path / "ward"
    behind.mkdir(), ward.mkdir()
    for number in range(3):
        (behind / f"{number}.png").write_bytes(png(number))
    mounted = ("unshare", "-m", "sh", "-c", MOUNT, "sh", behind, ward)
    if (refused := subprocess.run((*mounted, "true"), capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"this machine lets no test mount anything: {refused.stderr.strip()}")
    go_live(database, make_linear_version(tmp_path / "models", "v1"))
    command = (*mounted, sys.executable, "-m", "tests.unit.test_read_only_mount", tmp_path, ward)
    run = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert {row["path"]: row["state"] for row in rows(database)} == {f"{number}.png": "done" for number in range(3)}
    (sentence,) = run.stdout.splitlines()
    assert sentence == (
        f"the source ward ({ward}) cannot tell a removed file from a share that is away: its marker {MARKER} cannot "
        "be written (Read-only file system). Put an empty file of that name there, or set `marker` for this source"
    )
    assert {file.name for file in behind.iterdir()} == {f"{number}.png" for number in range(3)}
    assert list(ward.iterdir()) == [], "the mount was never seen outside its namespace"


if __name__ == "__main__":
    screen_all(Path(sys.argv[1]), Path(sys.argv[2]))
