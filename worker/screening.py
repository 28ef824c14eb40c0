"""Screens a message: claims its jobs, prepares images in threads ahead of the network, classifies, writes the rows."""

import json
import logging
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count, groupby
from typing import Any, TypeVar

import numpy as np
from sqlalchemy.orm import Session

from shared.base.errors import BrokenModel, MalformedMessage, NewerMessage
from shared.database import OUT_OF_REACH, DeadLetter, refusals
from shared.ledger import operating_points, work
from shared.ledger.operating_points import Applied
from shared.ledger.work import Checked, Claimed, Outcome, PutOff, Quarantined, Refused, Screened, Superseded
from shared.models import evidence, reading, registry
from shared.models.registry import Loaded, Published
from shared.queue.messages import SCHEMA, Message
from worker.failures import Damaged, describe_transient, judge_damaged, put_off, put_off_all
from worker.preparation import Prepared, prepare_image
from worker.process import WorkerProcess

log = logging.getLogger(__name__)
OUTDATED = timedelta(seconds=10)
"""About how long a worker that is too old leaves the jobs of a newer producer to other workers."""
NAMES = {
    Screened: "done",
    Quarantined: "quarantined",
    Superseded: "changed meanwhile",
    PutOff: "put off",
    Checked: "checked",
    Refused: "left as they were",
}
T = TypeVar("T")


def screen_message(process: WorkerProcess, body: Any) -> str:
    """Screen the images of a message; returns a line of counts."""
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
    """Leave the jobs of a newer producer to a newer worker, if the message names them in a way that is still known."""
    try:
        message = Message.decode({**error.body, "schema": SCHEMA})
    except MalformedMessage:
        return str(error)  # they are sent again after `resend_after`
    now = datetime.now(UTC)
    # Not at even intervals: of two idle workers the broker serves the one that asked first, for ever this one perhaps.
    due = now + OUTDATED * random.uniform(0.5, 1.5)  # noqa: S311 - no secret

    def statements(session: Session) -> list[Outcome]:
        claimed = work.claim(session, message, now, process.settings.lease)
        return work.finish(session, [PutOff(claim, str(error), due) for claim in claimed], now)

    process.metrics.count(_write(process, statements))
    time.sleep(OUTDATED.total_seconds() / 6)  # else this worker, which does nothing, takes most of the messages
    return str(error)


def _screen(process: WorkerProcess, message: Message) -> str:
    now, began, metrics = datetime.now(UTC), time.monotonic(), process.metrics

    def statements(session: Session) -> tuple[list[Claimed], list[Published], Applied]:
        claimed = work.claim(session, message, now, process.settings.lease)
        return claimed, registry.live(session), operating_points.applied(session)

    claimed, candidates, points = _write(process, statements)
    metrics.claim.observe(time.monotonic() - began)
    metrics.in_hand.set(len(claimed))
    counts: Counter[str] = Counter()

    admitted, refused = _admit(claimed, candidates)
    try:
        if refused:
            counts.update(map(_name, _finish(process, refused)))
        for version, jobs in groupby(sorted(admitted, key=_version), key=_version):
            for outcomes in _parts(process, candidates, points, version, list(jobs)):
                counts.update(map(_name, _finish(process, outcomes)))
    except Exception as error:
        if problem := describe_transient(error):
            log.error("the images of a message are put off: %s", problem)  # noqa: TRY400
        else:
            log.exception("a message could not be screened: its images are tried one by one")
        outcomes = put_off_all(claimed, error)
        counts.update(map(_name, _finish(process, outcomes, is_last=True)))
    text = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    return f"{len(claimed)} images: {text}" if claimed else "0 images: an old attempt, dropped"


def _admit(claimed: Sequence[Claimed], candidates: Sequence[Published]) -> tuple[list[Claimed], list[Outcome]]:
    """What may be screened by the version that its job names, and what becomes of the rest.

    Only versions that are or were live, and were not rolled back, write results, unless the owner of the tables
    overrode that. Where one is not in service any more, a result stays, and an image without one gets the live
    version's.
    """
    in_service = {version.version for version in candidates}
    admitted: list[Claimed] = []
    refused: list[Outcome] = []
    for claim in claimed:
        if claim.model_version is None or claim.override is not None or claim.model_version in in_service:
            admitted.append(claim)
        elif claim.sha256 is None:
            admitted.append(replace(claim, model_version=None))
        else:
            refused.append(Refused(claim, f"{claim.model_version} is not in service: the result stays"))
    return admitted, refused


def _name(outcome: Outcome) -> str:
    if isinstance(outcome, Screened) and outcome.is_kept:
        return "kept as read on their day"
    is_removed = isinstance(outcome, Quarantined) and outcome.is_removed
    return "removed" if is_removed else NAMES[type(outcome)]


def _version(claimed: Claimed) -> str:
    return claimed.model_version or ""


