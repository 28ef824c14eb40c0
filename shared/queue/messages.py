"""The message that a producer sends and a worker receives: ids of jobs, nothing else."""

from dataclasses import dataclass
from typing import Any, Self

from shared.base.errors import MalformedMessage, NewerMessage
from shared.base.settings import MAX_JOBS

SCHEMA = 1
TASK = "pneumoscreen.screen"


@dataclass(frozen=True)
class Message:
    attempt: int
    jobs: tuple[int, ...]

    def encode(self) -> dict[str, Any]:
        return {"schema": SCHEMA, "delivery": self.attempt, "jobs": list(self.jobs)}

    @classmethod
    def decode(cls, body: Any) -> Self:
        """Raises MalformedMessage, or NewerMessage if the producer that sent it is newer than this code."""
        if not isinstance(body, dict) or not _is_whole(body.get("schema")):
            raise MalformedMessage("the message is not an object with a schema number")
        if body["schema"] > SCHEMA:
            reason = f"the message has schema {body['schema']}, this worker knows {SCHEMA}: upgrade the worker"
            raise NewerMessage(reason, body)
        attempt: Any
        attempt, jobs = body.get("delivery"), body.get("jobs")
        if not _is_whole(attempt) or not isinstance(jobs, list) or not 0 < len(jobs) <= MAX_JOBS:
            raise MalformedMessage("the message has no attempt number or no list of jobs of a reasonable length")
        if not all(_is_whole(job) for job in jobs):
            raise MalformedMessage("the message names a job that is no positive whole number")
        return cls(attempt, tuple(jobs))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63
