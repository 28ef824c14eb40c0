"""The network between hosts and their servers cut and healed: broker and database, apart and together."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests import pace
from tests.faults.proxy import Proxy
from tests.faults.trial import EACH_WAY, IS_LONG, SEAMS, STRIKES, Trial
from tests.plan import short
from tests.servers import Servers
from tests.system import QUICK, SECONDS, System, environment, make_linear_home

CUT = 20.0 if IS_LONG else pace.span(4)
"""Seconds without a network: longer than a lease, and in the long form than it takes until jobs are sent again."""
StartTrial = Callable[[System, str], Trial]


class Hosts:
    """A producer and a worker, each with a home and a network of its own, and the servers both need."""

    def __init__(self, system: System, services: "Sequence[subprocess.Popen[str]]", lines: dict[str, Proxy]) -> None:
        self.system, self.services, self.lines = system, services, lines

    def check(self) -> None:
        for service in self.services:
            assert service.poll() is None, f"{service.args!r} ended:\n{self.system.logs()}"


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory, make_servers: Callable[[str], Servers | None]) -> Iterator[Hosts]:
    servers = make_servers("postgresql")
    assert servers is not None
    folder = tmp_path_factory.mktemp("networks")
    inbox = folder / "inbox"
    inbox.mkdir()
    (folder / "strikes").mkdir()
    seams = {"PYTHONPATH": str(SEAMS), "STRIKES": str(folder / "strikes"), "PACE": "0.02"}
    home = {name: folder / name for name in ("producer", "worker")}
    make_linear_home(home["producer"], servers.database_url)
    home["worker"].mkdir()
    (home["worker"] / "models").symlink_to(home["producer"] / "models")
    (folder / "system" / "logs").mkdir(parents=True)
    with ExitStack() as stack:
        lines: dict[str, Proxy] = {}
        services = []
        for name in home:
            (home[name] / "pneumoscreen.toml").write_text(f'[sources.inbox]\npath = "{inbox}"\n')
            through = _through(servers, name, lines, stack)
            variables = environment(
                home[name], **QUICK, **seams, **through.variables, PNEUMOSCREEN_HOME=str(home[name])
            )
            log = folder / "system" / "logs" / f"{name}.log"
            services.append(stack.enter_context(_service(name, log, variables)))
        system = System(folder / "system", inbox, environment(folder, **servers.variables), services[0])
        system.wait(lambda: system.query("SELECT 1 FROM workers WHERE model_version IS NOT NULL"), "a worker")
        yield Hosts(system, services, lines)


LINES = {
    "worker from broker": ["worker-broker"],
    "worker from database": ["worker-database"],
    "all from all": ["worker-broker", "worker-database", "producer-broker", "producer-database"],
    "worker from both": ["worker-broker", "worker-database"],
    "producer from both": ["producer-broker", "producer-database"],
}
CASES = short(["all from all"], LINES)


@pytest.mark.parametrize("case", CASES)
def test_a_network_that_is_cut_and_healed_loses_nothing(hosts: Hosts, trial: StartTrial, case: str) -> None:
    """Cut without a word, and healed so that connections live on, or with a reset; or refused from the start."""
    fault = trial(hosts.system, f"network cut: {case}")
    lines = [hosts.lines[name] for name in LINES[case]]
    for number in range(EACH_WAY if case == "all from all" else STRIKES):
        blow = Proxy.refuse if number % 3 == 2 else Proxy.cut
        fault.strike(lambda blow=blow: [blow(line) for line in lines])
        time.sleep(CUT)
        for line in lines:
            line.heal(reset=number % 3 == 1)
        fault.wait(lambda: fault.finished() >= fault.count, "all images before the next strike")
    fault.end()
    hosts.check()


@pytest.mark.soak  # each strike takes most of a minute, until the broker is asked for a sign of life
def test_connections_that_the_network_forgot_are_noticed(hosts: Hosts, trial: StartTrial) -> None:
    """As after a firewall that lost its table, or a server that lost its power: nobody was told."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root may forget a connection without a word")
    fault = trial(hosts.system, "network cut: connections forgotten")
    for _ in range(STRIKES):
        fault.strike(lambda: [line.cut() for line in hosts.lines.values()])
        for line in hosts.lines.values():
            line.heal(forget=True)
        fault.wait(lambda: fault.finished() >= fault.count, "all images before the next strike")
    fault.end()
    hosts.check()


def _through(servers: Servers, name: str, lines: dict[str, Proxy], stack: ExitStack) -> Servers:
    """The servers as a host sees them: over lines of its own."""
    found = {}
    for kind, url in (("database", servers.database_url), ("broker", servers.broker_url)):
        parsed = make_url(url)
        assert parsed.host and parsed.port
        line = lines[f"{name}-{kind}"] = stack.enter_context(Proxy(parsed.host, parsed.port))
        found[kind] = parsed.set(host="127.0.0.1", port=line.port).render_as_string(hide_password=False)
    return Servers(found["database"], found["broker"])


@contextmanager
def _service(name: str, log: Path, variables: dict[str, str]) -> "Iterator[subprocess.Popen[str]]":
    with log.open("w") as output:
        command = [sys.executable, "-m", "cli.main", name]
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
        process.terminate()
        assert process.wait(SECONDS) == 0, log.read_text()[-3000:]
    finally:
        process.kill()
        process.wait()
