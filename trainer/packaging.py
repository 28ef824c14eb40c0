"""Publishes model versions atomically: written aside, synced, checked, renamed."""

import secrets
import shutil
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from shared.base.errors import BrokenModel, WorkFailed
from shared.base.filesystem import sync
from shared.models import manifest
from shared.models.engines import KERAS_FILE
from shared.models.manifest import Manifest

Save = Callable[[Path], None]
Describe = Callable[[str, dict[str, str]], Manifest]
Accompany = Callable[[Path, Manifest], None]


def publish(
    out: Path,
    architecture: str,
    created_at: datetime,
    save: Save,
    describe: Describe,
    accompany: Sequence[Accompany] = (),
) -> Path:
    """Publish one version as a folder in `out`, named ARCHITECTURE-YYYYMMDD-xxxxxxxx after day and weights.

    `save(path)` writes the network to a path; `describe(version, files)` returns its manifest, `files` being the
    SHA-256 of each file by name. Each step `(folder, manifest)` of `accompany` may then write further files, as
    pictures and a card; its manifest vouches for the files of the steps before it, the published one for all of them.
    Whatever fails, nothing stays behind. Raises WorkFailed where the version exists, and BrokenModel where what was
    written cannot be read back.
    """
    out.mkdir(parents=True, exist_ok=True)
    aside = out / f".{architecture}-{secrets.token_hex(8)}.part"
    aside.mkdir()
    try:
        target = _write(aside, out, architecture, created_at, save, describe, accompany)
        aside.rename(target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync(out)
    return target


def finished(out: Path, since: datetime) -> Path | None:
    """The version that an earlier attempt published in `out`, a folder for one version; what is incomplete is removed.

    So is what was made before `since`: a restored database gives the numbers of its runs again.
    """
    complete = None
    for folder in sorted(out.iterdir()) if out.exists() else ():
        try:
            described = manifest.read(folder)
            is_whole = described.version == folder.name and described.created_at >= since.replace(microsecond=0)
        except BrokenModel:
            is_whole = False
        if is_whole:
            complete = folder
        else:
            shutil.rmtree(folder)
    return complete


def _write(
    aside: Path,
    out: Path,
    architecture: str,
    created_at: datetime,
    save: Save,
    describe: Describe,
    accompany: Sequence[Accompany],
) -> Path:
    """Fill the folder that will be renamed, and return the name that it will have."""
    save(aside / KERAS_FILE)
    files = _checksums(aside)
    target = out / f"{architecture}-{created_at:%Y%m%d}-{files[KERAS_FILE][:8]}"
    if target.exists():
        raise WorkFailed(f"{target} exists already: a published version is never written again")
    for step in accompany:
        step(aside, describe(target.name, _checksums(aside)))
    checksum = manifest.write(aside, describe(target.name, _checksums(aside)))
    for path in (*aside.iterdir(), aside):
        sync(path)
    manifest.read(aside, checksum)
    return target


def _checksums(folder: Path) -> dict[str, str]:
    return {path.name: manifest.sha256(path.read_bytes()) for path in sorted(folder.iterdir())}
