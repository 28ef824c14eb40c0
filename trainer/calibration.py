"""Examines a network on patients that it was not fitted to: calibration, operating threshold and metrics.

Calibration and threshold are chosen where they will have to hold: on these patients' images as they are, and under the
changes of `trainer.robustness`, which stand for what other hospitals do differently.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import WorkFailed
from shared.models.manifest import Calibration, is_positive
from shared.statistics import drift, metrics
from shared.statistics.metrics import Answers
from trainer import evaluation
from trainer.robustness import Changed

RECALL_GOAL = 0.97  # of patients that nobody has seen: a missed pneumonia costs most, so specificity is what is left
RECALL_TARGET = 0.98
"""The recall that the threshold must reach on the held-out patients, so that it reaches RECALL_GOAL on others.

A threshold that just reaches 0.97 on a sample misses it on the next one every second time. On 585 pneumonias of 250
patients, thresholds chosen on bootstrap samples of patients had a recall of at least 0.97 among all of them in 52 % of
the rounds for a target of 0.97, 79 % for 0.975, 94 % for 0.98 and 99 % for 0.985, at a specificity of 0.96, 0.95, 0.94
and 0.92: beyond 0.98 each further step costs more false alarms than it buys certainty.
"""
RECALL_UNDER_CHANGES = 0.9625
"""The recall that the threshold must reach under each change."""
MIN_SPECIFICITY = 0.5
"""A change whose recall costs more specificity, under it or on the images as they are, is one that no threshold can
hold: it is named instead."""
FOLDS = 5

Floats = NDArray[np.float64]
Set = tuple[Floats, NDArray[np.uint8]]
"""Logits and labels, each of shape (n,)."""


@dataclass(frozen=True)
class Examination:
    """The two decisions that a manifest carries, and the figures behind them.

    metrics: those of `metrics.NAMES`, each with its interval, `confusion`, and how they were computed; answers: the
    rows behind them, for plots and for comparing versions on the same patients.
    """

    calibration: Calibration
    threshold: float
    metrics: dict[str, Any]
    answers: Answers
    not_held: tuple[str, ...] = ()
    """Changes that the threshold does not hold."""


def examine(
    logits: Floats, labels: NDArray[np.uint8], patients: tuple[str, ...], changed: Changed | None = None
) -> Examination:
    """Calibrate, choose the threshold and measure, on held-out patients; arrays of shape (n,), labels 0 or 1.

    `changed`: what the network answers to some of these images when they are changed; without it, calibration and
    threshold rest on the images as they are.

    The calibration and the threshold of the result use every held-out patient. The metrics are cross-fitted: each
    patient is measured with a calibration and a threshold that were fitted to the others.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    probabilities = np.empty(len(labels))
    decisions = np.empty(len(labels), dtype=np.bool_)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for others, fold in folds.split(logits, labels, groups=np.asarray(patients)):
        sets = _sets(changed, labels, np.isin(np.arange(len(labels)), others))
        calibration, threshold = fit_operating_point(logits[others], labels[others], [*sets.values()])
        probabilities[fold] = evaluation.calibrate(calibration, logits[fold])
        decisions[fold] = is_positive(probabilities[fold], threshold)
    sets = _sets(changed, labels, np.ones(len(labels), dtype=np.bool_))
    calibration, threshold = fit_operating_point(logits, labels, [*sets.values()])
    not_held = tuple(name for name, each in sets.items() if _hold(calibration, each, (logits, labels)) is None)
    answers = Answers(labels, logits, probabilities, decisions, patients)
    final = evaluation.decide(logits, labels, patients, calibration, threshold)
    recall, specificity = metrics.rates(final.decisions, labels == 1)
    figures: dict[str, Any] = {
        **evaluation.figures(answers),
        "prevalence": float(labels.mean()),
        "recall_goal": RECALL_GOAL,
        "recall_target": RECALL_TARGET,
        **({"recall_target_under_changes": RECALL_UNDER_CHANGES, "changes": len(sets)} if sets else {}),
        **({"changes_not_held": list(not_held)} if not_held else {}),
        "recall_at_threshold": recall,
        "specificity_at_threshold": specificity,
        "reference": {"logits": drift.describe(logits)},
        "method": f"calibration and threshold cross-fitted by patient in {FOLDS} folds for the metrics; "
        "those of the manifest, and the two figures at_threshold, use all held-out patients; "
        f"intervals are 95 % percentile bootstrap intervals over patients, {metrics.ROUNDS:,} rounds, and exact ones "
        "(Clopper & Pearson, 1934) where all rounds agree",
    }
    return Examination(calibration, threshold, figures, answers, not_held)


def fit_operating_point(
    logits: Floats, labels: NDArray[np.uint8], changed: Sequence[Set] = ()
) -> tuple[Calibration, float]:
    """The calibration and the threshold that these patients give, and some of them under changes, a set for each.

    The line is fitted to all sets together. The threshold is the largest that reaches RECALL_TARGET on the images as
    they are and RECALL_UNDER_CHANGES under each change, but for those that no threshold can hold.
    """
    plain = (logits, labels)
    sets = [plain, *changed]
    calibration = calibrate(np.concatenate([each for each, _ in sets]), np.concatenate([each for _, each in sets]))
    thresholds = [choose_threshold(evaluation.calibrate(calibration, logits), labels)]
    thresholds += [held for each in changed if (held := _hold(calibration, each, plain)) is not None]
    return calibration, min(thresholds)


def _sets(changed: Changed | None, labels: NDArray[np.uint8], chosen: NDArray[np.bool_]) -> dict[str, Set]:
    """Logits and labels under each change of the rows that are chosen; empty where either class is missing."""
    if changed is None:
        return {}
    is_used = chosen[changed.rows]
    used = labels[changed.rows[is_used]]
    if len(set(used.tolist())) < 2:
        return {}
    return {name: (logits[is_used], used) for name, logits in changed.logits.items()}


def _hold(calibration: Calibration, changed: Set, plain: Set) -> float | None:
    """The largest threshold that reaches RECALL_UNDER_CHANGES under the change.

    None where its specificity is below MIN_SPECIFICITY, there or on the images as they are.
    """
    threshold = choose_threshold(evaluation.calibrate(calibration, changed[0]), changed[1], RECALL_UNDER_CHANGES)
    for logits, labels in (changed, plain):
        _, specificity = metrics.rates(is_positive(evaluation.calibrate(calibration, logits), threshold), labels == 1)
        if specificity is None or specificity < MIN_SPECIFICITY:
            return None
    return threshold


def calibrate(logits: Floats, labels: NDArray[np.uint8]) -> Calibration:
    """Platt scaling (Platt, 1999) without a penalty; raises WorkFailed where a higher logit means less pneumonia."""
    from sklearn.linear_model import LogisticRegression

    line = LogisticRegression(C=np.inf).fit(logits[:, np.newaxis], labels)
    slope, intercept = float(line.coef_[0, 0]), float(line.intercept_[0])
    if not slope > 0:
        raise WorkFailed("the network cannot tell the classes apart on patients held out: fit it for longer")
    return Calibration(slope=slope, intercept=intercept)


def choose_threshold(
    probabilities: NDArray[np.float64], labels: NDArray[np.uint8], recall: float = RECALL_TARGET
) -> float:
    """The largest threshold that finds at least this share of the pneumonias, by `is_positive`."""
    ill = np.sort(probabilities[labels == 1])[::-1]
    return float(ill[int(np.ceil(recall * len(ill) - 1e-9)) - 1])
