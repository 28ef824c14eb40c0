"""Where a fault strikes inside a process: each Python process with this folder on its PYTHONPATH loads it first.

A seam is one function of the product, wrapped. A process that comes to it takes a strike that lies ready for it in the
folder STRIKES, a file `SEAM-NUMBER`, and kills itself; an image that says so in its bytes is deadly to any decoder.
PACE is how many seconds storage takes to hand out a file, so that work is waiting when a fault strikes.
"""

import ctypes
import hashlib
import importlib.abc
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

STRIKES = Path(os.environ.get("STRIKES", "/nonexistent"))
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


SEAMS: dict[str, Sequence[tuple[str, Any]]] = {
    "worker.screening": [
        ("read", before("read", key=lambda root, path, *_: path.encode(errors="replace"))),
        ("read", slow),
        ("prepare", before("decode", key=lambda data, *_: data)),
        ("prepare", deadly),
        ("_classify", before("inference", lambda process, loaded, prepared: len(prepared) > 1)),
        ("_finish", after("committed", lambda process, outcomes: len(outcomes) > 1)),
    ],
    "shared.ledger.work": [("finish", after("commit", lambda session, outcomes, now: len(outcomes) > 1))],
    "worker.process": [("HANG_SECONDS", shorter)],
    "worker.tasks": [("screen_message", after("acknowledgement", lambda process, body: len(body["jobs"]) > 1))],
    "kombu.transport.redis": [("QoS.ack", before("acknowledging parent"))],
    "shared.ledger.send": [("take", before("unsent"))],
    "producer.sending": [("Sender._publish", before("marked")), ("Sender._publish", after("published"))],
}
"""By module: what is wrapped, and with what."""


class Loader(importlib.abc.Loader):
    def __init__(self, module: str, real: Any) -> None:
        self._module, self._real = module, real

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