def _named(process: WorkerProcess, version: str) -> Loaded:
    with process.database.read() as session:
        return process.models.named(registry.published(session, version))


def _parts(
    process: WorkerProcess, candidates: Sequence[Published], points: Applied, version: str, claimed: Sequence[Claimed]
) -> Iterator[list[Outcome]]:
    """Outcomes batch by batch, by a named version or by the live one."""
    try:
        loaded = process.models.live(candidates) if not version else _named(process, version)
    except BrokenModel as error:
        yield [put_off(claim, str(error)) for claim in claimed]
    else:
        yield from _screened(process, loaded, points, claimed)


def _screened(
    process: WorkerProcess, loaded: Loaded, points: Applied, claimed: Sequence[Claimed]
) -> Iterator[list[Outcome]]:
    """Outcomes batch by batch; threads prepare the next batches while the network runs and rows are written.

    Damaged files come last, when it is known how many are damaged alike.
    """
    size = process.settings.batch_size
    images = deque(process.threads.submit(prepare_image, process, loaded, claim) for claim in claimed)
    seen: list[Outcome | None] = []
    while images:
        results = [images.popleft().result() for _ in range(min(size, len(images)))]
        outcomes = [result if isinstance(result, Outcome) else None for result in results]
        prepared = [result for result in results if isinstance(result, Prepared)]
        ready = [outcome for outcome in outcomes if outcome and not isinstance(outcome, Damaged)]
        ready += _classify(process, loaded, points, prepared)
        if ready:
            yield ready
        seen += outcomes
    if damaged := judge_damaged(seen):
        yield damaged


def _classify(process: WorkerProcess, loaded: Loaded, points: Applied, prepared: Sequence[Prepared]) -> list[Outcome]:
    if not prepared:
        return []
    manifest, began = loaded.manifest, time.monotonic()
    try:
        batch = np.stack([image.pixels for image in prepared])
        logits, maps = loaded.network.answers(batch)
        check = loaded.network.novelty
        scores: list[float | None] = [None] * len(batch) if check is None else check.scores(batch).tolist()
    except Exception as error:
        log.exception("the network failed on a batch of %d images", len(prepared))
        reason = f"the network failed: {type(error).__name__}"
        return [put_off(image.claimed, reason) for image in prepared]
    process.metrics.infer.observe(time.monotonic() - began)
    process.metrics.batch.observe(len(prepared))
    outcomes: list[Outcome] = []
    kept_maps = maps if process.settings.keeps_evidence and maps is not None else [None] * len(batch)
    for image, logit, score, kept in zip(prepared, logits, scores, kept_maps, strict=True):
        if not np.isfinite(logit):
            outcomes.append(put_off(image.claimed, "the network's answer is not a number"))
            continue
        source = reading.of_source(manifest, points, image.claimed.source)
        probability, label = source.read(float(logit))
        outcomes.append(
            Screened(
                image.claimed,
                image.sha256,
                manifest.version,
                probability,
                source.threshold,
                label,
                manifest.is_outside_population(image.age_years),
                image.identifiers,
                unfamiliar=source.is_unfamiliar(score),
                unfamiliar_score=score,
                logit=float(logit),
                evidence=None if kept is None else evidence.pack(kept),
                decoded_with=image.decoded_with,
                operating_point_id=source.point,
                read=source.read,
            )
        )
    return outcomes


def _finish(process: WorkerProcess, outcomes: Sequence[Outcome], *, is_last: bool = False) -> list[Outcome]:
    began = time.monotonic()
    share_of, rule_of = process.settings.audit_share_of, process.settings.reading_rule_of
    counted = _write(
        process, lambda session: work.finish(session, outcomes, datetime.now(UTC), share_of, rule_of), is_last=is_last
    )
    process.metrics.commit.observe(time.monotonic() - began)
    process.metrics.count(counted)
    process.metrics.in_hand.dec(len(outcomes))
    process.shadow.offer(counted)
    return counted


def _write(process: WorkerProcess, statements: Callable[[Session], T], *, is_last: bool = False) -> T:
    """Run a transaction; retried where that may help, so that the work in hand is not thrown away.

    Raises what the database refuses for longer, or for good; but not if the transaction `is_last`: what is in hand
    could not even be put off.
    """
    for tries in count():
        try:
            with process.database.write() as session:
                result = statements(session)
        except OUT_OF_REACH as error:
            refusal = refusals.find(error)
            if refusal is None:
                raise
            process.refusal = refusal.sentence
            if not is_last and refusal.tries is not None and tries >= refusal.tries:
                raise
            pause = min(2.0**tries, 30.0)
            process.metrics.database_retries.inc()
            log.warning("trying again in %.0f s: %s", pause, refusal.sentence)
            time.sleep(pause)
        else:
            process.refusal = None
            return result
    raise AssertionError("there is always another number")
