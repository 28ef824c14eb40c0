"""What signals do to a Celery worker that has a task in hand, shown by one of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import pace

SECONDS = pace.seconds(60)
APP = """
import time
from pathlib import Path

from celery import Celery
from celery.signals import worker_init

from shared.queue import ending

app = Celery("ending", broker={url!r})
app.conf.update(task_default_queue={queue!r}, worker_concurrency=1, task_acks_late=True)


@worker_init.connect
def prepare(**_):
    ending.install()


@app.task(name="long")
def long():
    Path({begun!r}).touch()
    time.sleep(2)
    Path({done!r}).touch()
"""


@pytest.mark.parametrize("is_ignored", [False, True])
def test_a_hangup_of_the_whole_group_lets_a_worker_finish_its_task_and_under_nohup_changes_nothing(
    tmp_path: Path, redis_url: str, is_ignored: bool
) -> None:
    begun, done = tmp_path / "begun", tmp_path / "done"
    queue = f"ending-{os.getpid()}-{is_ignored}"
    (tmp_path / "app.py").write_text(APP.format(url=redis_url, queue=queue, begun=str(begun), done=str(done)))
    top = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{top}"}
    send = [sys.executable, "-c", "from app import long; long.delay()"]
    subprocess.run(send, env=environment, check=True, timeout=SECONDS)
    command = [*(["nohup"] if is_ignored else []), sys.executable, "-m", "celery", "-A", "app", "worker"]
    with (tmp_path / "log").open("w") as log:
        worker = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    _wait(begun, worker)
    os.killpg(worker.pid, signal.SIGHUP)
    _wait(done, worker)
    if is_ignored:
        time.sleep(0.5)
        assert worker.poll() is None
        os.killpg(worker.pid, signal.SIGTERM)
    assert worker.wait(SECONDS) == 0
    assert "WorkerLost" not in (tmp_path / "log").read_text()


def _wait(file: Path, worker: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + SECONDS
    while not file.exists():
        assert worker.poll() is None, (file.parent / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
