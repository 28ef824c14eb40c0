"""How the services log: text for people, or one JSON object a line for log collectors."""

import logging

from pythonjsonlogger.json import JsonFormatter

from shared.settings import Settings

TEXT = "%(asctime)s %(levelname)s %(processName)s %(name)s: %(message)s"
FIELDS = {"levelname": "level", "name": "logger", "processName": "process_name", "process": "process_id"}


def configure(settings: Settings) -> None:
    """Send this process's log to standard error, as `log_level` and `log_format` say."""
    handler = logging.StreamHandler()
    if settings.log_format == "json":
        fields = " ".join(f"%({name})s" for name in (*FIELDS, "message"))
        handler.setFormatter(JsonFormatter(fields, rename_fields=FIELDS, timestamp=True))
    else:
        handler.setFormatter(logging.Formatter(TEXT))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
