"""The whole system on this machine, under supervisord: what `up` and `demo` run."""

import ctypes
import fcntl
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import psutil
from sqlalchemy.exc import DBAPIError

from actions import accounts, logits
from actions.installation import install_bundled
from local import private_broker, services, web_settings
from local.announcing import announce, patient_secret
from local.inbox import INBOX, make, remember, with_inbox
from queries.web_address import address_of
from queries.workers import live_workers
from shared import database, sources
from shared.base import home as home_folder
from shared.base import settings
from shared.base.errors import WorkFailed, WrongSettings
from shared.base.settings import Settings
from shared.base.surroundings import NEUTRAL, python
from shared.database import opened_by_admin
from shared.database.connection import is_refused
from shared.models import registry
from shared.queue.broker import url as broker_url
from shared.queue.broker import wait_until_ready
from shared.sources.links import check_links

STOP_SECONDS = {
    **{"producer": 40, "courier": 40, "node": 30, "trainer": 20, "worker": 60},
    **{"flower": 5, "web": 10, "backup": 10, "broker": 10},
}
"""How long each program has to end by itself; then it is killed, which loses no image either.

A producer may wait for a server that does not answer, for the 30 s after which connections are given up.
"""
BROKER_SECONDS = 20
MARK = "PROGRAM_OF_UP"
"""A variable in the environment of all programs of `up`, with the home: by it they are found if `up` is killed."""
HELPERS = "shared.sources.folder."
"""Begins the names of the programs that look into folders for others."""
CONFIGURATION = """
[supervisord]
nodaemon=true
silent=true
logfile=../logs/supervisord.log
pidfile=supervisord.pid
childlogdir=../logs
[group:services]
programs={services}
priority=1000
"""
"""No path stands in it, since it has no way to write every one: it is run in HOME/run, and commands are variables.

The services are stopped together, and before the broker that they need: the highest priority is stopped first, 999 is
the default.
"""
PROGRAM = """
[program:{name}]
command=%(ENV_{variable})s
directory={folder}
autorestart=true
startretries=100000
stopwaitsecs={stop_seconds}
killasgroup=true
redirect_stderr=true
stdout_logfile=../logs/{name}.log
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=3
"""


