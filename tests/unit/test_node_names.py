import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.node_names import take_node_name
from shared.base import host

TOP = Path(__file__).parents[2]
HOST = host.name()
HOLDER = """
import sys
from pathlib import Path
from local.node_names import take_node_name
print(take_node_name(Path(sys.argv[1]), "screening"), flush=True)
sys.stdin.read()
"""


def test_each_worker_of_a_host_has_a_name_that_is_free_again_when_it_ends(tmp_path: Path) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], cwd=TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    assert first.stdout.readline() == f"screening@{HOST}\n"
    assert take_node_name(tmp_path, "screening") == f"screening-2@{HOST}"
    assert take_node_name(tmp_path, "trainer") == f"trainer@{HOST}"
    first.communicate("")
    assert take_node_name(tmp_path, "screening") == f"screening@{HOST}"
    assert take_node_name(tmp_path, "screening") == f"screening-3@{HOST}"


def test_where_no_lock_can_be_had_the_process_number_tells_workers_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").write_text("no folder")
    assert take_node_name(tmp_path, "screening") == f"screening-{os.getpid()}@{HOST}"


def test_one_module_alone_asks_the_system_for_the_name_of_the_host() -> None:
    floors = ("shared", "queries", "actions", "producer", "worker", "trainer", "node", "courier", "local", "cli")
    asking = ("gethostname", "getfqdn", "platform.node", "os.uname")
    files = [file for floor in floors for file in (TOP / floor).rglob("*.py")]
    found = {file.relative_to(TOP).as_posix() for file in files if any(name in file.read_text() for name in asking)}
    assert found == {"shared/base/host.py"}
