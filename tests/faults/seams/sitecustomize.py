"""Where a fault strikes inside a process: each Python process with this folder on its PYTHONPATH loads it first.

A seam is one function of the product, wrapped. A process that comes to it takes a strike that lies ready for it in the
folder STRIKES, a file `SEAM-NUMBER`, and kills itself; an image that says so in its bytes is deadly to any decoder.
PACE is how many seconds storage takes to hand out a file, so that work is waiting when a fault strikes.
The file HANG names folders in which every system call hangs, a line each: until HANG.fifo is opened for writing.
The file CLOCK says by how many seconds the wall clock is wrong.
"""

import ctypes
import dataclasses
import hashlib
import importlib.abc
import importlib.util
import io
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

STRIKES = Path(os.environ.get("STRIKES", "/nonexistent"))
HANG = os.environ.get("HANG", "/nonexistent")
CLOCK = Path(os.environ.get("CLOCK", "/nonexistent"))
PACE = float(os.environ.get("PACE", "0"))
Call = Callable[..., Any]
IsHit = Callable[..., bool]
Key = Callable[..., bytes]


def take(seam: str, key: bytes | None = None) -> None:
    """Die of a strike that lies ready, but not twice with one image: three deaths alone would make it a killer."""
    try:
        ready = sorted(path.name for path in STRIKES.iterdir() if path.name.rpartition("-")[0] == seam)
    except OSError:
        return
    for name in ready:
        try:
            if key is not None:
                (STRIKES / f"struck.{hashlib.sha256(key).hexdigest()}").touch(exist_ok=False)
            (STRIKES / name).rename(STRIKES / f"taken.{name}")
        except OSError:  # it was struck before, or another process was faster
            return
        os.kill(os.getpid(), signal.SIGKILL)


def before(
    seam: str, is_hit: Callable[..., bool] = lambda *_, **__: True, key: Callable[..., bytes] | None = None
) -> Any:
    def wrap(function: Call) -> Call:
        def struck(*args: Any, **named: Any) -> Any:
            if is_hit(*args, **named):
                take(seam, key(*args, **named) if key else None)
            return function(*args, **named)

        return struck

    return wrap


def after(seam: str, is_hit: IsHit = lambda *_, **__: True) -> Any:
    def wrap(function: Call) -> Call:
        def struck(*args: Any, **named: Any) -> Any:
            result = function(*args, **named)
            if is_hit(*args, **named):
                take(seam)
            return result

        return struck

    return wrap


def slow(function: Call) -> Call:
    def paced(*args: Any, **named: Any) -> Any:
        time.sleep(PACE)
        return function(*args, **named)

    return paced


def deadly(function: Call) -> Call:
    """An image whose bytes say so ends its decoder as a weakness of the codec would."""

    def decode(data: bytes, *args: Any, **named: Any) -> Any:
        if b"deadly: " in data:
            (STRIKES / f"death.{hashlib.sha256(data).hexdigest()}.{os.getpid()}").touch()
        if b"deadly: segv" in data:
            ctypes.string_at(0)
        if b"deadly: memory" in data:
            hoard = [os.urandom(2**20) for _ in range(200)]
            os.kill(os.getpid(), signal.SIGKILL if hoard else 0)  # as the kernel ends who exhausts the memory
        if b"deadly: hang" in data:
            time.sleep(3600)
        return function(data, *args, **named)

    return decode


def shorter(_: float) -> float:
    return float(os.environ.get("HANG_SECONDS", "60"))


def given(name: str, convert: Callable[[str], Any] = float) -> Any:
    """A constant of the product that a test sets in the environment."""
    return lambda value: convert(os.environ[name]) if name in os.environ else value


def newer(schema: int) -> int:
    """In the processes that NEWER names by a word of their command line, the schema of a later version."""
    return schema + 1 if set(os.environ.get("NEWER", "").split()) & set(sys.orig_argv) else schema


