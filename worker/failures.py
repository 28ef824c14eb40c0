"""Classifies failures: a bad file is final; an environment failure is retried with exponential back-off."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby

from shared.base.lanes import Lane
from shared.ledger.work import MAX_ATTEMPTS, Claimed, Outcome, PutOff, Quarantined

RUN_LENGTH = 10
"""This many files in a row that are damaged alike are an environment failure, such as a share that returns zeros."""


@dataclass(frozen=True)
class Damaged(Quarantined):
    """Quarantined for its bytes alone, which may differ from those that were dropped."""


def put_off(claimed: Claimed, problem: str) -> PutOff:
    """Back off: 2 s after the first attempt, then twice as long each time, up to 4 minutes."""
    return PutOff(claimed, problem, datetime.now(UTC) + timedelta(seconds=2 ** min(claimed.attempts, 8)))


def put_off_alone(claimed: Claimed, error: Exception) -> Outcome:
    """After an error of unknown origin: retried alone in a message; quarantined if that fails each time."""
    reason = f"screening failed: {type(error).__name__}"
    if claimed.lane == Lane.SUSPECT and claimed.attempts >= MAX_ATTEMPTS:
        return Quarantined(claimed, reason)
    return replace(put_off(claimed, reason), alone=True)


def judge_damaged(outcomes: Sequence[Outcome | None]) -> list[Outcome]:
    """Decides on the damaged files of a message, given its outcomes in the order of its jobs.

    Many in a row that are damaged alike are put off; the others are quarantined.
    """
    judged: list[Outcome] = []
    for kind, run in groupby(outcomes, key=_kind):
        alike = [outcome for outcome in run if isinstance(outcome, Damaged)]
        for damaged in alike:
            if kind and len(alike) >= RUN_LENGTH and damaged.claimed.attempts < MAX_ATTEMPTS:
                judged.append(put_off(damaged.claimed, f"{len(alike)} files in a row fail alike: {damaged.reason}"))
            else:
                judged.append(Quarantined(damaged.claimed, damaged.reason, damaged.sha256, damaged.identifiers))
    return judged


def _kind(outcome: Outcome | None) -> tuple[str, str] | None:
    """Source and reason, the latter without its numbers; None for an outcome that is no damage."""
    if not isinstance(outcome, Damaged):
        return None
    return outcome.claimed.source, re.sub(r"\d[\d,]*", "", outcome.reason)
