"""How the services log: text for people, or one JSON object a line for log collectors."""

import logging

from pythonjsonlogger.json import JsonFormatter

from shared.base.settings import Settings

TEXT = "%(asctime)s %(levelname)s %(processName)s %(name)s: %(message)s"
TALKATIVE = ("py.warnings", "pydicom", "highdicom", "pylibjpeg", "openjpeg", "PIL")
"""Loggers that may repeat a file's header, names and UIDs included: shown at DEBUG only."""
FIELDS = {"levelname": "level", "name": "logger", "processName": "process_name", "process": "process_id"}


def configure(settings: Settings) -> None:
    """Send this process's log to standard error, as `log_level` and `log_format` say."""
    handler = logging.StreamHandler()
    if settings.log_format == "json":
        fields = " ".join(f"%({name})s" for name in (*FIELDS, "message"))
        handler.setFormatter(JsonFormatter(fields, rename_fields=FIELDS, timestamp=True))
    else:
        handler.setFormatter(logging.Formatter(TEXT))
    if settings.log_level != "DEBUG":
        # A filter, since pydicom sets its logger's level itself when it is imported.
        handler.addFilter(lambda record: not record.name.startswith(TALKATIVE))
    handler.addFilter(lambda record: not _ends_the_program(record))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _ends_the_program(record: logging.LogRecord) -> bool:
    """Whether SQLAlchemy's pool logs, with its traceback, what ends the program in good order, and raises it again."""
    is_end = record.exc_info is not None and isinstance(record.exc_info[1], SystemExit | KeyboardInterrupt)
    return is_end and record.name.startswith("sqlalchemy.pool")