def seconds(text: str) -> timedelta:
    return timedelta(seconds=float(text))


def frozen(seam: str) -> Any:
    """After it a process stops where it is, as one whose machine hangs, until somebody lets it go on."""

    def wrap(function: Call) -> Call:
        def struck(*args: Any, **named: Any) -> Any:
            result = function(*args, **named)
            try:
                (STRIKES / f"freeze {seam}").rename(STRIKES / f"taken.freeze {seam}")
            except OSError:
                return result
            os.kill(os.getpid(), signal.SIGSTOP)
            return result

        return struck

    return wrap


def after_epoch(function: Call) -> Call:
    """Wraps what makes the last callback of an epoch: its checkpoint is written by then."""

    def reporter(*args: Any, **named: Any) -> Any:
        made = function(*args, **named)
        made.on_epoch_end = after("epoch")(made.on_epoch_end)
        return made

    return reporter


def fewer_epochs(function: Call) -> Call:
    def recipe(*args: Any, **named: Any) -> Any:
        return dataclasses.replace(function(*args, **named), epochs=int(os.environ.get("EPOCHS", "2")))

    return recipe


def without_a_network(function: Call) -> Call:
    """A training that takes no time, where a test asks for it; every third run makes a version that is worse."""

    def train(plan: Any, *args: Any, **named: Any) -> Any:
        if os.environ.get("NETWORK") != "linear":
            return function(plan, *args, **named)
        from tests.faults.untrained import make_version

        return make_version(plan, is_worse=plan.seed % 3 == 0)

    return train


def clock_error() -> float:
    try:
        return float(CLOCK.read_text())
    except (OSError, ValueError):
        return 0.0


def wrong_clock(real: Any) -> Any:
    """The class `datetime` of a module whose `now` is wrong; what it returns is a datetime as any other."""
    if "CLOCK" not in os.environ:
        return real
    now = staticmethod(lambda zone=None: real.now(zone) + timedelta(seconds=clock_error()))
    return type("datetime", (real,), {"now": now})


if "CLOCK" in os.environ:
    real_time = time.time
    time.time = lambda: real_time() + clock_error()


def hanging(call: Call) -> Call:
    """A system call that hangs on each path below the folders that the file HANG names, until it names them no more."""

    def hang(path: Any = ".", *args: Any, **named: Any) -> Any:
        while isinstance(path, str | bytes | os.PathLike) and hangs(os.fsdecode(path)):
            os.close(real_open(f"{HANG}.fifo", os.O_RDONLY))  # which takes no time of the processor, as a real hang
        return call(path, *args, **named)

    return hang


def hangs(path: str, read: Call = io.open) -> bool:
    try:
        with read(HANG, encoding="utf-8") as file:
            return any(f"{path}/".startswith(f"{folder}/") for folder in file.read().splitlines())
    except OSError:
        return False


if "SLOW_READ" in os.environ:
    read_vector = os.readv
    os.readv = lambda *args: time.sleep(float(os.environ["SLOW_READ"])) or read_vector(*args)

real_open = os.open
if "HANG" in os.environ:
    for name in ("open", "stat", "lstat", "scandir", "listdir", "mkdir", "readlink"):
        setattr(os, name, hanging(getattr(os, name)))

