"""The gate's rule: whether a challenger may replace the champion, on patients whom neither was fitted to.

The trainer measures (`trainer.gate`); this module decides.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from actions.comparison import (
    MIN_DIFFERENCE,
    MIN_SPECIFICITY_DIFFERENCE,
    Classes,
    Comparison,
    Figures,
    Ground,
    Side,
    compare,
    measure,
)
from shared.statistics.paired import Difference, patients_needed

MIN_RECALL = 0.97
MIN_SPECIFICITY = 0.5
"""Of a version that there is no champion to compare with."""
MIN_PATIENTS = 30
"""With fewer patients of a class nothing can be decided: two versions that agree on five patients prove nothing."""
SEED = 1


@dataclass(frozen=True)
class Verdict:
    """What was compared, and what decided."""

    passed: bool
    challenger: Figures
    comparisons: tuple[Comparison, ...]
    failed: tuple[str, ...]  # a sentence for each objection to the challenger
    images: int
    patients: int
    notes: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    def as_json(self) -> str:
        """What `model_versions.verdict` holds."""
        return json.dumps(asdict(self), allow_nan=False)


def judge(
    champion: Side | None,
    challenger: Side,
    ground: Ground,
    seed: int = SEED,
    *,
    earlier: Sequence[Side] = (),
    notes: Sequence[str] = (),
) -> Verdict:
    """Whether the challenger may replace the champion.

    Its recall must be at least MIN_RECALL at its threshold, and it must call somebody healthy. Beside the champion and
    every version that was live earlier, the lower bound of the paired difference in recall must be at least
    MIN_DIFFERENCE and its AUC no lower; beside the champion, that of the difference in specificity at least
    MIN_SPECIFICITY_DIFFERENCE. The bounds are one-sided, of 95 %: see `shared.statistics.paired`. The order of the
    images does not matter. Without a champion, its recall and MIN_SPECIFICITY decide.
    """
    weights = np.ones(len(ground.labels)) if ground.weights is None else ground.weights
    classes = Classes(ground.labels == 1, np.asarray(ground.patients, dtype=str), weights, seed)
    mine = measure(challenger, classes)
    failed = [*_few(classes), *_unfit(mine, has_champion=champion is not None)]
    comparisons = []
    for other, role in [*([(champion, "champion")] if champion else []), *((side, "earlier") for side in earlier)]:
        comparison = compare(mine, challenger, other, role, classes)
        comparisons.append(comparison)
        failed += _object(mine, comparison)
    return Verdict(
        passed=not failed,
        challenger=mine,
        comparisons=tuple(comparisons),
        failed=tuple(failed),
        images=len(ground.labels),
        patients=len(set(classes.patients.tolist())),
        notes=tuple(notes),
        origins=ground.origins,
    )


def _few(classes: Classes) -> list[str]:
    return [
        f"There are only {count} patients with {name} images whom no version was fitted to; {MIN_PATIENTS} are needed "
        f"to tell: {MIN_PATIENTS - count} more."
        for name, rows in (("PNEUMONIA", classes.is_ill), ("NORMAL", ~classes.is_ill))
        if (count := len(set(classes.patients[rows]))) < MIN_PATIENTS
    ]


def _unfit(mine: Figures, *, has_champion: bool) -> list[str]:
    """What speaks against the challenger by itself."""
    objections = []
    if not mine.recall >= MIN_RECALL:
        objections.append(f"Its recall at its threshold is {mine.recall:.4f}; at least {MIN_RECALL} is needed.")
    if mine.specificity == 0:
        which = "every image" if mine.recall == 1 else "every NORMAL image"
        objections.append(
            f"At its threshold of {mine.threshold:g} it calls {which} PNEUMONIA: its recall of {mine.recall:.4f} "
            "says nothing, since its specificity is 0."
        )
    elif not has_champion and not mine.specificity >= MIN_SPECIFICITY:
        objections.append(
            f"Its specificity at its threshold of {mine.threshold:g} is {mine.specificity:.4f}; at least "
            f"{MIN_SPECIFICITY} is needed where there is no live version to compare it with."
        )
    return objections


def _object(mine: Figures, comparison: Comparison) -> list[str]:
    """The objections to the challenger beside one other version."""
    other, objections = comparison.other, []
    beside = f"Beside {other.version} ({comparison.role})"
    if not comparison.is_recall_kept:
        objections.append(
            f"{beside} the lower bound of the difference in recall is {comparison.recall.low:+.4f}; at least "
            f"{MIN_DIFFERENCE} is needed. {_more(comparison.recall, MIN_DIFFERENCE, 'PNEUMONIA')}"
        )
    if not comparison.is_specificity_kept:
        equal = comparison.at_equal_recall
        objections.append(
            f"{beside} the lower bound of the difference in specificity is {comparison.specificity.low:+.4f}; at least "
            f"{MIN_SPECIFICITY_DIFFERENCE} is needed. "
            f"{_more(comparison.specificity, MIN_SPECIFICITY_DIFFERENCE, 'NORMAL')} At that version's recall, with a "
            f"threshold of {equal.threshold:.4g} in place of {mine.threshold:.4g}, the difference in specificity would "
            f"be {equal.difference.value:+.4f}."
        )
    if not comparison.is_auc_kept:
        objections.append(
            f"Its AUC of {mine.auc:.4f} is below that of {other.version} ({comparison.role}), {other.auc:.4f}."
        )
    return objections


def _more(difference: Difference, least: float, name: str) -> str:
    """How many more patients would decide it."""
    if not difference.patients:
        return "There is no patient to tell."
    needed = patients_needed(difference, least)
    seen = f"a difference of {difference.value:+.4f}, as on these {difference.patients} patients with {name} images,"
    if needed is None:
        return f"More patients would not help: {seen} is too low itself."
    more = max(1, needed - difference.patients)
    return f"If {seen} is the true one, about {more:,} more of them would prove it, four times in five."
