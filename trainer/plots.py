"""ROC curve, calibration curve and confusion matrix as PNG; matplotlib is imported when one is drawn, not before."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.models.manifest import Manifest
from shared.statistics import metrics
from shared.statistics.intervals import Floats
from shared.statistics.metrics import BINS, Answers

ROC, CALIBRATION, CONFUSION = "roc.png", "calibration.png", "confusion.png"
TITLES = {ROC: "ROC curve", CALIBRATION: "Calibration curve", CONFUSION: "Confusion matrix"}

RELIABILITY_BINS = 8  # fewer than of a whole data set: words are few

_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#666666"  # distinguishable for the colour-blind (Okabe & Ito, 2008)


def write(folder: Path, answers: Answers) -> None:
    """Write the plots of `TITLES` into a folder, which must exist."""
    for name, content in draw(answers).items():
        (folder / name).write_bytes(content)


def accompany(answers: Answers) -> Callable[[Path, Manifest], None]:
    """The step of a publication that writes the plots."""
    return lambda folder, manifest: write(folder, answers)


def draw(answers: Answers) -> dict[str, bytes]:
    """The plots as PNG by file name: the same bytes for the same answers and version of matplotlib."""
    return {
        ROC: _png(lambda axes: _roc(axes, answers)),
        CALIBRATION: _png(lambda axes: _calibration(axes, answers)),
        CONFUSION: _png(lambda axes: _confusion(axes, answers)),
    }


def draw_reliability(
    probabilities: dict[str, Floats], labels: NDArray[np.uint8], weights: Floats, threshold: float
) -> bytes:
    """How often what was given a probability is ill, for each of several calibrations of the same images; as PNG.

    labels: shape (n,), 0 or 1; weights: shape (n,); probabilities and the threshold, of the last of them: 0 to 1.
    """

    def paint(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", label="perfect")
        for (name, given), colour in zip(probabilities.items(), (_GREY, _BLUE), strict=True):
            places = np.minimum((given * RELIABILITY_BINS).astype(np.intp), RELIABILITY_BINS - 1)
            sums = [
                np.bincount(places, weights=weights * values, minlength=RELIABILITY_BINS)
                for values in (np.ones(len(given)), given, labels)
            ]
            used = sums[0] > 0
            axes.plot(sums[1][used] / sums[0][used], sums[2][used] / sums[0][used], "o-", color=colour, label=name)
        axes.axvline(threshold, color=_ORANGE, linestyle="--", label=f"threshold {threshold:.3f}")
        axes.set(
            xlabel="mean probability of pneumonia",
            ylabel="share with pneumonia",
            title="Reliability",
            xlim=(-0.05, 1.05),
            ylim=(-0.05, 1.05),
        )
        axes.legend(loc="upper left")

    return _png(paint)


def _png(paint: Callable[[Any], None]) -> bytes:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    content = BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever a `matplotlibrc` of the working folder or of the user says
        figure = Figure(figsize=(4.8, 4.4), dpi=100, layout="constrained")  # never pyplot: it keeps global state
        FigureCanvasAgg(figure)
        paint(figure.add_subplot())
        figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()


def _roc(axes: Any, answers: Answers) -> None:
    order = np.argsort(-answers.logits, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(answers.logits[order])), len(answers) - 1)
    ill = answers.labels[order] == 1
    recall = np.concatenate([[0.0], np.cumsum(ill)[ends] / ill.sum()])
    alarms = np.concatenate([[0.0], np.cumsum(~ill)[ends] / (~ill).sum()])
    area = float(((alarms[1:] - alarms[:-1]) * (recall[1:] + recall[:-1]) / 2).sum())
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", label="chance")
    axes.plot(alarms, recall, color=_BLUE, linewidth=2, label=f"AUC {area:.3f}")
    called = metrics.confusion(answers)
    axes.plot(
        called["false_positive"] / (called["false_positive"] + called["true_negative"]),
        called["true_positive"] / (called["true_positive"] + called["false_negative"]),
        color=_ORANGE,
        marker="o",
        linestyle="none",
        label="operating point",
    )
    axes.set(xlabel="1 - specificity", ylabel="recall", title=TITLES[ROC], xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(loc="lower right")


def _calibration(axes: Any, answers: Answers) -> None:
    places = metrics.bins(answers.probabilities)
    counts = np.bincount(places, minlength=BINS)
    used = counts > 0
    predicted = np.bincount(places, weights=answers.probabilities, minlength=BINS)[used] / counts[used]
    actual = np.bincount(places, weights=answers.labels, minlength=BINS)[used] / counts[used]
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", label="perfect")
    axes.plot(predicted, actual, color=_BLUE, linewidth=1, zorder=2)
    sizes = 15 + 150 * counts[used] / counts.max()
    axes.scatter(predicted, actual, s=sizes, color=_BLUE, zorder=3, label="images (size: how many)")
    axes.set(
        xlabel="mean probability of pneumonia",
        ylabel="share with pneumonia",
        title=TITLES[CALIBRATION],
        xlim=(-0.05, 1.05),
        ylim=(-0.05, 1.05),
    )
    axes.legend(loc="upper left")


def _confusion(axes: Any, answers: Answers) -> None:
    called = metrics.confusion(answers)
    counts = np.array(
        [[called["true_negative"], called["false_positive"]], [called["false_negative"], called["true_positive"]]]
    )
    shares = counts / counts.sum(axis=1, keepdims=True)
    axes.imshow(shares, cmap="cividis", vmin=0.0, vmax=1.0)  # cividis is made for the colour-blind
    for (row, column), count in np.ndenumerate(counts):
        colour = "black" if shares[row, column] > 0.5 else "white"
        text = f"{count:,}\n{shares[row, column]:.1%}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=14)
    names = ["NORMAL", "PNEUMONIA"]
    axes.set_xticks([0, 1], names)
    axes.set_yticks([0, 1], names, rotation=90, va="center")
    axes.set(xlabel="called", ylabel="is", title=TITLES[CONFUSION])
