"""What producer and worker measure, and that the example dashboard and alerts speak of nothing else."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, Metric
from redis import Redis
from sqlalchemy import event, text, update

from courier import metrics as courier_metrics
from local.services import check_metrics_port
from node import metrics as node_metrics
from producer import metrics as producer_metrics
from producer import recovering
from shared.base import host
from shared.base.errors import BrokenModel, OutOfReach, WrongSettings
from shared.base.lanes import Lane
from shared.base.settings import Settings, load
from shared.database import Database, DeadLetter, Job, JobState, RunState, TrainingRun, Worker
from tests.hanging_share import PretendedShare
from tests.models import go_live, make_linear_version, published
from tests.unit.steps import NOW, claim, drop, send_all
from tests.unit.test_helpers import share, wait  # noqa: F401 - a fixture
from tests.unit.test_screening import drop as drop_file
from tests.unit.test_screening import message, png, process, root  # noqa: F401 - fixtures
from web.metrics import Metrics as WebMetrics
from worker import pulse
from worker.metrics import Metrics, Processes
from worker.metrics_folder import make_folder
from worker.models import Models
from worker.process import WorkerProcess
from worker.screening import screen_message

TOP = Path(__file__).parents[2]
MONITORING = TOP / "docs" / "monitoring"
DASHBOARD = json.loads((MONITORING / "grafana-dashboard.json").read_text())
ALERTS = [
    rule for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
EXPRESSIONS += [rule["expr"] for rule in ALERTS]


def series(metrics: Iterable[Metric]) -> dict[tuple[str, ...], float]:
    """Each value by the series' name and the values of its labels."""
    return {(s.name, *s.labels.values()): s.value for metric in metrics for s in metric.samples}


def of(metrics: Metrics) -> dict[tuple[str, ...], float]:
    return series(metrics.registry.collect())


@pytest.fixture
def settings(tmp_path: Path, database: Database) -> Settings:
    """Those of a producer whose broker is out of reach."""
    return load(tmp_path, broker_url="redis://127.0.0.1:1/0", sources={"ward": {"path": tmp_path / "ward"}})


@pytest.fixture
def situation(settings: Settings) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(producer_metrics.Situation(settings))
    return registry


def _names(metrics: Iterable[Metric]) -> set[str]:
    """What may stand in an expression."""
    names: set[str] = set()
    for metric in metrics:
        endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(metric.type, ("",))
        names |= {metric.name + ending for ending in endings}
    return names


def test_dashboard_and_alerts_use_metrics_that_exist_and_all_of_them(
    settings: Settings, situation: CollectorRegistry
) -> None:
    worker, producer = Metrics().registry, producer_metrics.Metrics(settings).registry
    known = _names(worker.collect()) | _names(producer.collect()) | _names(situation.collect())
    known |= _names(WebMetrics().registry.collect())
    known |= _names(node_metrics.Metrics(["pacs"]).registry.collect())
    known |= _names(courier_metrics.Metrics(settings).registry.collect())
    known |= _names(courier_metrics.Situation(settings).collect())
    used = {name for expression in EXPRESSIONS for name in re.findall(r"pneumoscreen_[a-z_]+", expression)}
    assert used - known == set()
    ends = r"_(bucket|sum|count)$"
    assert {re.sub(ends, "", name) for name in known} - {re.sub(ends, "", name) for name in used} == set()


def test_metrics_are_named_as_prometheus_advises(settings: Settings, situation: CollectorRegistry) -> None:
    node, web = node_metrics.Metrics(["pacs"]).registry, WebMetrics().registry
    for registry in (Metrics().registry, web, producer_metrics.Metrics(settings).registry, situation, node):
        for metric in registry.collect():
            assert metric.name.startswith("pneumoscreen_")
            assert metric.documentation.endswith(".")
            assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|percent)(_|$)", metric.name)


def test_each_panel_has_a_title_a_place_of_its_own_and_the_chosen_data_source() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["title"] for panel in panels}) == len({panel["id"] for panel in panels}) == len(panels) >= 10
    places: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & places
        places |= cells
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource"]


@pytest.mark.parametrize("rule", ALERTS, ids=[rule["alert"] for rule in ALERTS])
def test_each_alert_says_how_bad_it_is_what_it_means_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert {"summary", "description", "runbook"} <= rule["annotations"].keys()
    assert re.fullmatch(r"docs/operations\.md#[a-z-]+", rule["annotations"]["runbook"])
    assert rule["expr"].count("(") == rule["expr"].count(")")


