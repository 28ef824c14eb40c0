"""Classifies failures: a bad file is final; an environment failure is retried with exponential back-off.

    raised by                                                   kind        what becomes of the image
    Unsuitable, Unreadable, Unfinished (of a file not young)    permanent   quarantined; put off while many are alike
    OutOfReach: its share, its folder, its permission           transient   put off, as long as it lasts
    a database's refusal (`shared.database.refusals`)           transient   put off, or its transaction tried again
    the host: libraries, threads, disks (`shared.base.host_failures`)   transient   put off, as long as it lasts
    a model version that does not load or run                   transient   put off, as long as it lasts
    too little memory to decode this image                      unknown     quarantined after MAX_ATTEMPTS of it
    anything else                                               unknown     tried alone; after MAX_ATTEMPTS quarantined

Only an attempt that speaks against the image itself is counted against it (`Claimed.strikes`), whatever else made it
wait before.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby

from shared.base.errors import BrokenModel
from shared.base.host_failures import describe_host_failure
from shared.base.lanes import Lane
from shared.database import refusals
from shared.ledger.work import MAX_ATTEMPTS, Claimed, Outcome, PutOff, Quarantined

RUN_LENGTH = 10
"""This many files in a row that are damaged alike are an environment failure, such as a share that returns zeros."""


@dataclass(frozen=True)
class Damaged(Quarantined):
    """Quarantined for its bytes alone, which may differ from those that were dropped."""


def put_off(claimed: Claimed, problem: str) -> PutOff:
    """Back off: 2 s after the first attempt, then twice as long each time, up to 4 minutes."""
    return PutOff(claimed, problem, datetime.now(UTC) + timedelta(seconds=2 ** min(claimed.tries, 8)))


def put_off_against(claimed: Claimed, problem: str) -> PutOff:
    """The same; the attempt counts against the image."""
    return replace(put_off(claimed, problem), is_strike=True)


def is_last_attempt(claimed: Claimed) -> bool:
    """Whether one more attempt against the image makes its failure a permanent one."""
    return claimed.strikes + 1 >= MAX_ATTEMPTS


def describe_transient(error: BaseException) -> str | None:
    """Why an attempt failed, if no image is to blame; else None."""
    if refusal := refusals.find(error):
        return refusal.sentence
    if isinstance(error, MemoryError):
        return "there is not enough memory on this host"
    return str(error) if isinstance(error, BrokenModel) else describe_host_failure(error)


def put_off_all(claimed: Sequence[Claimed], error: Exception) -> list[Outcome]:
    """After an error that ended a message: put off where it is transient, else retried one by one."""
    problem = describe_transient(error)
    return [put_off(claim, problem) if problem else put_off_alone(claim, error) for claim in claimed]


def put_off_alone(claimed: Claimed, error: Exception) -> Outcome:
    """After an error of unknown origin: retried alone in a message; quarantined if that fails each time."""
    reason = f"screening failed: {type(error).__name__}"
    is_alone = claimed.lane == Lane.SUSPECT
    if is_alone and is_last_attempt(claimed):
        return Quarantined(claimed, reason)
    return replace(put_off(claimed, reason), alone=True, is_strike=is_alone)


def judge_damaged(outcomes: Sequence[Outcome | None]) -> list[Outcome]:
    """Decides on the damaged files of a message, given its outcomes in the order of its jobs.

    Many in a row that are damaged alike are put off; the others are quarantined.
    """
    judged: list[Outcome] = []
    for kind, run in groupby(outcomes, key=_kind):
        alike = [outcome for outcome in run if isinstance(outcome, Damaged)]
        for damaged in alike:
            if kind and len(alike) >= RUN_LENGTH and not is_last_attempt(damaged.claimed):
                problem = f"{len(alike)} files in a row fail alike: {damaged.reason}"
                judged.append(put_off_against(damaged.claimed, problem))
            else:
                judged.append(Quarantined(damaged.claimed, damaged.reason, damaged.sha256, damaged.identifiers))
    return judged


def _kind(outcome: Outcome | None) -> tuple[str, str] | None:
    """Source and reason, the latter without its numbers; None for an outcome that is no damage."""
    if not isinstance(outcome, Damaged):
        return None
    return outcome.claimed.source, re.sub(r"\d[\d,]*", "", outcome.reason)
