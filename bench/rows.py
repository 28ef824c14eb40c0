"""What is measured, and what it is to reach."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

CORES = os.cpu_count() or 1
Figures = Mapping[str, Mapping[str, float]]
"""By row and by figure: medians over the rounds."""


@dataclass(frozen=True)
class Row:
    """A measurement: the module of `bench` that makes it, and its arguments.

    files: `full` or `small`, or a kind of `radiographs`. needs_server: it is given a redis-server's path, too.
    once: not in each round. is_compared: it is given the Python of another checkout, where there is one.
    environment: the packages that it has for itself; None for the product's own.
    A figure that the module names `images_per_second` puts the row into the table of speeds, the ratios and, if it is
    beside the limit, the chart. A goal is an entry in GOALS.
    """

    what: str
    module: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    files: str = "full"
    needs_server: bool = False
    once: bool = False
    environment: tuple[str, ...] | None = None
    is_compared: bool = False

    @property
    def is_beside_the_limit(self) -> bool:
        """Whether its images/s may be held against the row `limit`: the same files, and the real network."""
        return self.files == "full" and self.module != "simulation"


def _system(what: str, files: str = "full", *, postgresql: bool = False, **arguments: Any) -> Row:
    return Row(what, "system", arguments, files, postgresql)


def _names(names: int) -> Row:
    return Row(f"the producer, {names:,} names", "producer", {"names": names}, needs_server=True, once=True)


def _decoding(what: str, files: str) -> Row:
    return Row(f"decode alone, one core: {what}", "decoding", files=files, once=True, is_compared=True)


def _setting(name: str, value: int) -> dict[str, str]:
    return {f"PNEUMOSCREEN_{name.upper()}": str(value)}


ROWS: dict[str, Row] = {
    "decode": Row("floor: read and decode alone", "limit", {"part": "decode"}),
    "forward": Row("floor: the network alone, batches of 32", "limit", {"part": "forward"}),
    "evidence": Row("the network with its evidence map, beside itself without", "evidence", once=True),
    "limit": Row("the limit: both, in one process", "limit"),
    "forward_tensorflow": Row("the network alone, TensorFlow", "limit", {"part": "forward", "engine": "tensorflow"}),
    "limit_tensorflow": Row("both in one process, TensorFlow", "limit", {"engine": "tensorflow"}),
    "system": _system("the whole system, drop to rows: SQLite, its own broker"),
    "system_tensorflow": _system("the whole system, TensorFlow", variables={"PNEUMOSCREEN_ENGINE": "tensorflow"}),
    "one_process": _system("the whole system, one worker process", variables=_setting("processes", 1)),
    "postgresql": _system("the whole system on PostgreSQL and Redis", postgresql=True),
    "script": Row("a script, image by image with model.predict", "script"),
    "per_image": Row("plain Celery, a task for each image, model(x)", "per_image", needs_server=True),
    "per_image_lite": Row(
        "the same, with the product's decoder and LiteRT", "per_image", {"kind": "worker"}, needs_server=True
    ),
    "ray": Row("Ray Data, map_batches", "ray_data", environment=("ray[data]==2.60.0",)),
    "litserve": Row("LitServe, batches of up to 32", "serving", environment=("litserve==0.2.19", "aiohttp==3.14.5")),
    "limit_small": Row("224-pixel files: the limit", "limit", files="small"),
    "system_small": _system("224-pixel files: the whole system", files="small"),
    "message_1": _system("messages of 1 image", variables=_setting("message_size", 1)),
    "message_10": _system("messages of 10 images", variables=_setting("message_size", 10)),
    "message_64": _system("messages of 64 images", variables=_setting("message_size", 64)),
    "message_512": _system("messages of 512 images", variables=_setting("message_size", 512)),
    "two_cores": _system(
        "two worker processes, all pinned to two cores", variables=_setting("processes", 2), cores=[0, 1]
    ),
    "one_core": _system("one worker process, all pinned to one core", variables=_setting("processes", 1), cores=[0]),
    "million": _system("beside 1,000,000 rows, SQLite", rows=1_000_000),
    "million_postgresql": _system("beside 1,000,000 rows, PostgreSQL", rows=1_000_000, postgresql=True),
    "latency": Row("a single file on an idle system", "latency", once=True),
    "urgent": Row("an urgent file beside a routine backlog", "latency", {"backlog": True, "drops": 50}, once=True),
    "growth": Row("the ledger's cost per image, SQLite", "growth", once=True),
    "reading": Row("the reading room, 20 readers beside 1,000,000 images, SQLite", "reading", once=True),
    "reading_postgresql": Row("the same, PostgreSQL", "reading", needs_server=True, once=True),
    "growth_postgresql": Row("the ledger's cost per image, PostgreSQL", "growth", needs_server=True, once=True),
    "names": _names(100_000),
    "million_names": _names(1_000_000),
    "startup": Row("the start of a command", "startup", needs_server=True, once=True),
    "profile": Row("where a worker's time goes", "profile", once=True),
    "swap": Row("a new model version under load", "swap", once=True),
    "uncompressed": _decoding("uncompressed DICOM with a window", "uncompressed"),
    "rle": _decoding("RLE in DICOM", "rle"),
    "jpeg_lossless": _decoding("JPEG lossless in DICOM", "jpeg_lossless"),
    "jpeg_ls": _decoding("JPEG-LS in DICOM", "jpeg_ls"),
    "jpeg_2000": _decoding("JPEG 2000 in DICOM", "jpeg_2000"),
    "png": _decoding("PNG of 16 bits", "png"),
    "tiff": _decoding("TIFF of 16 bits", "tiff"),
    "gdcm": Row("GDCM in another process", "gdcm", files="jpeg_lossless", once=True),
    "dicom": Row("the whole system on DICOM of all five syntaxes", "mix", files="dicom", is_compared=True),
    "node": Row("the node beside storescp, 8 associations, 15 MB", "node", files="small", once=True),
    "simulated_1": Row("stub of 25 ms an image, 1 process", "simulation", {"processes": 1, "stub_seconds": 0.025}),
    "simulated_8": Row("stub of 25 ms an image, 8 processes", "simulation", {"processes": 8, "stub_seconds": 0.025}),
    "saturated": Row("stub of no time, 8 processes, 224-pixel files", "simulation", {"processes": 8}, "small"),
}


@dataclass(frozen=True)
class Goal:
    """A figure and its bound. `figure` raises KeyError where a row it needs was not measured."""

    what: str
    figure: Callable[[Figures], float]
    least: float | None = None
    most: float | None = None

    def is_met(self, figure: float) -> bool:
        return (self.least is None or figure >= self.least) and (self.most is None or figure <= self.most)


def ratio(first: str, second: str) -> Callable[[Figures], float]:
    return lambda figures: figures[first]["images_per_second"] / figures[second]["images_per_second"]


def _figure(row: str, name: str) -> Callable[[Figures], float]:
    return lambda figures: figures[row][name]


def _grown(row: str) -> Callable[[Figures], float]:
    return lambda figures: figures[row]["ms_per_image_at_1000000"] / figures[row]["ms_per_image_at_0"]


DECODING = {
    "uncompressed": 0.35,
    "rle": 0.5,
    "jpeg_lossless": 0.15,
    "jpeg_ls": 0.3,
    "jpeg_2000": 0.1,
    "png": 0.6,
    "tiff": 0.6,
}
"""The most of the other reader's time that decoding may take."""
GOALS = (
    Goal("the whole system, of the limit", ratio("system", "limit"), least=0.95),
    Goal("the same, on PostgreSQL and Redis", ratio("postgresql", "limit"), least=0.90),
    Goal("the whole system, of the limit, 224-pixel files", ratio("system_small", "limit_small"), least=0.80),
    Goal("the whole system, times the script", ratio("system", "script"), least=10),
    Goal("the whole system, times plain Celery", ratio("system", "per_image"), least=2),
    Goal("the whole system, times Ray Data", ratio("system", "ray"), least=1),
    Goal("the whole system, times LitServe", ratio("system", "litserve"), least=1),
    Goal("the network with its map, times without, LiteRT", _figure("evidence", "ratio_litert"), most=1.03),
    Goal("the same, TensorFlow", _figure("evidence", "ratio_tensorflow"), most=1.03),
    Goal("a single file, median, in seconds", _figure("latency", "seconds_median"), most=0.5),
    Goal("a single file, 99th percentile, in seconds", _figure("latency", "seconds_99th_percentile"), most=0.5),
    Goal("images/s beside 1,000,000 rows, of those beside none, SQLite", ratio("million", "system"), least=0.90),
    Goal("the same, PostgreSQL", ratio("million_postgresql", "postgresql"), least=0.90),
    Goal("the ledger's cost at 1,000,000 rows, times that at none, SQLite", _grown("growth"), most=1.10),
    Goal("the same, PostgreSQL", _grown("growth_postgresql"), most=1.10),
    Goal(
        "a page of the worklist beside 1,000,000 open images, in ms, SQLite",
        _figure("reading", "ms_per_page"),
        most=100,
    ),
    Goal("the same, PostgreSQL", _figure("reading_postgresql", "ms_per_page"), most=100),
    Goal("words that 20 readers lost of 1,000, SQLite", _figure("reading", "words_lost"), most=0),
    Goal("words that were doubled, SQLite", _figure("reading", "words_doubled"), most=0),
    Goal("words that 20 readers lost of 1,000, PostgreSQL", _figure("reading_postgresql", "words_lost"), most=0),
    Goal("words that were doubled, PostgreSQL", _figure("reading_postgresql", "words_doubled"), most=0),
    Goal("a restart's scan over 100,000 known files, in seconds", _figure("names", "restart_seconds"), most=5),
    Goal("the producer at 1,000,000 names, in MB", _figure("million_names", "mb_at_most"), most=200),
    *(
        Goal(f"CPU seconds of {command}", _figure("startup", f"{name}_cpu_seconds"), most=most)
        for name, command, most in (
            ("version", "`pneumoscreen --version`", 0.4),
            ("help", "`pneumoscreen --help`", 0.4),
            ("results", "`results`", 0.9),
            ("review", "`review`", 0.9),
            ("status", "`status`", 0.9),
        )
    ),
    *(
        Goal(f"{ROWS[row].what}, of the other reader", _figure(row, "ratio"), most=most)
        for row, most in DECODING.items()
    ),
    Goal("GDCM in another process, milliseconds more a frame", _figure("gdcm", "ms_more"), most=10),
    Goal("DICOM of all five syntaxes, times the other checkout", _figure("dicom", "times_the_other"), least=5),
    Goal("the node's images/s, of those of dcmtk's storescp", _figure("node", "ratio"), least=0.5),
    Goal("two processes on two cores, times one on one core", ratio("two_cores", "one_core"), least=1.8),
    Goal("simulated: 8 processes, times one", ratio("simulated_8", "simulated_1"), least=7.5),
)