def test_the_example_asks_each_service_under_the_names_that_the_alerts_know() -> None:
    jobs = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["scrape_configs"]
    (down,) = [rule for rule in ALERTS if rule["alert"] == "PneumoscreenScrapeDown"]
    (pattern,) = re.findall(r'job=~"(.*?)"', down["expr"])
    services = ("producer", "worker", "web", "node", "courier")
    assert {job["job_name"] for job in jobs} >= {f"pneumoscreen-{service}" for service in services}
    assert all(re.fullmatch(pattern, job["job_name"]) for job in jobs)


def test_what_is_screened_is_counted_by_state_and_label_and_timed(
    process: WorkerProcess,  # noqa: F811
    database: Database,
    root: Path,  # noqa: F811
) -> None:
    for number in range(5):
        drop_file(database, root / f"{number}.png", png(number))
    drop_file(database, root / "text.png", b"this is text" * 100)
    drop_file(database, root / "changed.png", png())
    (root / "changed.png").write_bytes(png(99) + b"more")
    drop_file(database, root / "gone.png", png())
    (root / "gone.png").unlink()
    screen_message(process, message(database))
    found = of(process.metrics)
    done = {label: found["pneumoscreen_images_total", "done", label] for label in ("NORMAL", "PNEUMONIA")}
    with database.read() as session:
        rows = session.execute(text("SELECT label, count(*) FROM results WHERE state = 'done' GROUP BY label")).all()
    assert {label: count for label, count in done.items() if count} == dict(rows)
    assert sum(done.values()) == 5
    assert found["pneumoscreen_images_total", "quarantined", ""] == 1
    assert found["pneumoscreen_images_total", "superseded", ""] == 1
    assert found["pneumoscreen_images_total", "removed", ""] == 1
    assert found["pneumoscreen_images_total", "put_off", ""] == 0
    counts = {stage: found["pneumoscreen_stage_seconds_count", stage] for stage in ("claim", "read", "decode")}
    assert counts == {"claim": 1, "read": 6, "decode": 5}
    assert found["pneumoscreen_stage_seconds_count", "commit"] == 3, "two batches, and what is damaged"
    assert found["pneumoscreen_stage_seconds_count", "infer"] == found["pneumoscreen_batch_size_count",] == 2
    assert found["pneumoscreen_batch_size_sum",] == 5
    assert found["pneumoscreen_images_in_hand",] == 0
    assert found["pneumoscreen_database_retries_total",] == 0
    of_sources = {key for key in found if key[0].startswith("pneumoscreen_source_")}
    assert of_sources == {("pneumoscreen_source_helpers_hung", name) for name in ("ward", "submitted")}
    assert not any(re.search(r"[/\\]|png|ward", label) for key in found.keys() - of_sources for label in key[1:])


def test_an_old_delivery_counts_nothing(process: WorkerProcess, database: Database, root: Path) -> None:  # noqa: F811
    drop_file(database, root / "a.png", png())
    body = message(database)
    for _ in range(2):
        screen_message(process, body)
    found = of(process.metrics)
    assert sum(value for key, value in found.items() if key[0] == "pneumoscreen_images_total") == 1
    assert found["pneumoscreen_batch_size_count",] == 1


def test_images_put_off_are_counted_as_such(process: WorkerProcess, database: Database, root: Path) -> None:  # noqa: F811
    drop_file(database, root / "a.png", png())
    root.rename(root.with_name("unmounted"))
    screen_message(process, message(database))
    assert of(process.metrics)["pneumoscreen_images_total", "put_off", ""] == 1


def test_after_a_swap_the_new_version_alone_is_in_service(tmp_path: Path) -> None:
    metrics = Metrics()
    models = Models(tmp_path, metrics)
    one, two = (published(make_linear_version(tmp_path, name)) for name in ("v1", "v2"))
    models.live([one])
    assert of(metrics)["pneumoscreen_model_info", "v1"] == 1
    models.live([two, one])
    found = of(metrics)
    assert (found["pneumoscreen_model_info", "v1"], found["pneumoscreen_model_info", "v2"]) == (0, 1)
    models.live([one, two])
    found = of(metrics)
    assert (found["pneumoscreen_model_info", "v1"], found["pneumoscreen_model_info", "v2"]) == (1, 0)


