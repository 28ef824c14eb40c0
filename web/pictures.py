"""Asks processes for pictures. One that dies or takes too long is replaced, and costs the request that it worked on."""

import json
import logging
import os
import queue
import selectors
import signal
import subprocess
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from queries.pictures import Location
from shared.base.errors import ImageError, OutOfReach, ServiceUnavailable, Unfinished, Unreadable, Unsuitable
from shared.base.settings import Settings
from shared.base.surroundings import NEUTRAL, python

log = logging.getLogger(__name__)
SECONDS = 30.0
"""How long one picture may take, its file's reading included; with a network to load, LOADING more."""
LOADING = 60.0
MEMORY = 4 * 1024**3
"""Bytes that a process may have, its libraries included: a radiograph of 20 million pixels takes a quarter of it."""
CPU_SECONDS = 60
"""Of processors, for one picture."""
PATIENCE = 20.0
"""How long a request waits for a process that is free."""
PROCESSES = 2
KEPT_THUMBNAILS = 4000
GIVEN = (
    *("sources", "source_timeout", "max_pixels", "max_bytes", "chest_words", "frontal_words", "engine", "settle"),
    "sweep_every",
)
"""The settings that a process needs; what it has not, a hostile image cannot find in it."""

KINDS: dict[str, type[ImageError]] = {kind.__name__: kind for kind in (OutOfReach, Unfinished, Unreadable, Unsuitable)}
"""What a process may say is wrong; anything else makes a picture unreadable."""


@dataclass(frozen=True)
class Pixels:
    """`data` is little-endian uint16, row by row; `about` says how to show it (see `picture_process`)."""

    about: dict[str, Any]
    data: bytes


@dataclass(frozen=True)
class Evidence:
    """What moved the logit: float32 of shape (rows, columns), whose mean plus the bias is the logit."""

    values: NDArray[np.float32]


@dataclass(frozen=True)
class Allowance:
    """What one picture may cost: bytes of memory, and seconds of processors."""

    memory: int = MEMORY
    cpu_seconds: int = CPU_SECONDS

    @property
    def with_network(self) -> "Allowance":
        return Allowance(2 * self.memory, 2 * self.cpu_seconds)


class _Died(Exception):
    pass


class _Process:
    def __init__(self, settings: Settings, allowance: Allowance) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PNEUMOSCREEN_")}
        self._process = subprocess.Popen(
            python("web.picture_process"),
            cwd=NEUTRAL,
            env=inherited,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            process_group=0,  # a Ctrl-C is for us: the process ends when its input does
        )
        given = settings.model_dump(mode="json", include=set(GIVEN), exclude_none=True)
        key = settings.signing_key.get_secret_value() if settings.signing_key else None
        # A database that is no file means that several hosts share this home's sources: only its kind is told.
        given["database_url"] = settings.database if settings.database.startswith("sqlite") else "postgresql://"
        self._send({"home": str(settings.home), **given, **({"signing_key": key} if key else {}), **asdict(allowance)})

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise _Died from error

    def ask(self, request: dict[str, Any], seconds: float) -> tuple[dict[str, Any], bytes]:
        """Raises _Died, or TimeoutError; then it can only be ended."""
        self._send(request)
        deadline = time.monotonic() + seconds
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        received = bytearray()
        about: dict[str, Any] | None = None
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while about is None or len(received) < about["length"]:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError
                part = os.read(descriptor, 1 << 20)
                if not part:
                    raise _Died
                received += part
                if about is None and b"\n" in received:
                    line, _, rest = bytes(received).partition(b"\n")
                    about, received = json.loads(line), bytearray(rest)
        return about, bytes(received)

    def end(self) -> int:
        """Returns what it ended with: of a signal, its number below zero."""
        self._process.kill()
        status = self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with suppress(OSError):
                stream.close()
        return status


