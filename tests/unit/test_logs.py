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