def test_a_version_that_does_not_load_is_counted_and_the_old_one_stays(tmp_path: Path) -> None:
    metrics = Metrics()
    models = Models(tmp_path, metrics)
    one, two = (published(make_linear_version(tmp_path, name)) for name in ("v1", "v2"))
    models.live([one])
    (tmp_path / "v2" / "weights.npy").write_bytes(b"damaged")
    models.live([two, one])
    with pytest.raises(BrokenModel):
        models.named(two)
    found = of(metrics)
    assert found["pneumoscreen_model_load_failures_total",] == 2
    assert found["pneumoscreen_model_info", "v1"] == 1


MEASURE = """
import sys
from worker.metrics import Metrics
metrics = Metrics()
metrics.show_version("v1")
metrics.show_version("v2")
metrics.batch.observe(8)
metrics.in_hand.set(8)
metrics.load_failures.inc(3)
print(flush=True)
sys.stdin.read()
"""


def _measure(folder: Path) -> "subprocess.Popen[str]":
    """A process that measured something and waits."""
    variables = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    child = subprocess.Popen([sys.executable, "-c", MEASURE], cwd=TOP, env=variables, text=True, **pipes)
    assert child.stdout is not None
    child.stdout.readline()
    return child


def _kill(child: "subprocess.Popen[str]") -> None:
    child.send_signal(signal.SIGKILL)
    child.communicate()


def test_counts_of_killed_processes_stay_and_their_gauges_go(tmp_path: Path) -> None:
    children = [_measure(tmp_path) for _ in range(2)]
    processes = Processes(tmp_path)
    pids = [str(child.pid) for child in children]
    found = series(processes.collect())
    assert {key for key in found if key[0] == "pneumoscreen_model_info"} == {
        ("pneumoscreen_model_info", "v2", pid) for pid in pids
    }
    assert found["pneumoscreen_images_in_hand",] == 16
    _kill(children[0])
    (tmp_path / "counter_4194305.db").touch()  # of a process that was killed just as it made its file
    for _ in range(3):
        found = series(processes.collect())
        assert found["pneumoscreen_model_load_failures_total",] == 6
        assert found["pneumoscreen_batch_size_sum",] == 16
        assert found["pneumoscreen_batch_size_bucket", "8.0"] == 2
        assert found["pneumoscreen_batch_size_bucket", "4.0"] == 0
        assert found["pneumoscreen_images_in_hand",] == 8
        assert {key for key in found if key[0] == "pneumoscreen_model_info"} == {
            ("pneumoscreen_model_info", "v2", pids[1])
        }
    _kill(children[1])
    found = series(processes.collect())
    assert found["pneumoscreen_model_load_failures_total",] == 6
    assert ("pneumoscreen_images_in_hand",) not in found
    assert sorted(file.name for file in tmp_path.iterdir()) == ["counter_0.db", "histogram_0.db"]


def test_folders_of_workers_that_are_gone_are_removed_and_no_others(tmp_path: Path) -> None:
    here = host.name()
    gone, alive, elsewhere = (f"metrics-{pid}@{host}" for pid, host in ((4194305, here), (1, here), (2, f"{here}-2")))
    for name in (gone, alive, elsewhere, f"metrics-{os.getpid()}@{here}"):
        (tmp_path / "run" / name).mkdir(parents=True)
        (tmp_path / "run" / name / "counter_7.db").touch()
    folder = make_folder(tmp_path)
    assert list(folder.iterdir()) == []
    assert {path.name for path in (tmp_path / "run").iterdir()} == {alive, elsewhere, folder.name}


def test_open_jobs_are_told_by_lane_and_state_with_the_age_of_the_oldest(
    database: Database, settings: Settings, situation: CollectorRegistry
) -> None:
    drop(database, "a.png", "b.png", now=NOW)
    send_all(database)
    drop(database, "c.png", now=NOW + timedelta(seconds=60))
    drop(database, "d.png", lane="stat")
    with database.write() as session:
        session.execute(update(Job).where(Job.lane == Lane.STAT).values(state=JobState.FINISHED))
        session.add(DeadLetter(body="{}", reason="odd", received_at=NOW))
    found = series(situation.collect())
    assert found["pneumoscreen_database_up",] == 1
    assert found["pneumoscreen_jobs", "routine", "sent"] == 2
    assert found["pneumoscreen_jobs", "routine", "unsent"] == 1
    assert found["pneumoscreen_jobs", "stat", "unsent"] == 0
    assert found["pneumoscreen_queue_age_seconds", "routine"] > 60
    assert found["pneumoscreen_queue_age_seconds", "stat"] == 0
    assert found["pneumoscreen_dead_letters",] == 1
    assert found["pneumoscreen_home_free_bytes",] > 0


