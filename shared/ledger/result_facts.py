"""What a report or a message states of an image: frozen when its outbox row is made, and never read anew."""

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Self

POSITIVE = "PNEUMONIA"


@dataclass(frozen=True)
class ResultFacts:
    """A result on its day. No name of a file or a patient, and nothing that changes without a new result or word."""

    source: str
    lane: str | None
    study_uid: str | None
    sop_instance_uid: str | None
    accession_number: str | None
    model_version: str
    probability: float
    threshold: float
    label: str  # NORMAL or PNEUMONIA
    unfamiliar: bool | None
    outside_population: bool | None
    operating_point: int | None  # None: the version's own threshold, which was not fitted for the source
    is_provisional: bool | None
    screened_at: str  # ISO 8601, in UTC
    word: str | None = None  # the reader's that counts: NORMAL or PNEUMONIA

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(**json.loads(text))

    def dump(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def fingerprint(self) -> str:
        return sha256(self.dump().encode()).hexdigest()

    @property
    def is_positive(self) -> bool:
        """By the model or by a reader."""
        return POSITIVE in (self.label, self.word)

    @property
    def is_urgent(self) -> bool:
        return self.is_positive and self.lane == "stat"

    @property
    def disagrees(self) -> bool:
        return self.word is not None and self.word != self.label
