"""What Prometheus reads of the running system, from the producer's port and from the worker's."""

import os
import re
import signal
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from local.private_broker import free_port
from tests.system import QUICK, SECONDS, System, distinct, make_linear_home, running, specimens


@dataclass
class Measured:
    """The running system and where its metrics are."""

    system: System
    producer: int = field(default_factory=free_port)
    worker: int = field(default_factory=free_port)

    def read(self, port: int) -> dict[tuple[str, str], float]:
        """Each series' value, by its name and the values of its labels, joined by commas in the labels' order."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=SECONDS) as response:
            text = response.read().decode()
        families = text_string_to_metric_families(text)
        return {(s.name, ",".join(s.labels.values())): s.value for family in families for s in family.samples}

    def drop(self, number: int) -> None:
        """A picture that nobody has dropped before, screened."""
        distinct(specimens()[number], self.system.inbox / f"{number}.jpeg", 9_000 + number)
        assert self.system.row(f"{number}.jpeg")["state"] == "done"

    def children(self) -> list[psutil.Process]:
        """The worker's processes that screen."""
        celery = self.system.processes("cli.main worker")
        pids = {process.pid for process in celery}
        return [process for process in celery if process.ppid() in pids]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    folder = tmp_path_factory.mktemp("measured")
    make_linear_home(folder / "home")
    ports = [free_port(), free_port()]
    variables = {
        "PNEUMOSCREEN_PRODUCER_METRICS_PORT": str(ports[0]),
        "PNEUMOSCREEN_WORKER_METRICS_PORT": str(ports[1]),
        "PNEUMOSCREEN_PROCESSES": "2",
    }
    with running(folder, settings={**QUICK, **variables}) as system:
        found = Measured(system, *ports)
        system.wait(lambda: len(_holders(found)) == 2, "both processes to hold the model")
        yield found


def _holders(measured: Measured) -> list[str]:
    series = measured.read(measured.worker)
    return [labels for name, labels in series if name == "pneumoscreen_model_info"]


def _done(measured: Measured) -> float:
    return _images(measured.read(measured.worker), "done")


def _images(series: dict[tuple[str, str], float], state: str) -> float:
    return sum(v for (name, labels), v in series.items() if name == "pneumoscreen_images_total" and state in labels)


def test_what_was_screened_is_counted_by_both(measured: Measured) -> None:
    before = _done(measured)
    for number in range(4):
        measured.drop(number)
    (measured.system.inbox / "text.jpeg").write_text("this is no picture")
    os.utime(measured.system.inbox / "text.jpeg", (1, 1))
    assert measured.system.row("text.jpeg")["state"] == "quarantined"
    measured.system.wait(lambda: _done(measured) == before + 4, "the worker to count four images")
    worker = measured.read(measured.worker)
    assert _images(worker, "quarantined") == 1
    for stage in ("claim", "read", "decode", "infer", "commit"):
        assert worker["pneumoscreen_stage_seconds_count", stage] > 0, stage
    assert worker["pneumoscreen_batch_size_sum", ""] >= 4
    producer = measured.read(measured.producer)
    assert producer["pneumoscreen_images_registered_total", "inbox"] >= 5
    assert producer["pneumoscreen_jobs_sent_total", "routine"] >= 5
    assert producer["pneumoscreen_producer_ready", ""] == 1
    assert producer["pneumoscreen_database_up", ""] == producer["pneumoscreen_broker_up", ""] == 1
    assert time.time() - producer["pneumoscreen_producer_last_step_timestamp_seconds", ""] < 30
    assert producer["pneumoscreen_home_free_bytes", ""] > 0


def test_the_producer_tells_what_stands_in_sql(measured: Measured) -> None:
    def settled() -> bool:
        found = measured.read(measured.producer)
        alive = found.get(("pneumoscreen_workers_alive", "linear-1")) == 2
        return alive and not any(v for (name, _), v in found.items() if name == "pneumoscreen_jobs")

    measured.system.wait(settled, "an empty backlog and two workers")
    found = measured.read(measured.producer)
    for lane in ("stat", "suspect", "routine", "background"):
        assert found["pneumoscreen_queue_age_seconds", lane] == 0
        assert found["pneumoscreen_broker_messages", lane] == 0
        for state in ("unsent", "sent", "claimed"):
            assert found["pneumoscreen_jobs", f"{lane},{state}"] == 0
    assert found["pneumoscreen_dead_letters", ""] == 0


def test_counts_of_a_killed_process_stay_and_what_it_held_is_gone(measured: Measured) -> None:
    measured.drop(5)
    measured.system.wait(lambda: _done(measured) >= 1, "a count")
    before = measured.read(measured.worker)
    killed = measured.children()
    for child in killed:
        child.send_signal(signal.SIGKILL)

    def replaced() -> bool:
        after = measured.read(measured.worker)
        fallen = {series: after.get(series) for series, value in before.items() if after.get(series, 0.0) < value}
        assert not {name for name, _ in fallen} - {"pneumoscreen_model_info"}
        holders = _holders(measured)
        return len(holders) == 2 and not any(str(child.pid) in holder for child in killed for holder in holders)

    measured.system.wait(replaced, "new processes that hold the model")
    measured.drop(6)
    measured.system.wait(lambda: _done(measured) > _images(before, "done"), "the next image to be counted")
    left = list((measured.system.home / "run").glob("metrics-*/counter_*"))
    assert len(left) == 3, "one file for each process, one for all the dead"


def test_no_series_names_a_file_or_a_folder(measured: Measured) -> None:
    for port in (measured.producer, measured.worker):
        for (name, labels), _ in measured.read(port).items():
            assert not re.search(r"[/\\]|\.jpeg|\.png", labels), (name, labels)


def test_a_port_that_is_taken_is_told_in_a_sentence(measured: Measured, tmp_path: Path) -> None:
    for service, port in (("producer", measured.producer), ("worker", measured.worker)):
        done = measured.system.command(service)
        assert done.returncode == 2, done.stderr
        assert f"port {port}" in done.stderr
        assert "Traceback" not in done.stderr


def test_one_process_listens_on_each_port_on_this_machine_alone(measured: Measured) -> None:
    for port, part in ((measured.producer, "cli.main producer"), (measured.worker, "cli.main worker")):
        found = [c.laddr for p in measured.system.processes(part) for c in p.net_connections() if c.status == "LISTEN"]
        assert [address.ip for address in found if address.port == port] == ["127.0.0.1"]
