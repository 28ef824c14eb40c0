"""From a message to rows: claim, read and decode in threads ahead of the network, classify in batches, finish."""

import hashlib
import json
import logging
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from shared.base.errors import (
    BrokenModel,
    Changed,
    MalformedMessage,
    NewerMessage,
    OutOfReach,
    Unfinished,
    Unreadable,
    Unsuitable,
)
from shared.database import OUT_OF_REACH, DeadLetter
from shared.imaging import Limits, is_dicom, prepare
from shared.imaging.identifiers import read_identifiers
from shared.ledger import work
from shared.ledger.register import Found
from shared.ledger.work import MAX_ATTEMPTS, Claimed, Identifiers, Outcome, PutOff, Quarantined, Screened, Superseded
from shared.models import registry
from shared.models.registry import Loaded, Published
from shared.queue.messages import SCHEMA, Message
from shared.sources import Source
from worker.failures import Damaged, judge, put_off, retreat
from worker.process import WorkerProcess

log = logging.getLogger(__name__)
GRACE_PERIOD = timedelta(minutes=1)
"""A file that ends too early and is younger than this may be still under way."""
OUTDATED = timedelta(seconds=10)
"""For about so long a worker that is too old leaves a newer producer's jobs to others."""
NAMES = {Screened: "done", Quarantined: "quarantined", Superseded: "changed meanwhile", PutOff: "put off"}
T = TypeVar("T")


@dataclass(frozen=True)
class Prepared:
    claimed: Claimed
    sha256: str
    pixels: NDArray[np.uint8]
    identifiers: Identifiers | None
    age_years: float | None


def screen_message(process: WorkerProcess, body: Any) -> str:
    """Screen what a message asks for; returns one line of counts."""
    try:
        message = Message.decode(body)
    except NewerMessage as error:
        process.outdated = str(error)
        return _give_back(process, error)
    except MalformedMessage as error:
        letter = DeadLetter(
            body=json.dumps(body, default=str)[:10_000], reason=str(error), received_at=datetime.now(UTC)
        )
        _write(process, lambda session: session.add(letter))
        return f"dead letter: {error}"
    process.message, process.outdated = message, None
    try:
        with process.network_lock:
            return _screen(process, message)
    finally:
        process.message = None
        process.metrics.in_hand.set(0)


def _give_back(process: WorkerProcess, error: NewerMessage) -> str:
    """A newer producer's jobs wait for a newer worker, if they can be told from its message at all."""
    try:
        message = Message.decode({**error.body, "schema": SCHEMA})
    except MalformedMessage:
        return str(error)  # they are sent again after `resend_after`
    now = datetime.now(UTC)
    # Of two idle workers the one that asked first gets what comes: at even intervals that could be this one for ever.
    due = now + OUTDATED * random.uniform(0.5, 1.5)  # noqa: S311 - no secret

    def statements(session: Session) -> list[Outcome]:
        claimed = work.claim(session, message, now, process.settings.lease)
        return work.finish(session, [PutOff(claim, str(error), due) for claim in claimed], now)

    process.metrics.count(_write(process, statements))
    time.sleep(OUTDATED.total_seconds() / 6)  # else it would be quicker than the newer worker, and take all it could do
    return str(error)


def _screen(process: WorkerProcess, message: Message) -> str:
    now, began, metrics = datetime.now(UTC), time.monotonic(), process.metrics
    claimed, candidates = _write(
        process, lambda session: (work.claim(session, message, now, process.settings.lease), registry.live(session))
    )
    metrics.claim.observe(time.monotonic() - began)
    metrics.in_hand.set(len(claimed))
    counts: Counter[str] = Counter()

    try:
        for version, jobs in groupby(sorted(claimed, key=_version), key=_version):
            for outcomes in _parts(process, candidates, version, list(jobs)):
                counts.update(NAMES[type(outcome)] for outcome in _finish(process, outcomes))
    except Exception as error:
        log.exception("a message could not be screened: its images are tried one by one")
        retreated = [retreat(claim, error) for claim in claimed]
        counts.update(NAMES[type(outcome)] for outcome in _finish(process, retreated))
    text = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    return f"{len(claimed)} images: {text}" if claimed else "0 images: an old attempt, dropped"


def _version(claimed: Claimed) -> str:
    return claimed.model_version or ""


def _named(process: WorkerProcess, version: str) -> Loaded:
    with process.database.read() as session:
        return process.models.named(registry.published(session, version))


def _parts(
    process: WorkerProcess, candidates: Sequence[Published], version: str, claimed: Sequence[Claimed]
) -> Iterator[list[Outcome]]:
    """Outcomes batch by batch, by a named version or by the live one."""
    try:
        loaded = process.models.live(candidates) if not version else _named(process, version)
    except BrokenModel as error:
        yield [put_off(claim, str(error)) for claim in claimed]
    else:
        yield from _screened(process, loaded, claimed)


def _screened(process: WorkerProcess, loaded: Loaded, claimed: Sequence[Claimed]) -> Iterator[list[Outcome]]:
    """Outcomes batch by batch; the threads go on with the next batches while the network runs and rows are written.

    Damaged files come last, once it is known how many are alike.
    """
    size = process.settings.batch_size
    looks = deque(process.threads.submit(_look, process, loaded, claim) for claim in claimed)
    seen: list[Outcome | None] = []
    while looks:
        results = [looks.popleft().result() for _ in range(min(size, len(looks)))]
        outcomes = [result if isinstance(result, Outcome) else None for result in results]
        prepared = [result for result in results if isinstance(result, Prepared)]
        ready = [outcome for outcome in outcomes if outcome and not isinstance(outcome, Damaged)]
        ready += _classify(process, loaded, prepared)
        if ready:
            yield ready
        seen += outcomes
    if damaged := judge(seen):
        yield damaged


