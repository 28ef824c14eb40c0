"""A real machine without a writable /dev/shm: a mount that only the process of the test sees."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.system import environment, make_linear_home

HIDE = "mount -t tmpfs -o ro none /dev/shm && exec "


def without_shared_memory(*command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    line = ["unshare", "--mount", "sh", "-c", f'{HIDE} "$0" "$@"', *command]
    return subprocess.run(line, capture_output=True, text=True, env=environment(Path.cwd(), **variables), timeout=60)


@pytest.fixture(autouse=True)
def _can_mount() -> None:
    if sys.platform != "linux" or without_shared_memory("true").returncode:
        pytest.skip("this machine lets nobody mount anything")


@pytest.mark.parametrize("service", ["worker", "trainer"])
def test_a_machine_without_a_writable_dev_shm_is_named_in_one_sentence(
    service: str, tmp_path: Path, redis_url: str
) -> None:
    make_linear_home(tmp_path)
    command = [sys.executable, "-m", "cli.main", service, "--home", str(tmp_path)]
    ended = without_shared_memory(*command, PNEUMOSCREEN_BROKER_URL=redis_url)
    (sentence,) = ended.stderr.splitlines()
    assert ended.returncode == 3
    assert "On Linux they lie in /dev/shm: mount it, let this user write there" in sentence
