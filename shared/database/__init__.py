"""The SQL database: the truth about every image. SQLite and PostgreSQL run the same statements."""

from shared.database.connection import Database, connect
from shared.database.tables import (
    OPEN_JOB,
    WORKER_ALIVE,
    AuditEntry,
    BrokerEpoch,
    DeadLetter,
    DicomHeader,
    Job,
    JobState,
    Lane,
    ModelVersion,
    Prediction,
    Promotion,
    Review,
    Sighting,
    SightingState,
    Worker,
)

__all__ = [
    "OPEN_JOB",
    "WORKER_ALIVE",
    "AuditEntry",
    "BrokerEpoch",
    "Database",
    "DeadLetter",
    "DicomHeader",
    "Job",
    "JobState",
    "Lane",
    "ModelVersion",
    "Prediction",
    "Promotion",
    "Review",
    "Sighting",
    "SightingState",
    "Worker",
    "connect",
]
