"""Where the processes of a worker write what they measure.

It is to be set before prometheus_client is imported, which reads it then: so this module does not import that.
"""

import os
import shutil
from pathlib import Path

import psutil

from shared.base import host

FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def make_folder(home: Path) -> Path:
    """A fresh folder for the processes of the worker that this process becomes.

    Those of workers that are gone are removed. The name holds the host too, for hosts may share a home.
    """
    run, name = home / "run", host.name()
    for left in run.glob(f"metrics-*@{name}"):
        pid = int(left.name.removeprefix("metrics-").partition("@")[0])
        if pid == os.getpid() or not psutil.pid_exists(pid):
            shutil.rmtree(left)
    folder = run / f"metrics-{os.getpid()}@{name}"
    folder.mkdir(mode=0o700, parents=True)
    return folder
