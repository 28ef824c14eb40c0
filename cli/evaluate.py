"""`models evaluate`: prints how a version does on a labelled folder."""

import json
from pathlib import Path
from typing import Any

from cli.console import err, out, progress, table
from local import announcing
from queries import versions
from shared.base.errors import InvalidRequest, WrongSettings
from shared.base.settings import Settings
from shared.statistics import metrics
from shared.statistics.metrics import Answers
from trainer import evaluation
from trainer.evaluation import Evaluation
from trainer.listing import Site


def evaluate(settings: Settings, version: str | None, data: Path, format: str, pictures: Path | None) -> None:
    """Print the figures of a version, the live one if none is named, on a folder with both classes in it."""
    if format not in ("table", "json"):
        raise InvalidRequest(f"--format must be table or json, not {format!r}.")
    evaluated = screen(settings, version, data)
    if pictures is not None:
        _draw(pictures, evaluated.answers)
    report = evaluated.report()
    if format == "json":
        out.file.write(json.dumps(report, indent=2) + "\n")
    else:
        _print(report)
        out.print(f"{evaluated.attribution.sentence()}.", markup=False, soft_wrap=True)


def screen(settings: Settings, version: str | None, data: Path) -> Evaluation:
    """A version's answers on a labelled folder; what could not be read is named."""
    listed = evaluation.list_files(data)
    loaded = versions.load_named_or_live(settings, version)
    site = Site.of(settings, announcing.known_secret(settings))
    reading = evaluation.Reading(site, settings.batch_size, settings.decode_threads)
    with progress() as bar:
        task = bar.add_task("screening images", total=len(listed.files))
        evaluated = evaluation.evaluate(loaded, listed, reading, lambda count: bar.advance(task, count))
    for left_out in evaluated.unreadable:
        err.print(f"unreadable: {left_out.path}: {left_out.reason}", markup=False)
    for skipped in evaluated.skipped:
        err.print(skipped.sentence(), markup=False, soft_wrap=True)
    for doubt in evaluated.attribution.doubts:
        err.print(doubt, markup=False, style="yellow", soft_wrap=True)
    return evaluated


def _draw(folder: Path, answers: Answers) -> None:
    from trainer import plots

    try:
        drawn = plots.draw(answers)
    except ImportError as error:
        raise WrongSettings("--pictures needs the package matplotlib: pip install 'pneumoscreen[trainer]'.") from error
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in drawn.items():
        (folder / name).write_bytes(content)
    err.print(f"{', '.join(drawn)} written to {folder}", markup=False)


def _print(report: dict[str, Any]) -> None:
    out.print(
        f"{report['version']}, threshold {report['threshold']:.4f}: {report['images']} images of "
        f"{report['patients']} patients, {report['unreadable']} unreadable, {report['duplicates']} duplicates",
        markup=False,
    )
    table(
        ("figure", "value", "95 % from", "to"),
        [[name, *(report[name][end] for end in ("value", "low", "high"))] for name in metrics.NAMES],
    )
    share = report["unfamiliar_share"]
    flagged = "has no novelty check" if share is None else f"calls {share:.1%} of the images unfamiliar"
    out.print(f"It {flagged}.")
    if report["is_training_data"]:
        out.print(
            "These are the images that it was made from, so other images are harder. "
            "`pneumoscreen models show` has its figures on patients held out."
        )
    elif report["fitted_to"]:
        out.print(f"It was fitted to {report['fitted_to']} of these images: its figures here are too good.")
    confusion = report["confusion"]
    table(
        ("is", "called NORMAL", "called PNEUMONIA"),
        [
            ["NORMAL", confusion["true_negative"], confusion["false_positive"]],
            ["PNEUMONIA", confusion["false_negative"], confusion["true_positive"]],
        ],
    )
