"""The words in which reports, captures and messages state a result: the same in all of them, in ASCII."""

from shared import __version__
from shared.ledger.result_facts import ResultFacts

MANUFACTURER = "Pneumoscreen"
AID = "Screening aid, not a diagnosis. Preliminary."
SERIES = {"report": "Pneumoscreen report", "capture": "Pneumoscreen capture"}
SERIES_NUMBERS = {"report": 9751, "capture": 9752}
"""Beyond what modalities count up to; a number need not be unique in a study."""


def finding(label: str) -> str:
    return "Pneumonia suspected" if label == "PNEUMONIA" else "Pneumonia not suspected"


def operating_point(facts: ResultFacts) -> str:
    """How far the threshold was fitted to the site."""
    if facts.operating_point is None:
        return "No operating point of this source: the threshold of the model version"
    if facts.is_provisional:
        return "Provisional operating point: its recall is not proved yet"
    return "Operating point fitted to this source"


def reader(facts: ResultFacts) -> str:
    if facts.word is None:
        return "Not read yet"
    return f"Reader: {finding(facts.word).lower()}"


def caption(facts: ResultFacts) -> list[str]:
    lines = [
        f"{finding(facts.label)}: probability {facts.probability:.3f}, threshold {facts.threshold:.3f}",
        reader(facts) + (" (differs from the model)" if facts.disagrees else ""),
        operating_point(facts),
    ]
    if facts.unfamiliar:
        lines.append("Unlike the images that the model knows: read with care")
    if facts.outside_population:
        lines.append("The patient's age is outside of what the model was made for")
    return [*lines, f"{MANUFACTURER} {__version__}, model {facts.model_version}", AID]
