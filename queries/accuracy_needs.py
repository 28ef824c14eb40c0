"""What the audit samples say that needs a person: sentences for `status`."""

from collections.abc import Iterable

from queries.accuracy import Accuracy


def of_accuracy(parts: Iterable[Accuracy]) -> tuple[list[str], list[str]]:
    """Needs: recall is below what was promised. Hints: it is not proved yet, or images wait too long for a reader."""
    needs: list[str] = []
    hints: list[str] = []
    for part in parts:
        recall, promised = part.recall, part.promised_recall
        figures = (
            f"{recall.value or 0:.3f} (at least {recall.low:.3f}; {part.missed} of {part.found + part.missed} missed)"
        )
        if part.is_below_promise:
            needs.append(
                f"the source {part.source}: the recall of {part.model_version} is {figures} by its audit samples, "
                f"below the {promised:g} that was promised: `pneumoscreen accuracy --source {part.source}`; "
                "`pneumoscreen calibrate` fits another threshold"
            )
        elif recall.value is not None and recall.low < promised:
            hints.append(
                f"the source {part.source}: a recall of {promised:g} is not proved yet; it is {figures} by its audit "
                f"samples, and {part.positives_needed} positives without a miss would prove it"
            )
        if part.reading.overdue:
            were = "1 audit sample has" if part.reading.overdue == 1 else f"{part.reading.overdue:,} audit samples have"
            hints.append(
                f"the source {part.source}: {were} been waiting for a reader for more than `audit_days`: "
                "`pneumoscreen results --to-review`"
            )
    return needs, hints
