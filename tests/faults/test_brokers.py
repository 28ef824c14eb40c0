"""A broker that is killed, comes back empty, freezes, is out of reach, is full or read-only, or loses messages."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from redis import Redis
from redis.exceptions import RedisError

from shared.base.lanes import LANES, Lane
from shared.queue.broker import QUEUE, SEPARATOR
from tests.faults.trial import IMAGES, IS_LONG, LENGTHY, STRIKES, Trial, struck
from tests.plan import short
from tests.servers import RedisServer, Servers
from tests.system import System

FROZEN = 30.0 if IS_LONG else 6.0
REFUSING = 60.0 if IS_LONG else 6.0
FULL = 30.0 if IS_LONG else 3.0
READ_ONLY = 70.0 if IS_LONG else 3.0
"""Seconds for which the broker is so."""
MAX_MORE_CLIENTS = 12
"""Connections more than before a fault, during and after it: those of services that connect anew just then."""
ROUTINE = f"{QUEUE}{SEPARATOR}{LANES[Lane.ROUTINE].priority}"
StartTrial = Callable[[System, str], Trial]


@dataclass(frozen=True)
class Broker:
    """The broker of a running system: the private one, or a server of the test's own."""

    system: System
    redis: Redis
    folder: Path
    server: RedisServer | None

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(int(self.redis.info("server")["process_id"]))

    def kill(self, *, and_empty: bool = False) -> None:
        """With SIGKILL; its data are emptied while it stands still, for a supervisor would start it at once."""
        process = self.process
        process.suspend()
        if and_empty:
            for folder in self.folder.iterdir():
                shutil.rmtree(folder)
        if self.server:
            self.server.kill()
        else:
            process.kill()

    def start(self) -> None:
        """Returns when it answers."""
        if self.server:
            self.server.start()
        self.system.wait(self._answers, "the broker to be started by the supervisor")

    def _answers(self) -> bool:
        try:
            return bool(self.redis.ping())
        except RedisError:
            return False

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It hears nothing and says nothing, but its connections stand."""
        process = self.process
        process.suspend()
        try:
            yield
        finally:
            process.resume()

    @contextmanager
    def full(self) -> Iterator[None]:
        """It refuses to store anything."""
        self.redis.config_set("maxmemory", "1")
        try:
            yield
        finally:
            self.redis.config_set("maxmemory", "0")

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """A failover made it a replica, of a primary that is gone."""
        self.redis.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            yield
        finally:
            self.redis.execute_command("REPLICAOF", "NO", "ONE")

    def refusals(self, kind: str = "OOM") -> int:
        """How often it refused to store something."""
        return int(self.redis.info("errorstats").get(f"errorstat_{kind}", {}).get("count", 0))

    def clients(self) -> int:
        return int(self.redis.info("clients")["connected_clients"])


@pytest.fixture(scope="module")
def broker(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    make_servers: Callable[[str], Servers | None],
) -> Iterator[Broker]:
    """The private broker beside SQLite, or a Redis of the test's own beside PostgreSQL."""
    folder = tmp_path_factory.mktemp("brokers")
    if request.param == "private":
        with struck(folder) as system, _client(system.broker_url) as client:
            yield Broker(system, client, system.home / "broker", None)
        return
    server = RedisServer()
    try:
        servers = make_servers("postgresql")
        assert servers is not None
        own = Servers(servers.database_url, server.url)
        with struck(folder, own) as system, _client(server.url) as client:
            yield Broker(system, client, server.folder, server)
    finally:
        server.close()


def of(*kinds: str) -> pytest.MarkDecorator:
    """The brokers that a test strikes, if any; the long form strikes both."""
    return pytest.mark.parametrize("broker", short(kinds, ("private", "own")), indirect=True)


@of("private")
def test_a_broker_killed_and_started_again_with_its_data_loses_nothing(broker: Broker, trial: StartTrial) -> None:
    fault = trial(broker.system, "broker killed")

    def blow() -> None:
        broker.kill()
        broker.start()

    for _ in range(STRIKES):
        fault.strike(blow)
    fault.end()


@of("private")
def test_a_broker_that_comes_back_empty_loses_nothing(broker: Broker, trial: StartTrial) -> None:
    fault = trial(broker.system, "broker killed, comes back empty")

    def blow() -> None:
        broker.kill(and_empty=True)
        broker.start()

    for _ in range(STRIKES):
        fault.strike(blow)
    fault.end()


@of()  # one that comes back empty has lost as much
def test_a_broker_emptied_by_hand_loses_nothing(broker: Broker, trial: StartTrial) -> None:
    fault = trial(broker.system, "broker emptied by hand")
    for _ in range(STRIKES):
        fault.strike(broker.redis.flushall)
    fault.end()


@of()
def test_a_broker_that_freezes_for_a_while_holds_up_work_only_so_long(broker: Broker, trial: StartTrial) -> None:
    fault = trial(broker.system, f"broker frozen for {FROZEN:.0f} s")

    def blow() -> None:
        with broker.frozen():
            time.sleep(FROZEN)

    for _ in range(LENGTHY):
        fault.strike(blow, images=STRIKES * IMAGES // LENGTHY, outlasts=True)
    fault.end()


@pytest.mark.soak  # it is away for longer than one that is killed
@pytest.mark.parametrize("broker", ["own"], indirect=True)
def test_a_broker_that_refuses_connections_for_a_while_loses_nothing(broker: Broker, trial: StartTrial) -> None:
    fault = trial(broker.system, f"broker refuses connections for {REFUSING:.0f} s")

    def blow() -> None:
        broker.kill()
        time.sleep(REFUSING)
        broker.start()

    for _ in range(LENGTHY):
        fault.strike(blow, images=STRIKES * IMAGES // LENGTHY, outlasts=True)
    fault.end()


@of()
def test_a_full_broker_loses_nothing(broker: Broker, trial: StartTrial) -> None:
    fault = trial(broker.system, f"broker full for {FULL:.0f} s")

    def blow() -> None:
        before = broker.refusals()
        with broker.full():
            fault.wait(lambda: broker.refusals() > before, "the broker to refuse something")
            time.sleep(FULL)

    for _ in range(LENGTHY):
        fault.strike(blow, images=STRIKES * IMAGES // LENGTHY, outlasts=True)
    fault.end()


@of("private")
def test_a_broker_that_becomes_read_only_loses_nothing_and_no_connection_to_it_is_left_open(
    broker: Broker, trial: StartTrial
) -> None:
    fault = trial(broker.system, f"broker read-only for {READ_ONLY:.0f} s")
    most = broker.clients() + MAX_MORE_CLIENTS

    def blow() -> None:
        before = broker.refusals("READONLY")
        with broker.read_only():
            fault.wait(lambda: broker.refusals("READONLY") > before, "the broker to refuse something")
            time.sleep(READ_ONLY)
            assert broker.clients() <= most, "connections were left open"

    for _ in range(LENGTHY):
        fault.strike(blow, images=STRIKES * IMAGES // LENGTHY, outlasts=True)
    fault.end()
    assert broker.clients() <= most, "connections were left open"


@of()
def test_messages_that_are_popped_and_lost_are_sent_again(broker: Broker, trial: StartTrial) -> None:
    fault = trial(broker.system, "messages popped and lost")

    def blow() -> None:
        for _ in range(2):
            fault.wait(lambda: broker.redis.rpop(ROUTINE), "a message to lose")

    for _ in range(STRIKES):
        fault.strike(blow)
    fault.end()


def _client(url: str) -> Redis:
    return Redis.from_url(url, decode_responses=True, socket_timeout=5)