class Pictures:
    """A few processes, made when they are first needed. Close it at the end."""

    def __init__(
        self,
        settings: Settings,
        processes: int = PROCESSES,
        seconds: float = SECONDS,
        on_failure: Callable[[], None] = lambda: None,
        allowance: Allowance = Allowance(),
    ) -> None:
        self._settings, self._seconds, self._allowance = settings, seconds, allowance
        self._free: queue.LifoQueue[_Process | None] = queue.LifoQueue()
        for _ in range(processes):
            self._free.put(None)
        # A page full of thumbnails leaves a process to whoever opens a picture.
        self._thumbnails = threading.BoundedSemaphore(max(1, processes - 1))
        self._network: queue.LifoQueue[_Process | None] = queue.LifoQueue()  # its process holds a model
        self._network.put(None)
        self._kept: OrderedDict[tuple[int, str | None], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._is_closed = False
        self._on_failure = on_failure

    def pixels(self, location: Location, max_side: int | None) -> Pixels:
        """Raises ImageError with the reason where there is no picture to show, ServiceUnavailable if all are busy."""
        about, data = self._ask(self._free, "pixels", location, self._seconds, max_side=max_side)
        return Pixels(about, data)

    def thumbnail(self, location: Location) -> bytes:
        """A PNG. Raises as `pixels`."""
        key = (location.sighting, location.sha256)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        with self._thumbnails:
            _, data = self._ask(self._free, "thumbnail", location, self._seconds)
        with self._lock:
            self._kept[key] = data
            while len(self._kept) > KEPT_THUMBNAILS:
                self._kept.popitem(last=False)
        return data

    def model_view(self, location: Location) -> bytes:
        """A PNG of the pixels that the network is shown. Raises as `pixels`."""
        return self._ask(self._free, "model-view", location, self._seconds)[1]

    def evidence(self, location: Location) -> Evidence | None:
        """None where the image's version cannot tell. Raises as `pixels`."""
        about, data = self._ask(self._network, "evidence", location, self._seconds + LOADING)
        if not about["has_evidence"]:
            return None
        return Evidence(np.frombuffer(data, "<f4").reshape(about["rows"], about["columns"]))

    def warm_up(self) -> None:
        """Start one process ahead of the first reader."""
        with self._held(self._free) as slot:
            slot.process()

    def close(self) -> None:
        self._is_closed = True
        for waiting in (self._free, self._network):
            while True:
                try:
                    process = waiting.get_nowait()
                except queue.Empty:
                    break
                if process is not None:
                    process.end()

    def _ask(
        self, among: "queue.LifoQueue[_Process | None]", what: str, location: Location, seconds: float, **more: Any
    ) -> tuple[dict[str, Any], bytes]:
        version = location.version
        request = {
            "what": what,
            "source": location.source,
            "path": location.path,
            "revision": location.revision,
            "sha256": location.sha256,
            "version": version and version.version,
            "manifest_sha256": version and version.manifest_sha256,
            **more,
        }
        with self._held(among) as slot:
            try:
                about, data = slot.process().ask(request, seconds)
            except (TimeoutError, _Died, ValueError) as error:
                status = slot.end()
                self._on_failure()
                log.warning("the process that decodes pictures failed (sighting %d)", location.sighting)
                if isinstance(error, TimeoutError):
                    raise OutOfReach(f"the image could not be decoded within {seconds:.0f} s") from error
                if status == -signal.SIGXCPU:
                    raise Unsuitable("it takes more time of processors to decode than one picture may have") from error
                raise Unreadable("the decoder broke on this image") from error
        if "error" in about:
            raise KINDS.get(about["error"], Unreadable)(about["reason"])
        return about, data

    @contextmanager
    def _held(self, among: "queue.LifoQueue[_Process | None]") -> Iterator["_Slot"]:
        allowance = self._allowance.with_network if among is self._network else self._allowance
        try:
            slot = _Slot(self._settings, allowance, among.get(timeout=PATIENCE))
        except queue.Empty:
            raise ServiceUnavailable("All processes that decode pictures are busy: try again in a moment.") from None
        try:
            yield slot
        finally:
            if self._is_closed:
                slot.end()
            among.put(slot.held)


class _Slot:
    """The place of one process, which is started when it is asked for."""

    def __init__(self, settings: Settings, allowance: Allowance, held: _Process | None) -> None:
        self._settings, self._allowance, self.held = settings, allowance, held

    def process(self) -> _Process:
        if self.held is None:
            self.held = _Process(self._settings, self._allowance)
        return self.held

    def end(self) -> int | None:
        status = self.held.end() if self.held is not None else None
        self.held = None
        return status
