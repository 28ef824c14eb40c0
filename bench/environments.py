"""Virtual environments for what the product is compared with: their packages on top of the product's own."""

import hashlib
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

import platformdirs

from shared.base.errors import WorkFailed

TOP = Path(__file__).parent.parent
INSTALL_SECONDS = 1200


def python(packages: Sequence[str]) -> Path:
    """The interpreter of an environment with these packages, made on first use and kept for the next time.

    What pip puts there comes before the product's packages, which all environments share. Raises WorkFailed.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    beside = list(dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), str(TOP)]))
    digest = hashlib.sha256("\n".join([version, sys.base_prefix, *packages, *beside]).encode()).hexdigest()[:12]
    first = re.split(r"[^\w.-]", packages[0])[0] if packages else "empty"
    kept = platformdirs.user_cache_path("pneumoscreen") / "bench" / f"{first}-{version}-{digest}"
    if not kept.exists():
        try:
            _make(kept, packages, beside)
        except (OSError, subprocess.SubprocessError) as error:
            raise WorkFailed(f"No environment with {' '.join(packages)} could be made: {error}.") from error
    return kept / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _make(kept: Path, packages: Sequence[str], beside: Sequence[str]) -> None:
    """Made aside and renamed, so that an interruption leaves nothing half done."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="making-", dir=kept.parent) as folder:
        aside = Path(folder) / kept.name
        venv.create(aside, symlinks=os.name != "nt", with_pip=True)
        interpreter = aside / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
        own = subprocess.run([str(interpreter), "-c", ask], capture_output=True, text=True, check=True, timeout=60)
        (Path(own.stdout.strip()) / "product.pth").write_text("\n".join(beside) + "\n", encoding="utf-8")
        install = [
            str(interpreter),
            "-m",
            "pip",
            "install",
            "--no-input",
            "--disable-pip-version-check",
            "--retries",
            "2",
        ]
        done = subprocess.run([*install, *packages], capture_output=True, text=True, timeout=INSTALL_SECONDS)
        if done.returncode != 0:
            lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            raise WorkFailed(
                f"pip could not install {' '.join(packages)}; its last line: {lines[-1] if lines else 'none'}"
            )
        try:
            aside.rename(kept)
        except OSError:
            if not kept.exists():  # another process made it meanwhile
                raise