SEAMS: dict[str, Sequence[tuple[str, Any]]] = {
    "worker.screening": [
        ("datetime", wrong_clock),
        ("_classify", before("inference", lambda process, loaded, points, prepared: len(prepared) > 1)),
        ("_finish", after("committed", lambda process, outcomes: len(outcomes) > 1)),
        ("OUTDATED", given("OUTDATED", seconds)),
    ],
    "worker.preparation": [
        ("datetime", wrong_clock),
        ("prepare", before("decode", key=lambda data, *_: data)),
        ("prepare", deadly),
    ],
    "node.storing": [("Store._write_aside", after("aside")), ("Store._name", after("named"))],
    "node.registering": [("Registrar.register", after("registered"))],
    "courier.delivering": [
        ("datetime", wrong_clock),
        ("Delivery._send", before("taken")),
        ("Delivery._send", after("sent")),
        ("Delivery._settle", after("settled")),
    ],
    "shared.sources.folder.source": [
        ("FolderSource.read", before("read", key=lambda source, path, *_: path.encode(errors="replace"))),
        ("FolderSource.read", slow),
    ],
    "shared.ledger.work": [("finish", after("commit", lambda session, outcomes, *_: len(outcomes) > 1))],
    "worker.process": [("HANG_SECONDS", shorter), ("datetime", wrong_clock)],
    "worker.failures": [("datetime", wrong_clock)],
    "producer.service": [("datetime", wrong_clock)],
    "producer.metrics": [("datetime", wrong_clock)],
    "worker.tasks": [("screen_message", after("acknowledgement", lambda process, body: len(body["jobs"]) > 1))],
    "kombu.transport.redis": [("QoS.ack", before("acknowledging parent"))],
    "shared.ledger.send": [("take", before("unsent"))],
    "producer.sending": [("Sender._publish", before("marked")), ("Sender._publish", after("published"))],
    "shared.queue.messages": [("SCHEMA", newer)],
    "worker.models": [("RETRY_SECONDS", given("RETRY_SECONDS"))],
    "trainer.app": [("TICK_SECONDS", given("TICK_SECONDS"))],
    "trainer.tasks": [
        ("datetime", wrong_clock),
        ("HEARTBEAT_SECONDS", given("TRAINER_HEARTBEAT")),
        ("app.send_task", before("run taken", lambda name, *_, **__: name == "pneumoscreen.train")),
    ],
    "trainer.leases": [("TRAINER_ALIVE", given("ALIVE", seconds)), ("AFTER_FAILURE", given("AFTER_FAILURE", seconds))],
    "trainer.run": [("datetime", wrong_clock)],
    "trainer.architectures": [("recipe", fewer_epochs)],
    "trainer.pipeline": [
        ("datetime", wrong_clock),
        ("train", without_a_network),
        ("train", before("gathered")),
        ("discard", before("ended", lambda *folders: len(folders) > 1)),
    ],
    "trainer.fit": [
        ("_reporter", after_epoch),
        ("fit", after("fitted")),
        ("forget", after("forgotten")),
        ("forget", frozen("forgotten")),
    ],
    "trainer.packaging": [
        ("_checksums", after("written aside", lambda folder: not (folder / "manifest.json").exists())),
        ("publish", after("renamed")),
    ],
    "shared.models.registry": [
        ("sync", before("copying")),
        ("copy_aside", after("placed")),
    ],
    "actions.promotion": [("make_live", before("publishing")), ("reject", before("publishing"))],
    "actions.verdict": [("MIN_PATIENTS", given("MIN_PATIENTS", int))],
    "trainer.gate": [
        ("examine", after("judged")),
        ("examine", frozen("judged")),
    ],
}
"""By module: what is wrapped, and with what."""


class Loader(importlib.abc.Loader):
    def __init__(self, module: str, real: Any) -> None:
        self._module, self._real = module, real

    def get_code(self, module: str) -> Any:
        """A module that is run as a program is imported, and so has its seams."""
        return compile(f"import sys; from {module} import main; sys.exit(main(sys.argv[1:]))", module, "exec")

    def create_module(self, spec: Any) -> Any:
        return self._real.create_module(spec)

    def exec_module(self, module: Any) -> None:
        self._real.exec_module(module)
        for path, wrap in SEAMS[self._module]:
            *outer, name = path.split(".")
            owner = getattr(module, outer[0]) if outer else module
            setattr(owner, name, wrap(getattr(owner, name)))


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname not in SEAMS:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None and spec.loader is not None:
            spec.loader = Loader(fullname, spec.loader)
        return spec


sys.meta_path.insert(0, Finder())