def test_workers_alive_are_told_by_version_and_none_is_a_figure_too(
    database: Database, situation: CollectorRegistry, settings: Settings
) -> None:
    assert series(situation.collect())["pneumoscreen_workers_alive", ""] == 0
    now = datetime.now(UTC)
    go_live(database, make_linear_version(settings.models, "v1"))
    with database.write() as session:
        for pid, version, ago in ((1, "v1", 0), (2, "v1", 10), (3, None, 0), (4, "v0", 3600)):
            beat = now - timedelta(seconds=ago)
            row = {"host": "h", "device": "cpu", "started_at": beat, "heartbeat_at": beat}
            session.add(Worker(pid=pid, model_version=version, **row))
    registry = CollectorRegistry()
    registry.register(producer_metrics.Situation(settings))
    found = series(registry.collect())
    alive = {key[1]: value for key, value in found.items() if key[0] == "pneumoscreen_workers_alive"}
    assert alive == {"v1": 2, "": 1}


def test_worker_processes_that_report_an_error_are_counted_such_as_for_a_parent_that_is_silent(
    database: Database, settings: Settings, situation: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "SILENT_SECONDS", 0.0)
    now = datetime.now(UTC)
    with database.write() as session:
        for pid, error, ago in ((1, pulse.Pulse().complaint(7), 0), (2, None, 0), (3, "outdated", 3600)):
            beat = now - timedelta(seconds=ago)
            row = {"host": "h", "device": "cpu", "started_at": beat, "heartbeat_at": beat}
            session.add(Worker(pid=pid, error=error, **row))
    assert series(situation.collect())["pneumoscreen_workers_complaining",] == 1


def test_helpers_of_a_worker_that_hang_on_a_share_are_told_by_source(
    share: PretendedShare,  # noqa: F811
    database: Database,
    tmp_path: Path,
) -> None:
    chosen = load(tmp_path, sources={"ward": {"path": share.mount}}, source_timeout=1.0)
    go_live(database, make_linear_version(chosen.models, "v1"))
    process = WorkerProcess(chosen)  # noqa: F811
    try:
        share.hang()
        with pytest.raises(OutOfReach):
            process.sources["ward"].is_in_reach()
        process.metrics.show_sources(process.sources)
        found = of(process.metrics)
        assert found["pneumoscreen_source_helpers_hung", "ward"] > 0
        assert found["pneumoscreen_source_helpers_hung", "submitted"] == 0
        share.answer()
        wait(lambda: process.sources["ward"].hung == 0)
        process.metrics.show_sources(process.sources)
        assert of(process.metrics)["pneumoscreen_source_helpers_hung", "ward"] == 0
    finally:
        process.stop()
        process.threads.shutdown()
        process.database.close()


def test_training_runs_are_told_by_what_became_of_them_with_the_time_of_the_last_success(
    database: Database, situation: CollectorRegistry, settings: Settings
) -> None:
    before = series(situation.collect())
    assert before["pneumoscreen_training_runs", "failed"] == 0
    assert ("pneumoscreen_training_last_success_timestamp_seconds",) not in before
    states = (RunState.PUBLISHED, RunState.REJECTED, RunState.FAILED, RunState.FAILED, RunState.RUNNING)
    with database.write() as session:
        for hours, state in enumerate(states):
            at = NOW + timedelta(hours=hours)
            row = {"architecture": "tiny7", "cause": "schedule", "fence": 1, "reviews": 0, "started_at": NOW}
            session.add(TrainingRun(**row, state=state, heartbeat_at=at, finished_at=at))
    found = series(producer_metrics.Situation(settings).collect())
    counts = {key[1]: value for key, value in found.items() if key[0] == "pneumoscreen_training_runs"}
    assert counts == {"running": 1, "published": 1, "rejected": 1, "failed": 2}
    last = found["pneumoscreen_training_last_success_timestamp_seconds",]
    assert last == (NOW + timedelta(hours=1)).timestamp()


