"""Surroundings that break or fool a program: a folder of files named as what it imports, variables of others."""

from pathlib import Path

IMPORTED = (
    *("redis", "celery", "kombu", "billiard", "flower", "supervisor", "typer", "rich", "pydantic", "sqlalchemy"),
    *("numpy", "PIL", "pydicom", "gdcm", "watchdog", "alembic", "psutil", "tensorflow", "keras", "ai_edge_litert"),
    *(
        "json",
        "logging",
        "re",
        "random",
        "tempfile",
        "sqlite3",
        "ssl",
        "cli",
        "shared",
        "worker",
        "trainer",
        "node",
        "courier",
        "local",
    ),
    *("celeryconfig", "flowerconfig"),
)
AT_START = ("sitecustomize", "usercustomize")
"""What Python itself imports before any program of ours has a say."""
RUN = (
    "import sys\nwith open({trace!r}, 'a') as trace:\n    trace.write(__file__ + ' by ' + str(sys.orig_argv) + '\\n')\n"
)
VARIABLES = {
    "CELERY_BROKER_URL": "redis://127.0.0.1:1/0",
    "BROKER_URL": "amqp://127.0.0.1:1",
    "CELERY_CONFIG_MODULE": "celeryconfig",
    "LOADER": "default",
    "FLOWER_PORT": "tcp://10.0.0.2:5555",
    "PNEUMOSCREEN_PORT": "tcp://10.0.0.1:5555",
    "PNEUMOSCREEN_SERVICE_HOST": "10.0.0.1",
    "PNEUMOSCREEN_SERVICE_PORT_HTTP": "5555",
    "PNEUMOSCREEN_PORT_5555_TCP_ADDR": "10.0.0.1",
    "PNEUMOSCREEN_PRODUCER_METRICS_PORT": "tcp://10.0.0.3:9101",
    "KERAS_BACKEND": "torch",
}
"""As a host has them on which another application uses Celery, or a pod beside services of these names."""


def fill(folder: Path, trace: Path, names: tuple[str, ...] = (*IMPORTED, *AT_START)) -> Path:
    """A working folder in which every file, if it is run, says so in `trace`."""
    folder.mkdir()
    for name in names:
        (folder / f"{name}.py").write_text(RUN.format(trace=str(trace)))
    for name in ("queries", "actions", "producer"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(RUN.format(trace=str(trace)))
    return folder
