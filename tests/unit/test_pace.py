"""The limits of the tests themselves: they scale with the machine, and waits end when nothing moves any more."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests import pace, plan
from tests.pace import LONGEST, Patience

TOP = Path(__file__).parents[2]


class World:
    """A clock and something that moves, both by hand."""

    def __init__(self) -> None:
        self.now, self.moved = 100.0, 0

    def patience(self) -> Patience:
        return Patience(10.0, lambda: self.moved, lambda: self.now)


def test_patience_runs_out_when_nothing_has_moved_for_its_limit() -> None:
    world = World()
    patience = world.patience()
    world.now += 9.9
    assert not patience.is_over()
    world.now += 0.2
    assert patience.is_over()


def test_patience_goes_on_while_something_moves_but_not_for_ever() -> None:
    world = World()
    patience = world.patience()
    for _ in range(LONGEST):
        world.now += 9.9
        world.moved += 1
        assert not patience.is_over()
    world.now += 11
    world.moved += 1
    assert patience.is_over()


def test_a_limit_is_never_shorter_than_on_the_reference_machine() -> None:
    assert pace.seconds(3.0) >= 3.0
    assert float(pace.setting(3.0)) >= 3.0


@pytest.mark.parametrize("file", sorted({*plan.ONE_WORKER, *plan.LONGEST, *plan.SLOW, *plan.BOTH_DATABASES}))
def test_every_file_of_the_plan_exists(file: str) -> None:
    assert (TOP / file).is_file()


def is_second(test: str, *others: str) -> bool:
    return plan.is_second(cast(pytest.Item, SimpleNamespace(nodeid=test)), {test, *others})


def test_a_unit_test_goes_to_postgresql_in_make_soak_alone_unless_the_databases_may_differ() -> None:
    test = "tests/unit/test_review.py::test_a_word[{}-NORMAL]"
    both = [test.format(kind) for kind in ("sqlite", "postgresql")]
    assert [is_second(each, *both) for each in both] == [False, True]
    assert not is_second(both[1]), "PostgreSQL is the only one that it is for"
    assert plan.BOTH_DATABASES
    for file in plan.BOTH_DATABASES:
        assert not is_second(f"{file}::test_it[postgresql]", f"{file}::test_it[sqlite]")


def test_each_worker_compiles_a_share_of_the_tests_and_together_all_of_them(pytestconfig: pytest.Config) -> None:
    def share(**worker: object) -> list[str]:
        config = SimpleNamespace(rootpath=pytestconfig.rootpath, args=["tests/unit"], **worker)
        return plan.share(cast(pytest.Config, config))

    shares = [share(workerinput={"workerid": f"gw{number}", "workercount": 3}) for number in range(3)]
    modules = [module for each in shares for module in each]
    files = (pytestconfig.rootpath / "tests" / "unit").glob("test_*.py")
    assert sorted(modules) == sorted(f"tests.unit.{file.stem}" for file in files)
    assert all(shares)
    assert share() == [], "without workers nobody else would find it compiled"