def test_open_jobs_are_counted_from_their_index_alone(database: Database, settings: Settings) -> None:
    if database.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL chooses by the table's size")
    statements: list[str] = []
    situation = producer_metrics.Situation(settings)
    event.listen(situation._database.engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    list(situation.collect())
    (counting,) = [statement for statement in statements if "GROUP BY jobs" in statement]
    with database.read() as session:
        plan = session.execute(text(f"EXPLAIN QUERY PLAN {counting}")).all()
    assert "USING COVERING INDEX ix_jobs_open" in str(plan)


def test_what_is_out_of_reach_is_left_out_and_said_to_be(tmp_path: Path) -> None:
    settings = load(tmp_path / "gone", broker_url="redis://127.0.0.1:1/0")
    found = series(producer_metrics.Situation(settings).collect())
    assert found == {("pneumoscreen_database_up",): 0, ("pneumoscreen_broker_up",): 0}


def test_a_postgresql_that_does_not_answer_is_given_up_before_the_scrape_is() -> None:
    url = producer_metrics._impatient("postgresql+psycopg://user:secret@host/name?connect_timeout=1")
    assert "connect_timeout=1" in url
    assert "tcp_user_timeout=3000" in url
    assert "options" not in url, "a pooler does not pass them on"
    assert ":secret@" in url
    assert producer_metrics._impatient("sqlite:////a/b.db") == "sqlite:////a/b.db"


def test_scrapes_that_follow_each_other_at_once_ask_once(database: Database, settings: Settings) -> None:
    situation = producer_metrics.Situation(settings)
    before = series(situation.collect())
    drop(database, "a.png")
    assert series(situation.collect()) == before


def test_the_producer_tells_when_it_is_in_trouble(settings: Settings) -> None:
    metrics = producer_metrics.Metrics(settings)

    def ready() -> float | None:
        return metrics.registry.get_sample_value("pneumoscreen_producer_ready")

    assert ready() == 0
    metrics.show_step(is_ready=True)
    assert ready() == 1
    metrics.show_step(is_ready=False)
    assert ready() == 0


def test_what_the_producer_counts_starts_at_nothing_and_holds_names_of_roots_alone(settings: Settings) -> None:
    metrics = producer_metrics.Metrics(settings)
    metrics.count_registered("ward", 3)
    metrics.count_sent(Lane.STAT, 2)
    metrics.count_recovered("lease", 1)
    found = series(metrics.registry.collect())
    assert found["pneumoscreen_images_registered_total", "ward"] == 3
    assert found["pneumoscreen_jobs_sent_total", "stat"] == 2
    assert found["pneumoscreen_jobs_sent_total", "routine"] == 0
    assert found["pneumoscreen_jobs_recovered_total", "lease"] == 1
    assert found["pneumoscreen_jobs_recovered_total", "empty_broker"] == 0
    assert not any("/" in label for key in found for label in key[1:])


def test_a_metrics_port_that_is_taken_or_on_no_address_of_ours_is_refused(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            WrongSettings, match=rf"port {port} .* PNEUMOSCREEN_WORKER_METRICS_PORT=\d+ pneumoscreen wor"
        ):
            check_metrics_port(load(tmp_path, worker_metrics_port=port), "worker")
        with pytest.raises(
            WrongSettings, match=rf"port {port} .* PNEUMOSCREEN_PRODUCER_METRICS_PORT=\d+ pneumoscreen p"
        ):
            check_metrics_port(load(tmp_path, producer_metrics_port=port), "producer")
        check_metrics_port(load(tmp_path, producer_metrics_port=port), "worker")
        with pytest.raises(WrongSettings, match=r"192\.0\.2\.1"):
            check_metrics_port(load(tmp_path, metrics_host="192.0.2.1", worker_metrics_port=port), "worker")


def test_work_that_is_sent_again_is_counted_by_its_cause(database: Database, settings: Settings) -> None:
    drop(database, "a.png", "b.png")
    send_all(database, now=NOW)
    metrics = producer_metrics.Metrics(settings)
    recovering.recover(settings, database, NOW + timedelta(hours=1), metrics)
    claim(database, send_all(database), now=NOW)
    recovering.recover(settings, database, NOW + timedelta(hours=1), metrics)
    found = series(metrics.registry.collect())
    assert found["pneumoscreen_jobs_recovered_total", "lost_message"] == 2
    assert found["pneumoscreen_jobs_recovered_total", "lease"] == 2


def test_a_broker_that_came_back_empty_is_counted(database: Database, settings: Settings, redis_url: str) -> None:
    metrics = producer_metrics.Metrics(settings)
    with Redis.from_url(redis_url, decode_responses=True) as redis:
        recovering.check_epoch(database, redis, metrics)
        drop(database, "a.png")
        send_all(database)
        recovering.check_epoch(database, redis, metrics)
        assert metrics.registry.get_sample_value("pneumoscreen_jobs_recovered_total", {"cause": "empty_broker"}) == 0
        redis.flushall()
        recovering.check_epoch(database, redis, metrics)
    assert metrics.registry.get_sample_value("pneumoscreen_jobs_recovered_total", {"cause": "empty_broker"}) == 1
