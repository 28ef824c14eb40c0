"""Model versions reach their place whole or not at all: written aside, synced, checked, renamed."""

import os
import secrets
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from shared import manifest
from shared.errors import WorkFailed
from shared.inference import KERAS_FILE
from shared.manifest import Manifest

Save = Callable[[Path], None]
Describe = Callable[[str, dict[str, str]], Manifest]


def publish(out: Path, architecture: str, created_at: datetime, save: Save, describe: Describe) -> Path:
    """Publish one version as a folder in `out`, named ARCHITECTURE-YYYYMMDD-xxxxxxxx after day and weights.

    `save(path)` writes the network to a path; `describe(version, files)` returns its manifest, `files` being the
    SHA-256 of each file by name. Whatever fails, nothing stays behind. Raises WorkFailed where the version exists,
    and BrokenModel where what was written does not read back.
    """
    out.mkdir(parents=True, exist_ok=True)
    aside = out / f".{architecture}-{secrets.token_hex(8)}.part"
    aside.mkdir()
    try:
        target = _write(aside, out, architecture, created_at, save, describe)
        aside.rename(target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    _sync(out)
    return target


def _write(aside: Path, out: Path, architecture: str, created_at: datetime, save: Save, describe: Describe) -> Path:
    """Fill the folder that will be renamed, and return the name that it will have."""
    save(aside / KERAS_FILE)
    files = {KERAS_FILE: manifest.sha256((aside / KERAS_FILE).read_bytes())}
    target = out / f"{architecture}-{created_at:%Y%m%d}-{files[KERAS_FILE][:8]}"
    if target.exists():
        raise WorkFailed(f"{target} exists already: a published version is never written again")
    checksum = manifest.write(aside, describe(target.name, files))
    for path in (*aside.iterdir(), aside):
        _sync(path)
    manifest.read(aside, checksum)
    return target


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
