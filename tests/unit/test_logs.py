import json
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import logging, sys
from pathlib import Path
from shared.base import logs, settings
logs.configure(settings.load(Path(sys.argv[1])))
log = logging.getLogger("producer.service")
log.info("watching source %s", "ward")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("it failed")
log.debug("a name")
"""

ENDED = """
import sqlite3, sys
from pathlib import Path
from sqlalchemy import create_engine
from shared.base import logs, settings
logs.configure(settings.load(Path(sys.argv[1])))
class Connection(sqlite3.Connection):
    def close(self):
        raise SystemExit(143)  # as if the signal had come right now
engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(":memory:", factory=Connection))
engine.connect().close()
engine.dispose()
"""


def logged(home: Path, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, home], env=variables, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stderr


def test_a_json_log_has_one_object_a_line_with_time_level_and_logger(tmp_path: Path) -> None:
    first, second = map(json.loads, logged(tmp_path, PNEUMOSCREEN_LOG_FORMAT="json").splitlines())
    assert first["message"] == "watching source ward"
    assert (first["level"], first["logger"]) == ("INFO", "producer.service")
    assert first["timestamp"].endswith("+00:00")
    assert isinstance(first["process_id"], int)
    assert "ZeroDivisionError" in second["exc_info"]


def test_a_text_log_is_the_default_and_its_level_a_setting(tmp_path: Path) -> None:
    assert "INFO MainProcess producer.service: watching source ward" in logged(tmp_path)
    assert "watching" not in logged(tmp_path, PNEUMOSCREEN_LOG_LEVEL="ERROR")
    assert "a name" in logged(tmp_path, PNEUMOSCREEN_LOG_LEVEL="DEBUG")


def test_an_end_in_good_order_leaves_no_traceback_though_it_goes_through_a_library_that_logs_it(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", ENDED, tmp_path], env={}, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (143, "")
