"""Which files of tests share a worker of pytest-xdist, which start first, and which tests run where."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pytest
from _pytest.mark import ParameterSet
from xdist.scheduler import LoadScopeScheduling

ONE_WORKER = {
    "tests/integration/test_dropping.py": "one running system",  # the fixture `system` of their folder
    "tests/integration/test_second_shell.py": "one running system",
    "tests/unit/test_novelty.py": "tensorflow",  # which takes seconds to import, and half a gigabyte
    "tests/unit/test_engines.py": "tensorflow",
    "tests/unit/test_litert_export.py": "tensorflow",
}
"""Files that share what is expensive to set up."""

LONGEST = (
    "tests/faults/test_workers.py",
    "tests/faults/test_pacs.py",
    "tests/faults/test_stopping.py",
    "tests/acceptance/test_training.py",
    "tests/integration/test_privacy.py",
    "tests/integration/test_secured_servers.py",
    "tests/integration/test_dropping.py",
    "tests/integration/test_second_shell.py",
    "tests/faults/test_folders.py",
    "tests/faults/test_trainers.py",
    "tests/faults/test_producers.py",
    "tests/faults/test_databases.py",
    "tests/faults/test_networks.py",
    "tests/faults/test_brokers.py",
    "tests/acceptance/test_screening.py",
    "tests/integration/test_swaps.py",
    "tests/integration/test_compose.py",
    "tests/integration/test_reading_browser.py",
    "tests/unit/test_train.py",
    "tests/unit/test_architectures.py",
    "tests/unit/test_novelty.py",
    "tests/unit/test_engines.py",
    "tests/unit/test_litert_export.py",
    "tests/migration/test_released.py",
    "tests/unit/test_backup.py",
)
"""These start first, in this order, so that the workers end together: a long file begun last is waited for."""

SLOW = (
    "tests/unit/test_architectures.py",
    "tests/unit/test_augmentation.py",
    "tests/unit/test_backup.py",
    "tests/unit/test_backup_schedule.py",
    "tests/unit/test_calibration.py",
    "tests/unit/test_courier.py",
    "tests/unit/test_doctor.py",
    "tests/unit/test_release.py",
    "tests/unit/test_statistics.py",
    "tests/unit/test_novelty.py",
    "tests/unit/test_engines.py",
    "tests/unit/test_independent_readers.py",
    "tests/unit/test_metrics.py",
    "tests/unit/test_train.py",
    "tests/unit/test_group_holdout.py",
    "tests/unit/test_litert_export.py",
    "tests/unit/test_worker_models.py",
    "tests/unit/test_worker_process.py",
)
"""Unit tests with a network, with many processes or with long computations, which `make check` has no time for."""

BOTH_DATABASES = (
    "tests/unit/test_accuracy.py",
    "tests/unit/test_backup.py",
    "tests/unit/test_docs.py",
    "tests/unit/test_drift_looks.py",
    "tests/unit/test_identity.py",
    "tests/unit/test_ledger_recover.py",
    "tests/unit/test_ledger_register.py",
    "tests/unit/test_ledger_send.py",
    "tests/unit/test_ledger_work.py",
    "tests/unit/test_lookup.py",
    "tests/unit/test_metrics.py",
    "tests/unit/test_outbox.py",
    "tests/unit/test_prune.py",
    "tests/unit/test_received.py",
    "tests/unit/test_refusals.py",
    "tests/unit/test_roles.py",
    "tests/unit/test_shadow.py",
    "tests/unit/test_trainer_runs.py",
    "tests/unit/test_upgrade.py",
    "tests/unit/test_upgrade_check.py",
    "tests/unit/test_views.py",
    "tests/unit/test_worker_process.py",
    "tests/unit/test_worklist_page.py",
)
"""Unit tests of what SQLite and PostgreSQL may do differently: locks, upserts, arrays, times, plans, rights.

All others do with SQLite in `make test`; `make soak` takes them to PostgreSQL too.
"""


def short(chosen: Iterable[object], values: Iterable[object]) -> list[ParameterSet]:
    """Parameters of a test or a fixture, of which `make test` takes only the chosen ones, and `make soak` all."""
    chosen = list(chosen)
    return [pytest.param(value, marks=() if value in chosen else pytest.mark.soak) for value in values]


class FilesInOrder(LoadScopeScheduling):
    """Each file of tests goes to one worker, in the order of collection; some files go to the same one."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return ONE_WORKER.get(file, file)


def share(config: pytest.Config) -> list[str]:
    """The modules of tests that this worker of pytest-xdist imports first; none without workers.

    Each worker collects all tests, and all come to a module at the same time: nobody finds it compiled by another,
    assertions and all, which takes as long as everything else in it. With a share of its own first, each does.
    """
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker is None:
        return []
    top = config.rootpath
    files = sorted({file for folder in config.args for file in (top / folder).rglob("test_*.py")})
    number = int(worker["workerid"].removeprefix("gw"))
    return [".".join(file.relative_to(top).with_suffix("").parts) for file in files[number :: worker["workercount"]]]


def file_of(item: pytest.Item) -> str:
    return item.nodeid.split("::", 1)[0]


def put_longest_first(items: list[pytest.Item]) -> None:
    places = {file: place for place, file in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(file_of(item), len(places)))


def mark(items: Sequence[pytest.Item]) -> None:
    """`slow` and `postgresql`, which `make check` leaves out, and `soak`."""
    names = {item.nodeid for item in items}
    for item in items:
        if is_second(item, names):
            item.add_marker(pytest.mark.soak)
        if file_of(item) in SLOW:
            item.add_marker(pytest.mark.slow)
        if "postgresql" in item.name or "postgresql_url" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.postgresql)


def is_second(item: pytest.Item, names: Collection[str]) -> bool:
    """Whether it is a unit test's run on PostgreSQL where the one on SQLite is enough for `make test`."""
    file = file_of(item)
    if not file.startswith("tests/unit/") or file in BOTH_DATABASES:
        return False
    test, _, parameters = item.nodeid.partition("[")
    return "postgresql" in parameters and f"{test}[{parameters.replace('postgresql', 'sqlite')}" in names
