"""What it costs to start a command: CPU seconds of whole processes, beside a database with rows and a broker."""

import os
import statistics
import subprocess
import sys
from pathlib import Path

from bench import growth
from bench.servers import RedisServer
from bench.system import PLACES
from shared.base.errors import WorkFailed

TIMES = 9
ROWS = 1000
COMMANDS = {
    "version": ["--version"],
    "help": ["--help"],
    "results": ["results"],
    "review": ["review", "earlier/ward/1.jpeg", "NORMAL", "--by", "bench"],
    "status": ["status"],
}
NEEDS_A_PERSON = 1
"""The exit code of `status`, since no version is live here."""


def measure(files: Path, work: Path, server: str) -> dict[str, float]:
    """The median of each command; `server` is the path of a redis-server."""
    home = work / "home"
    home.mkdir(parents=True)
    growth.fill(f"sqlite:///{home / 'pneumoscreen.db'}", ROWS)
    environment = {name: value for name, value in os.environ.items() if name not in PLACES}
    redis = RedisServer(server)
    try:
        environment |= {"PNEUMOSCREEN_HOME": str(home), "PNEUMOSCREEN_BROKER_URL": redis.url}
        for command in COMMANDS.values():  # once unmeasured: the first start compiles
            _cpu_seconds(command, environment)
        return {
            f"{name}_cpu_seconds": statistics.median(_cpu_seconds(command, environment) for _ in range(TIMES))
            for name, command in COMMANDS.items()
        }
    finally:
        redis.close()


def _cpu_seconds(command: list[str], environment: dict[str, str]) -> float:
    """Of the process and all that it waited for. Raises WorkFailed if the command fails."""
    before = os.times()
    process = subprocess.run(
        [sys.executable, "-m", "cli.main", *command], env=environment, capture_output=True, text=True
    )
    after = os.times()
    if process.returncode != (NEEDS_A_PERSON if command == COMMANDS["status"] else 0):
        raise WorkFailed(f"`pneumoscreen {' '.join(command)}` failed: {process.stderr or process.stdout}")
    return after.children_user + after.children_system - before.children_user - before.children_system