class System:
    """A running system; made by `run`."""

    def __init__(
        self,
        settings: Settings,
        process: "subprocess.Popen[bytes]",
        flower: str | None,
        candidate: str | None,
        web: str | None = None,
        first_link: str | None = None,
    ) -> None:
        self.settings = settings
        self.flower = flower
        self.web = web
        self.first_link = (
            first_link  # by which the first account's owner chooses a password, where it was made just now
        )
        self.candidate = candidate  # a model version that came with the program, and that nobody has taken yet
        self._process = process

    def check(self) -> None:
        if self._process.poll() is not None:
            raise WorkFailed(f"The supervisor ended by itself: see {self.settings.logs / 'supervisord.log'}.")

    def wait_until_ready(self, seconds: float) -> None:
        """Until a worker process holds a model; raises WorkFailed with the end of its log if none does in time."""
        deadline = time.monotonic() + seconds
        with_database = database.connect(self.settings.database)
        while True:
            self.check()
            with with_database.read() as session:
                alive = live_workers(session, datetime.now(UTC))
            if any(worker.model_version for worker in alive):
                with_database.close()
                return
            errors = [worker.error for worker in alive if worker.error]
            if errors or time.monotonic() > deadline:
                reason = errors[0] if errors else f"no worker was ready after {seconds:.0f} s"
                raise WorkFailed(f"The worker did not start: {reason}. Its log is {self.settings.logs / 'worker.log'}.")
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop all programs; running batches finish first. No program is left that works in this home."""
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(max(STOP_SECONDS.values()) + STOP_SECONDS["broker"] + 15)
        _end_programs(self.settings.home)


@contextmanager
def run(
    home: Path, inbox: Path | None, flower_port: int | None, web: str = "off", *, trainer: bool = True
) -> Iterator[System]:
    """Start the system in a home folder and stop it at the end. `web` is the pages' port: a number, auto or off.

    Raises WrongSettings if a system runs there already, a port is taken, or the sources overlap.
    """
    home = home_folder.resolve(home)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)  # paths and results are nobody else's business
    (home / "run").mkdir(exist_ok=True)
    with (home / "run" / "up.lock").open("a+") as lock:
        _lock(lock, home)
        _end_programs(home)
        home_folder.announcement(home).unlink(missing_ok=True)  # left behind by a killed `up`
        chosen = settings.load(home)
        if inbox is None and not chosen.sources:
            inbox = home / INBOX
        if inbox is not None:
            chosen = with_inbox(chosen, inbox)
        check_links(chosen)
        web_port = port_for_web(chosen, web)
        if web_port:
            web_settings.check(chosen)
        services.check_metrics_port(chosen, "producer")
        services.check_metrics_port(chosen, "worker")
        if web_port:
            services.check_metrics_port(chosen, "web")
        services.check_metrics_port(chosen, "courier")
        services.check_metrics_port(chosen, "node")
        services.check_semaphores()
        if chosen.broker_url is None:
            broker = private_broker.prepare(home)
        else:
            broker = None
            wait_until_ready(broker_url(chosen), 0)
        for folder in (chosen.logs, chosen.models):
            folder.mkdir(parents=True, exist_ok=True)
        for source in sources.build(chosen).values():
            source.prepare()
        with closing(database.connect(chosen.database)) as with_database:
            with_database.upgrade()
            if INBOX in chosen.sources:
                remember(chosen, with_database)
            candidate = install_bundled(with_database, chosen.models, datetime.now(UTC), chosen.signing_key).candidate
            logits.fill(with_database, chosen.models, chosen.signing_key)
            registry.check(with_database, chosen.models, chosen.signing_key)
        if inbox is not None:
            make(chosen)
        announced = {
            "broker_url": broker.url if broker else broker_url(chosen),
            "database_url": chosen.database,
            "patient_secret": patient_secret(chosen),
        }
        if web_port:
            announced["web_url"] = address_of(chosen.model_copy(update={"web_port": web_port}))
        announce(home, announced, chosen.sources)
        chosen = settings.load(home, sources=chosen.sources)
        with home_folder.registered(home):
            address = address_of(chosen) if web_port else None
            first_link = _add_first_account(chosen) if web_port else None
            process = _supervise(chosen, broker, flower_port, web_port, trainer=trainer)
            flower = f"http://127.0.0.1:{flower_port}" if flower_port else None
            system = System(chosen, process, flower, candidate, address, first_link)
            try:
                if broker:
                    wait_until_ready(broker.url, BROKER_SECONDS)
                yield system
            finally:
                system.stop()
                home_folder.announcement(home).unlink(missing_ok=True)


def port_for_flower(wanted: str) -> int | None:
    """The port to listen on: as wanted, or a free one near the default if `auto`; None for `off`."""
    if wanted == "off":
        return None
    if wanted == "auto":
        return next((port for port in range(5555, 5600) if _is_free(port)), private_broker.free_port())
    if not wanted.isdecimal() or not 0 < int(wanted) < 65536:
        raise WrongSettings(f"--flower-port must be a port number, auto or off, not {wanted!r}.")
    if not _is_free(int(wanted)):
        raise WrongSettings(f"Port {wanted} is taken on this machine: choose another with --flower-port, or off.")
    return int(wanted)


def port_for_web(chosen: Settings, wanted: str) -> int | None:
    """As `port_for_flower`. With `auto`, the setting `web_port` must be free where somebody has set it; 0 is off."""
    if wanted == "off" or (wanted == "auto" and chosen.web_port == 0):
        return None
    is_set = "web_port" in chosen.model_fields_set
    if wanted == "auto" and not is_set:
        near = range(chosen.web_port, chosen.web_port + 40)
        return next((port for port in near if _is_free(port)), private_broker.free_port())
    if wanted != "auto" and not (wanted.isdecimal() and 0 < int(wanted) < 65536):
        raise WrongSettings(f"--web-port must be a port number, auto or off, not {wanted!r}.")
    port = chosen.web_port if wanted == "auto" else int(wanted)
    if not _is_free(port):
        raise WrongSettings(f"Port {port} is taken on this machine: choose another with --web-port, or off.")
    return port


def _add_first_account(chosen: Settings) -> str | None:
    """A fresh system has one account, whose owner is whoever started it: the link to choose its password."""
    try:
        with opened_by_admin(chosen) as with_database, with_database.write() as session:
            link = accounts.add_first(session, "installation", datetime.now(UTC))
    except DBAPIError as error:
        if not is_refused(error.orig):
            raise
        return None  # the owner of the tables makes accounts: `pneumoscreen users add`
    return f"{address_of(chosen)}{link.path}" if link else None


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _lock(lock: TextIO, home: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise WrongSettings(f"A system runs in {home} already: stop it, or choose another --home.") from error


def _end_programs(home: Path) -> None:
    """Kill what a killed supervisor of this home left: two brokers would write into one file."""
    for _ in range(100):
        leftovers = [process for process in psutil.process_iter() if _is_program(process, home)]
        for process in leftovers:
            with suppress(psutil.Error):
                process.kill()
        if all(map(_is_held, leftovers)):
            return
        time.sleep(0.1)


def _is_program(process: psutil.Process, home: Path) -> bool:
    try:
        if process.environ().get(MARK) == str(home):
            return True
        # A Redis writes its title over the environment that it was started with.
        return process.name() in private_broker.SERVERS and process.cwd() == str(private_broker.folder(home).resolve())
    except (psutil.Error, OSError):  # another user's, or gone
        return False


def _is_held(process: psutil.Process) -> bool:
    """Whether a call on a share that hangs holds a helper: it works on nothing, and ends when the call does."""
    try:
        return process.status() == psutil.STATUS_DISK_SLEEP and HELPERS in " ".join(process.cmdline())
    except psutil.Error:
        return False


def _supervise(
    chosen: Settings, broker: private_broker.PrivateBroker | None, port: int | None, web: int | None, *, trainer: bool
) -> "subprocess.Popen[bytes]":
    programs = {"producer": python("cli.main", "producer"), "worker": python("cli.main", "worker")}
    if any(source.kind == "dicom" for source in chosen.sources.values()):
        programs["node"] = python("cli.main", "node")
    if chosen.destinations:
        programs["courier"] = python("cli.main", "courier")
    if trainer:
        programs["trainer"] = python("cli.main", "trainer")
    if chosen.backup_every:
        programs["backup"] = python("cli.main", "db", "backup", "--repeat")
    if port:
        programs["flower"] = python("cli.main", "flower", f"--port={port}")
    if web:
        programs["web"] = python("cli.main", "web", f"--port={web}")
    text = CONFIGURATION.format(services=",".join(programs))
    if broker:
        programs["broker"] = broker.command
    commands = {f"UP_RUNS_{name.upper()}": shlex.join(command) for name, command in programs.items()}
    for name, variable in zip(programs, commands, strict=True):
        text += PROGRAM.format(name=name, variable=variable, folder=NEUTRAL, stop_seconds=STOP_SECONDS[name])
    run_folder = chosen.home / "run"
    (run_folder / "supervisord.conf").write_text(text, encoding="utf-8")
    return subprocess.Popen(
        python("supervisor.supervisord", "-c", "supervisord.conf"),
        cwd=run_folder,
        env={**os.environ, **commands, "PNEUMOSCREEN_HOME": str(chosen.home), MARK: str(chosen.home)},
        stdin=subprocess.DEVNULL,
        # It complains there of each line that it cannot log, and ends if that fails too: on a full disk a file would.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for us: we stop the programs in order
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )


def _die_with_parent() -> None:
    """Ask Linux to end the supervisor when `up` is killed, so that no orphan keeps working on the home."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
