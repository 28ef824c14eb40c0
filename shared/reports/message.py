"""Messages of events: what webhooks and mails say. Row numbers and UIDs alone, unless details are asked for."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

from shared.base.destination_settings import Event

DETAILS = (
    *("source", "label", "probability", "threshold", "operating_point", "is_provisional"),
    *("word", "accession_number", "model_version"),
)
"""Of a result, what is told only where the setting `details` is on."""
TITLES = {
    Event.URGENT_POSITIVE: "urgent image with suspected pneumonia",
    Event.DISAGREEMENT: "a reader's word differs from the model's",
    Event.SOURCE_SILENT: "a source is silent",
    Event.VERSION_SWAPPED: "another model version is live",
    Event.ACCURACY_BROKEN: "the recall is below what was promised",
}
SCHEMA = 1


@dataclass(frozen=True)
class Happening:
    """An event that is told: `facts` as the outbox row holds them."""

    id: str  # the row's UID: the same if it is told twice
    event: Event
    at: datetime
    sighting: int | None
    facts: Mapping[str, Any]


def describe(happening: Happening, *, details: bool) -> dict[str, Any]:
    """What may be told of it. Of an image without details: numbers of rows and UIDs, no score and no source."""
    facts = happening.facts
    told: dict[str, Any] = {
        "schema": SCHEMA,
        "id": happening.id,
        "event": happening.event.value,
        "at": happening.at.astimezone(UTC).isoformat(timespec="seconds"),
    }
    if happening.sighting is None:  # about the system, and nobody's image
        return {**told, **facts}
    told |= {"sighting_id": happening.sighting}
    told |= {name: facts.get(name) for name in ("study_uid", "sop_instance_uid")}
    return {**told, **{name: facts.get(name) for name in DETAILS}} if details else told


def build_body(happening: Happening, *, details: bool) -> bytes:
    return json.dumps(describe(happening, details=details), sort_keys=True).encode()


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """HMAC-SHA-256 of "TIMESTAMP.BODY": whoever checks it with the time, too, cannot be sent an old message again."""
    return "v1=" + hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


def build_mail(happening: Happening, sender: str, recipients: tuple[str, ...], *, details: bool) -> EmailMessage:
    told = describe(happening, details=details)
    mail = EmailMessage()
    mail["Subject"] = f"Pneumoscreen: {TITLES[happening.event]}"
    mail["From"], mail["To"] = sender, ", ".join(recipients)
    mail["Date"] = format_datetime(happening.at)
    mail["Message-ID"] = f"<{happening.id}@pneumoscreen.invalid>"  # the same if it is sent twice
    mail["Auto-Submitted"] = "auto-generated"
    lines = [
        f"{name}: {value}" for name, value in told.items() if name not in ("schema", "event") and value is not None
    ]
    mail.set_content(
        "\n".join([f"{TITLES[happening.event].capitalize()}.", "", *lines, "", "A screening aid, not a diagnosis."])
    )
    return mail
