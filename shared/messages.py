"""The message that a producer sends and a worker receives: ids of jobs, nothing else."""

from dataclasses import dataclass
from typing import Any, Self

from shared.errors import MalformedMessage, NewerMessage

SCHEMA = 1
TASK = "pneumoscreen.screen"
MOST_JOBS = 1000
"""No producer may put more into a message (the setting `message_size`)."""


@dataclass(frozen=True)
class Message:
    delivery: int
    jobs: tuple[int, ...]

    def encode(self) -> dict[str, Any]:
        return {"schema": SCHEMA, "delivery": self.delivery, "jobs": list(self.jobs)}

    @classmethod
    def decode(cls, body: Any) -> Self:
        """Raises MalformedMessage, or NewerMessage if the producer that sent it is newer than this code."""
        if not isinstance(body, dict) or not _is_whole(body.get("schema")):
            raise MalformedMessage("the message is not an object with a schema number")
        if body["schema"] > SCHEMA:
            reason = f"the message has schema {body['schema']}, this worker knows {SCHEMA}: upgrade the worker"
            raise NewerMessage(reason, body)
        delivery: Any
        delivery, jobs = body.get("delivery"), body.get("jobs")
        if not _is_whole(delivery) or not isinstance(jobs, list) or not 0 < len(jobs) <= MOST_JOBS:
            raise MalformedMessage("the message has no delivery number or no list of jobs of a reasonable length")
        if not all(_is_whole(job) for job in jobs):
            raise MalformedMessage("the message names a job that is no positive whole number")
        return cls(delivery, tuple(jobs))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63
