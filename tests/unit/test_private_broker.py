"""The private broker's configuration, read by a real server."""

import subprocess
import time
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as NotThere

from local import private_broker
from tests import pace


@pytest.mark.parametrize("name", ["plain", "a #b ;c", """a"b'\\c""", "[br]", "a?b*", "a\\b[c]", "%41$HOME{}é"])
def test_a_server_in_a_home_of_any_name_has_its_own_configuration_and_writes_there_alone(
    tmp_path: Path, name: str
) -> None:
    """A server that does not find its file runs all the same: on port 6379, without a password."""
    home = tmp_path / name / "home"
    broker = private_broker.prepare(home)
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(broker.command, cwd="/", stdout=log, stderr=log)
    try:
        with Redis.from_url(broker.url, decode_responses=True) as redis:
            _wait(redis, server)
            assert redis.config_get("dir") == {"dir": str(home / "broker")}
    finally:
        server.terminate()
        server.wait()
    assert list((home / "broker").iterdir()), "its file lies elsewhere"
    assert {path.name for path in tmp_path.iterdir()} == {name, "log"}


def _wait(redis: "Redis", server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + pace.seconds(20)
    while True:
        try:
            redis.ping()
        except NotThere:
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return
