"""The gate's rule: whether a challenger may replace the champion, on patients whom neither was fitted to.

The trainer measures (`trainer.gate`); this module decides.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from shared.models.manifest import is_positive
from shared.statistics.intervals import bound_mean_difference
from shared.statistics.metrics import auc, rates

MIN_DIFFERENCE = -0.01
"""The least that the lower bound of the difference in recall may be."""
MIN_RECALL = 0.97
MIN_PATIENTS = 30
"""With fewer patients of a class nothing can be decided: two versions that agree on five patients prove nothing."""
SEED = 1


@dataclass(frozen=True)
class Side:
    """One version's calibrated probabilities on the held-out images, shape (n,), and its own threshold."""

    version: str
    probabilities: NDArray[np.float64]
    threshold: float

    @property
    def decisions(self) -> NDArray[np.bool_]:
        return is_positive(self.probabilities, self.threshold)


@dataclass(frozen=True)
class Figures:
    """One version on the held-out images; recall and specificity at its own threshold."""

    version: str
    threshold: float
    recall: float
    specificity: float
    auc: float


@dataclass(frozen=True)
class Comparison:
    """The challenger beside a version that was live; `low` and `high` bound the difference in recall (95 %)."""

    other: Figures
    role: str  # champion or earlier
    difference: float
    low: float
    high: float
    is_recall_kept: bool
    is_auc_kept: bool


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

    def as_json(self) -> str:
        """What `model_versions.verdict` holds."""
        return json.dumps(asdict(self), allow_nan=False)


def judge(
    champion: Side | None,
    challenger: Side,
    labels: NDArray[np.uint8],
    patients: Sequence[str],
    seed: int = SEED,
    *,
    earlier: Sequence[Side] = (),
    notes: Sequence[str] = (),
) -> Verdict:
    """Whether the challenger may replace the champion; labels 0 NORMAL or 1 PNEUMONIA, shape (n,), and their patients.

    Its recall must be at least MIN_RECALL at its threshold; beside the champion and every version that was live
    earlier, the lower bound of the paired difference in recall must be at least MIN_DIFFERENCE and its AUC no lower.
    The bound is that of a percentile bootstrap (Efron & Tibshirani, 1993) over patients, since a patient's images are
    alike. The order of the images does not matter. Without a champion, the recall alone decides.
    """
    is_ill = labels == 1
    whose = np.asarray(patients, dtype=str)
    mine = _figures(challenger, is_ill)
    failed = [*_few(is_ill, whose)]
    if not mine.recall >= MIN_RECALL:
        failed.append(f"Its recall at its threshold is {mine.recall:.4f}; at least {MIN_RECALL} is needed.")
    comparisons = []
    for other, role in [*([(champion, "champion")] if champion else []), *((side, "earlier") for side in earlier)]:
        comparison = _compare(mine, challenger, other, role, is_ill, whose, seed)
        comparisons.append(comparison)
        failed += _object(mine, comparison)
    return Verdict(
        not failed, mine, tuple(comparisons), tuple(failed), len(labels), len(set(whose.tolist())), tuple(notes)
    )


def _few(is_ill: NDArray[np.bool_], patients: NDArray[np.str_]) -> list[str]:
    return [
        f"There are only {count} held-out patients with {name} images; {MIN_PATIENTS} are needed to tell."
        for name, rows in (("PNEUMONIA", is_ill), ("NORMAL", ~is_ill))
        if (count := len(set(patients[rows]))) < MIN_PATIENTS
    ]


def _object(mine: Figures, comparison: Comparison) -> list[str]:
    """The objections to the challenger beside one other version."""
    other, objections = comparison.other, []
    if not comparison.is_recall_kept:
        objections.append(
            f"Beside {other.version} ({comparison.role}) the lower bound of the difference in recall is "
            f"{comparison.low:+.4f}; at least {MIN_DIFFERENCE} is needed."
        )
    if not comparison.is_auc_kept:
        objections.append(
            f"Its AUC of {mine.auc:.4f} is below that of {other.version} ({comparison.role}), {other.auc:.4f}."
        )
    return objections


def _compare(
    mine: Figures,
    challenger: Side,
    other: Side,
    role: str,
    is_ill: NDArray[np.bool_],
    patients: NDArray[np.str_],
    seed: int,
) -> Comparison:
    theirs = _figures(other, is_ill)
    gained = challenger.decisions[is_ill].astype(np.int64) - other.decisions[is_ill]
    low, high = bound_mean_difference(gained, patients[is_ill], seed)
    return Comparison(
        theirs,
        role,
        float(gained.sum()) / max(1, len(gained)),
        low,
        high,
        is_recall_kept=low >= MIN_DIFFERENCE,
        is_auc_kept=mine.auc >= theirs.auc,
    )


def _figures(side: Side, is_ill: NDArray[np.bool_]) -> Figures:
    recall, specificity = rates(side.decisions, is_ill)
    area = auc(side.probabilities, is_ill)
    return Figures(side.version, float(side.threshold), recall or 0.0, specificity or 0.0, area or 0.0)
