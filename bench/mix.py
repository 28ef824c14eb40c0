"""The whole system on DICOM of all syntaxes; beside it another checkout's, which its own benchmark measures."""

import json
import subprocess
from pathlib import Path

from bench import system
from shared.base.errors import WorkFailed


def measure(files: Path, work: Path, against: str | None = None) -> dict[str, float]:
    """What `system` measures; `times_the_other` is images/s in those of the checkout of the Python `against`."""
    figures = system.measure(files, work / "own")
    if against is None:
        return figures
    command = [against, "-m", "bench.measure", "system", str(files), str(work / "other"), "{}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=work)  # in this checkout it would find ours
    if done.returncode != 0:
        raise WorkFailed(f"measuring the other checkout failed:\n{done.stderr[-2000:]}")
    other = json.loads(done.stdout.splitlines()[-1])["images_per_second"]
    return {**figures, "images_per_second_of_the_other": other, "times_the_other": figures["images_per_second"] / other}
