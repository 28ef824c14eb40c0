"""Where a worker's time goes: py-spy looks at its process while it screens, and each look is put down to a stage."""

import signal
import subprocess
import sysconfig
from collections import Counter
from pathlib import Path

from bench.system import PARTS, running
from shared.base.errors import WorkFailed

# py-spy knows functions by name and file: whoever renames or moves one of these changes it here, too.
STAGES = {
    "decode": ("decode (shared/imaging/formats.py",),
    "resize_and_contrast": ("arrange (shared/imaging/preprocessing.py",),
    "network": tuple(f"logits (shared/models/engines/{engine}.py" for engine in ("litert", "keras", "linear")),
    "read": ("read (shared/sources/folder/source.py",),
    "hash": ("_prepare (worker/preparation.py",),
    "novelty": ("scores (shared/models/novelty.py",),
    "rows": ("_finish (worker/screening.py", "_write (worker/screening.py"),
    "rest_of_the_batch": ("screen_message (worker/screening.py",),
    "heartbeat": ("_keep_alive (worker/process.py", "_keep_up (worker/process.py"),
}
"""By the first function of these that a stack has; `hash` is what `_prepare` does itself."""
WAITING = ("wait (threading.py", "_worker (concurrent/futures/thread.py")
"""The last function of a thread that waits: py-spy cannot always tell."""
RATE = 200  # looks a second


def measure(files: Path, work: Path) -> dict[str, float]:
    """The share of each stage in the looks at threads that were at work; Celery's own is what is left."""
    count = len(list(files.iterdir()))
    spy = Path(sysconfig.get_path("scripts")) / "py-spy"
    if not spy.exists():
        raise WorkFailed("py-spy is not installed beside this Python: `make setup` does it.")
    with running(work) as system:
        files.rename(system.inbox / "drop")
        try:
            system.wait_until_finished(count // 10)
            child = next(process for process in system.processes(PARTS["worker"]) if not process.children())
            command = [str(spy), "record", "--pid", str(child.pid), "--format", "raw", "--rate", str(RATE), "--threads"]
            looking = subprocess.Popen([*command, "--output", str(work / "looks")], stderr=subprocess.PIPE, text=True)
            system.wait_until_finished(count - count // 10)
            looking.send_signal(signal.SIGINT)  # then it writes what it saw
            _, output = looking.communicate(timeout=60)
            system.wait_until_finished(count)
        finally:
            (system.inbox / "drop").rename(files)
    if not (work / "looks").exists():
        raise WorkFailed(f"py-spy could not look at the worker: {output.strip()}")
    looks = Counter[str]()
    for line in (work / "looks").read_text().splitlines():
        stack, _, number = line.rpartition(" ")
        if not any(mark in stack.rpartition(";")[2] for mark in WAITING):
            looks[_stage(stack)] += int(number)
    return {f"share_{stage}": number / looks.total() for stage, number in looks.most_common()}


def _stage(stack: str) -> str:
    return next((name for name, marks in STAGES.items() if any(mark in stack for mark in marks)), "celery")
