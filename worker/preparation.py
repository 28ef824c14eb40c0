"""Prepares one image, in a thread: reads, hashes and decodes it. Whatever is wrong with it becomes its outcome."""

import hashlib
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import Changed, OutOfReach, Removed, Unfinished, Unreadable, Unsuitable
from shared.base.found import Found
from shared.imaging import Limits, is_dicom, prepare
from shared.imaging.identifiers import read_identifiers
from shared.imaging.notes import Notes
from shared.ledger.work import MAX_ATTEMPTS, Checked, Claimed, Identifiers, Outcome, PutOff, Quarantined, Superseded
from shared.models.registry import Loaded
from shared.sources import Source
from worker.failures import Damaged, describe_transient, is_last_attempt, put_off, put_off_against
from worker.process import WorkerProcess

log = logging.getLogger(__name__)
GRACE_PERIOD = timedelta(minutes=1)
"""A file that ends too early and is younger than this may still be being written."""


@dataclass(frozen=True)
class Prepared:
    claimed: Claimed
    sha256: str
    pixels: NDArray[np.uint8]
    decoded_with: str | None
    identifiers: Identifiers | None
    age_years: float | None


@dataclass
class _Content:
    """What is known of an image's bytes so far."""

    sha256: str | None = None
    identifiers: Identifiers | None = None


def prepare_image(process: WorkerProcess, loaded: Loaded, claimed: Claimed) -> Prepared | Outcome:
    """The image as the network takes it, or what becomes of it instead."""
    source, content = process.sources.get(claimed.source), _Content()
    if source is None:
        return put_off(claimed, f"no source named {claimed.source!r} is configured on this host")
    if claimed.is_check:
        return _check(process, claimed, source)
    try:
        return _prepare(process, loaded, claimed, source, content)
    except Changed as error:
        settled = datetime.now(UTC) + timedelta(seconds=process.settings.settle)
        return Superseded(claimed, Found(claimed.path, error.revision, error.size, error.hint), settled)
    except Removed as error:
        return Quarantined(claimed, str(error))
    except Unfinished as error:
        if is_young(source, claimed, datetime.now(UTC)):
            return PutOff(claimed, str(error), datetime.now(UTC) + GRACE_PERIOD / 6)
        return Damaged(claimed, str(error), content.sha256, content.identifiers)
    except Unsuitable as error:
        return Quarantined(claimed, str(error), content.sha256, content.identifiers, is_refused=True)
    except Unreadable as error:
        return Damaged(claimed, str(error), content.sha256, content.identifiers, is_refused=True)
    except OutOfReach as error:
        return put_off(claimed, str(error))
    except MemoryError:
        reason = "there is not enough memory to decode the image"
        if is_last_attempt(claimed):
            return Quarantined(claimed, reason, content.sha256)
        return put_off_against(claimed, reason)
    except Exception as error:
        if problem := describe_transient(error):
            return put_off(claimed, problem)
        log.error("the decoder failed in an unknown way (job %d)", claimed.job)  # noqa: TRY400
        log.debug("its message, which may repeat the file's header", exc_info=True)
        return Damaged(claimed, f"the decoder failed: {type(error).__name__}", content.sha256, content.identifiers)


def _check(process: WorkerProcess, claimed: Claimed, source: Source) -> Outcome:
    """Reads and hashes, no more: most checks find what is known. What has become of the file else, a sweep sees."""
    try:
        data = source.read(claimed.path, claimed.revision, Limits.of(process.settings))
    except (OutOfReach, MemoryError) as error:
        is_last = claimed.tries >= MAX_ATTEMPTS
        return Checked(claimed, None) if is_last else put_off(claimed, str(error) or "there is not enough memory")
    except (Changed, Unreadable):
        return Checked(claimed, None)
    return Checked(claimed, hashlib.sha256(data).hexdigest())


def _prepare(process: WorkerProcess, loaded: Loaded, claimed: Claimed, source: Source, content: _Content) -> Prepared:
    settings, age = process.settings, None
    limits = Limits.of(settings)
    began = time.monotonic()
    data = source.read(claimed.path, claimed.revision, limits)
    content.sha256 = digest = hashlib.sha256(data).hexdigest()
    with _decoding(process) as decoding:
        process.metrics.read.observe(decoding - began)
        if is_dicom(data):
            content.identifiers, age = read_identifiers(data, settings.patient_secret)
        notes = Notes()
        pixels = prepare(data, loaded.manifest.preprocessing, limits, notes)
        process.metrics.decode.observe(time.monotonic() - decoding)
    return Prepared(claimed, digest, pixels, notes.text, content.identifiers, age)


@contextmanager
def _decoding(process: WorkerProcess) -> Iterator[float]:
    """Since when this thread decodes: the heartbeat ends the process if that is too long ago."""
    thread = threading.get_ident()
    process.decoding[thread] = began = time.monotonic()
    try:
        yield began
    finally:
        process.decoding.pop(thread, None)


def is_young(source: Source, claimed: Claimed, now: datetime) -> bool:
    """Whether the image was written just now; by our own clock if that of its writer runs ahead."""
    written = source.written_at(claimed.revision)
    return now - (written if written <= now else claimed.seen_at) < GRACE_PERIOD
