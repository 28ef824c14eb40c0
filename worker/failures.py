"""The file's fault, or the world's? What is the file's is final; what is the world's is tried again, ever later."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby

from shared.base.lanes import Lane
from shared.ledger.work import MAX_ATTEMPTS, Claimed, Outcome, PutOff, Quarantined

RUN_LENGTH = 10
"""So many files in a row that are damaged alike are the world's fault: a share that hands out zeros, say."""


@dataclass(frozen=True)
class Damaged(Quarantined):
    """Quarantined for its bytes alone, which may not be what was dropped."""


def put_off(claimed: Claimed, problem: str) -> PutOff:
    """Back off: 2 s after the first attempt, then twice as long each time, up to 4 minutes."""
    return PutOff(claimed, problem, datetime.now(UTC) + timedelta(seconds=2 ** min(claimed.attempts, 8)))


def retreat(claimed: Claimed, error: Exception) -> Outcome:
    """Nobody knows whose fault this error was: the image is tried alone, and is quarantined if that never goes well."""
    reason = f"screening failed: {type(error).__name__}"
    if claimed.lane == Lane.SUSPECT and claimed.attempts >= MAX_ATTEMPTS:
        return Quarantined(claimed, reason)
    return replace(put_off(claimed, reason), alone=True)


def judge(outcomes: Sequence[Outcome | None]) -> list[Outcome]:
    """What becomes of the damaged files among a message's outcomes, which come in the order of its jobs.

    Where many in a row are damaged alike, they are put off; the others are quarantined.
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
    """Root and reason less its numbers; None for what is no damage."""
    if not isinstance(outcome, Damaged):
        return None
    return outcome.claimed.source, re.sub(r"\d[\d,]*", "", outcome.reason)