def _look(process: WorkerProcess, loaded: Loaded, claimed: Claimed) -> Prepared | Outcome:
    """Read, hash and decode one image, in a thread; whatever is wrong with it becomes its outcome."""
    settings = process.settings
    limits = Limits(settings.max_pixels, settings.max_bytes)
    source = process.sources.get(claimed.source)
    if source is None:
        return put_off(claimed, f"no source named {claimed.source!r} is configured on this host")
    digest: str | None = None
    identifiers, age = None, None
    try:
        began = time.monotonic()
        data = source.read(claimed.path, claimed.revision, limits)
        digest = hashlib.sha256(data).hexdigest()
        process.decoding[threading.get_ident()] = decoding = time.monotonic()
        process.metrics.read.observe(decoding - began)
        if is_dicom(data):
            identifiers, age = read_identifiers(data, settings.patient_secret)
        pixels = prepare(data, loaded.manifest.preprocessing, limits)
        process.metrics.decode.observe(time.monotonic() - decoding)
    except Changed as error:
        settled = datetime.now(UTC) + timedelta(seconds=settings.settle)
        return Superseded(claimed, Found(claimed.path, error.revision, error.size), settled)
    except Unfinished as error:
        if _is_young(source, claimed, datetime.now(UTC)):
            return PutOff(claimed, str(error), datetime.now(UTC) + GRACE_PERIOD / 6)
        return Damaged(claimed, str(error), digest, identifiers)
    except Unsuitable as error:
        return Quarantined(claimed, str(error), digest, identifiers)
    except Unreadable as error:
        return Damaged(claimed, str(error), digest, identifiers)
    except OutOfReach as error:
        return put_off(claimed, str(error))
    except MemoryError:
        reason = "there is not enough memory to decode the image"
        return put_off(claimed, reason) if claimed.attempts < MAX_ATTEMPTS else Quarantined(claimed, reason, digest)
    except Exception as error:
        log.error("the decoder failed in a way that is not known (job %d)", claimed.job)  # noqa: TRY400
        log.debug("what it said, which may repeat the file's header", exc_info=True)
        return Damaged(claimed, f"the decoder failed: {type(error).__name__}", digest, identifiers)
    finally:
        process.decoding.pop(threading.get_ident(), None)
    return Prepared(claimed, digest, pixels, identifiers, age)


def _classify(process: WorkerProcess, loaded: Loaded, prepared: Sequence[Prepared]) -> list[Outcome]:
    if not prepared:
        return []
    manifest, began = loaded.manifest, time.monotonic()
    try:
        batch = np.stack([image.pixels for image in prepared])
        logits = loaded.network.logits(batch)
        check = loaded.network.novelty
        scores: list[float | None] = [None] * len(batch) if check is None else check.scores(batch).tolist()
    except Exception as error:
        log.exception("the network failed on a batch of %d images", len(prepared))
        reason = f"the network failed: {type(error).__name__}"
        return [put_off(image.claimed, reason) for image in prepared]
    process.metrics.infer.observe(time.monotonic() - began)
    process.metrics.batch.observe(len(prepared))
    outcomes: list[Outcome] = []
    for image, logit, score in zip(prepared, logits, scores, strict=True):
        if not np.isfinite(logit):
            outcomes.append(put_off(image.claimed, "the network's answer is not a number"))
            continue
        probability = manifest.calibration.probability(float(logit))
        label = manifest.label(probability)
        outcomes.append(
            Screened(
                image.claimed,
                image.sha256,
                manifest.version,
                probability,
                manifest.threshold,
                label,
                manifest.is_outside_population(image.age_years),
                image.identifiers,
                unfamiliar=None if check is None or score is None else check.is_unfamiliar(score),
                unfamiliar_score=score,
            )
        )
    return outcomes


def _is_young(source: Source, claimed: Claimed, now: datetime) -> bool:
    written = source.written_at(claimed.revision)
    return now - (written if written <= now else claimed.seen_at) < GRACE_PERIOD


def _finish(process: WorkerProcess, outcomes: Sequence[Outcome]) -> list[Outcome]:
    began = time.monotonic()
    counted = _write(process, lambda session: work.finish(session, outcomes, datetime.now(UTC)))
    process.metrics.commit.observe(time.monotonic() - began)
    process.metrics.count(counted)
    process.metrics.in_hand.dec(len(outcomes))
    return counted


def _write(process: WorkerProcess, statements: Callable[[Session], T]) -> T:
    """Run a transaction, again and again while the database is out of reach: the work in hand is not thrown away."""
    pause = 1.0
    while True:
        try:
            with process.database.write() as session:
                return statements(session)
        except OUT_OF_REACH as error:
            if "no such" in str(error.orig):  # a table of another schema: waiting would not mend it
                raise
            process.metrics.database_retries.inc()
            log.warning("the database is out of reach, trying again in %.0f s: %s", pause, error)
            time.sleep(pause)
            pause = min(2 * pause, 30.0)
