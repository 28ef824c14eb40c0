"""How a network does on patients that it was not fitted to: calibration, operating threshold and metrics."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import WorkFailed
from shared.manifest import Calibration

RECALL_TARGET = 0.98  # a missed pneumonia costs most, so recall is fixed first and specificity is what is left
FOLDS = 5
BINS = 15


@dataclass(frozen=True)
class Examination:
    """What an examination found: the two decisions that a manifest carries, and the figures that speak for them."""

    calibration: Calibration
    threshold: float
    metrics: dict[str, Any]


def examine(logits: NDArray[np.float64], labels: NDArray[np.uint8], patients: tuple[str, ...]) -> Examination:
    """Calibrate, choose the threshold and measure, on held-out patients; arrays of shape (n,), labels 0 or 1.

    The calibration and the threshold of the result use every held-out patient. The metrics are cross-fitted: each
    patient is measured with a calibration and a threshold that were fitted to the others.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    probabilities = np.empty(len(labels))
    decisions = np.empty(len(labels), dtype=np.bool_)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for others, fold in folds.split(logits, labels, groups=np.asarray(patients)):
        calibration = calibrate(logits[others], labels[others])
        threshold = choose_threshold(apply(calibration, logits[others]), labels[others])
        probabilities[fold] = apply(calibration, logits[fold])
        decisions[fold] = probabilities[fold] >= threshold
    calibration = calibrate(logits, labels)
    threshold = choose_threshold(apply(calibration, logits), labels)
    figures: dict[str, Any] = measure(logits, probabilities, decisions, labels)
    figures |= {
        "images": len(labels),
        "patients": len(set(patients)),
        "prevalence": float(labels.mean()),
        "recall_target": RECALL_TARGET,
        "recall_at_threshold": float((apply(calibration, logits) >= threshold)[labels == 1].mean()),
        "specificity_at_threshold": float((apply(calibration, logits) < threshold)[labels == 0].mean()),
        "method": f"calibration and threshold cross-fitted by patient in {FOLDS} folds for the metrics; "
        "those of the manifest, and the two figures at_threshold, use all held-out patients",
    }
    return Examination(calibration, threshold, figures)


def calibrate(logits: NDArray[np.float64], labels: NDArray[np.uint8]) -> Calibration:
    """Platt scaling (Platt, 1999) without a penalty; raises WorkFailed where a higher logit means less pneumonia."""
    from sklearn.linear_model import LogisticRegression

    line = LogisticRegression(C=np.inf).fit(logits[:, np.newaxis], labels)
    slope, intercept = float(line.coef_[0, 0]), float(line.intercept_[0])
    if not slope > 0:
        raise WorkFailed("the network cannot tell the classes apart on patients held out: fit it for longer")
    return Calibration(slope=slope, intercept=intercept)


def apply(calibration: Calibration, logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Calibrated probabilities of PNEUMONIA, 0 to 1, with the very function that serving uses."""
    return np.array([calibration.probability(float(logit)) for logit in logits])


def choose_threshold(
    probabilities: NDArray[np.float64], labels: NDArray[np.uint8], recall: float = RECALL_TARGET
) -> float:
    """The largest threshold that finds at least this share of the pneumonias; `probability >= threshold` is one."""
    ill = np.sort(probabilities[labels == 1])[::-1]
    return float(ill[int(np.ceil(recall * len(ill) - 1e-9)) - 1])


def measure(
    logits: NDArray[np.float64],
    probabilities: NDArray[np.float64],
    decisions: NDArray[np.bool_],
    labels: NDArray[np.uint8],
) -> dict[str, float]:
    """The figures of a screening test, 0 to 1 each, pneumonia being positive; arrays of shape (n,)."""
    from sklearn import metrics

    return {
        "auc": float(metrics.roc_auc_score(labels, logits)),
        "accuracy": float(metrics.accuracy_score(labels, decisions)),
        "recall": float(metrics.recall_score(labels, decisions)),
        "specificity": float(metrics.recall_score(labels, decisions, pos_label=0)),
        "precision": float(metrics.precision_score(labels, decisions)),
        "f1": float(metrics.f1_score(labels, decisions)),
        "brier": float(metrics.brier_score_loss(labels, probabilities)),
        "ece": expected_calibration_error(probabilities, labels),
    }


def expected_calibration_error(probabilities: NDArray[np.float64], labels: NDArray[np.uint8]) -> float:
    """The mean gap between probability and frequency over bins of equal width (Naeini et al., 2015), 0 to 1."""
    places = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    gaps = np.bincount(places, weights=probabilities - labels, minlength=BINS)
    return float(np.abs(gaps).sum() / len(labels))
