"""Fits, applies and lists operating points, and prints what became of it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from actions import fitting, novelty_limits, operating_points, rescoring
from actions.fitting import Fitted, Sample
from actions.novelty_limits import NoveltyLimit
from actions.rescoring import Rescored
from cli.console import err, out, progress, shown, table
from queries import operating_points as query
from queries import versions
from shared import sources
from shared.base.errors import InvalidRequest, WrongSettings
from shared.base.settings import Settings
from shared.database import Database, Draw, opened
from shared.models import training_images
from shared.models.manifest import Manifest
from shared.statistics.operating_point import Readings, needed
from shared.statistics.threshold_table import Share

RELIABILITY = "reliability.png"
COLUMNS = (
    *("threshold", "", "recall", "specificity", "PPV", "NPV", "flagged", "flagged a day", "missed of 1,000 images"),
)


@dataclass(frozen=True)
class Request:
    """What `calibrate fit` was asked for."""

    source: str
    recall: float
    draw: int | None = None
    data: Path | None = None
    prevalence: float | None = None
    model: str | None = None
    rescore: bool = False
    by: str | None = None


def fit(settings: Settings, request: Request, pictures: Path | None, format: str) -> None:
    _check(request, format)
    now = datetime.now(UTC)
    with opened(settings) as database:
        with database.read() as session:
            query.check_source(session, settings, request.source)
            described = versions.show_manifest(session, settings.models, request.model, settings.signing_key)
        if request.data is not None:
            sample = _of_folder(settings, described, request.data, request.prevalence)
        else:
            draw = _draw(database, request, described)
            if request.rescore:
                _tell(rescore(settings, database, draw, described.version, now))
            with database.read() as session:
                sample = fitting.sample_of_draw(session, draw, described.version, _known(settings, described))
        with database.write() as session:
            fitted = fitting.fit(session, request.source, described, sample, request.recall, request.by, now)
            daily = query.images_a_day(session, request.source, now)
    if pictures is not None:
        _draw_reliability(pictures, described, fitted)
    if format == "json":
        out.file.write(json.dumps(as_json(fitted, daily), indent=2) + "\n")
    else:
        show(fitted, daily)


def refit(settings: Settings, version: str, names: Sequence[str], by: str) -> None:
    """Fit points of a version to the words that sources had before it; apply those whose recall is proved."""
    for source in names:
        request = Request(source, 0.95, model=version, rescore=True, by=by)
        try:
            _refit(settings, request, by)
        except (InvalidRequest, fitting.WorkFailed) as error:
            err.print(f"{source}: {error}", style="yellow", markup=False)


def _refit(settings: Settings, request: Request, by: str) -> None:
    now = datetime.now(UTC)
    with opened(settings) as database:
        with database.read() as session:
            described = versions.show_manifest(session, settings.models, request.model, settings.signing_key)
            before = query.newest_applied(session, request.source)
            goal = before.recall_goal if before is not None else request.recall
            request = replace(request, draw=before.draw_id if before is not None else None)
        draw = _draw(database, request, described)
        _tell(rescore(settings, database, draw, described.version, now))
        with database.write() as session:
            sample = fitting.sample_of_draw(session, draw, described.version, _known(settings, described))
            fitted = fitting.fit(session, request.source, described, sample, goal, by, now)
            daily = query.images_a_day(session, request.source, now)
            if not fitted.choice.is_provisional:
                reason = f"fitted anew to draw {draw.id}, as {described.version} went into service"
                operating_points.apply(session, fitted.number, by, reason, now)
    show(fitted, daily, is_applied=not fitted.choice.is_provisional)


def apply(settings: Settings, number: int, by: str | None, reason: str | None, *, provisional: bool) -> None:
    now = datetime.now(UTC)
    with opened(settings) as database, database.write() as session:
        point = operating_points.apply(session, number, by, reason, now, provisional=provisional)
        line = (
            f"Operating point {number} is applied to {point.source} for {point.model_version}: images that come from "
            f"now on are called PNEUMONIA from {point.threshold:.4f} on. No result changes."
        )
        is_provisional = point.is_provisional
    out.print(line, markup=False)
    if is_provisional:
        out.print("It is provisional: `status` and each result say so until one is proved.", style="yellow")


def rollback(settings: Settings, source: str, by: str | None, reason: str | None) -> None:
    with opened(settings) as database, database.write() as session:
        query.check_source(session, settings, source)
        version = versions.find(session, None).version
        done = operating_points.rollback(session, source, version, by, reason, datetime.now(UTC))
    instead = f"point {done.applied}" if done.applied is not None else f"the threshold of {done.version} itself"
    out.print(f"Images of {source} that come from now on are read by {instead}. No result changes.", markup=False)


def list_points(settings: Settings, source: str | None, format: str) -> None:
    _check_format(format)
    with opened(settings) as database, database.read() as session:
        if source is not None:
            query.check_source(session, settings, source)
        rows = query.list_points(session, source)
        live = versions.find(session, None).version
        without = query.without_point(session, live, [source] if source else sources.build(settings))
    if format == "json":
        out.file.write(json.dumps([asdict(row) for row in rows], indent=2, default=str) + "\n")
        return
    columns = ("point", "source", "version", "state", "kind", "fitted", "threshold", "goal", "recall proved", "words")
    table(
        (*columns, "positives", "draw", "applied (UTC)", "by", "reason or why retired"),
        [
            (
                *(row.number, row.source, row.version, row.state, "provisional" if row.is_provisional else "proved"),
                *(row.method, row.threshold, f"{row.recall_goal:g}", f"{row.recall_low:.3f}", row.words, row.positives),
                row.draw if row.draw is not None else "folder",
                f"{row.applied_at:%Y-%m-%d %H:%M}" if row.applied_at else None,
                row.applied_by or row.created_by,
                row.retired_because or row.reason,
            )
            for row in rows
        ],
    )
    for name in without:
        out.print(f"{name} has no operating point for {live}: its own threshold applies.", markup=False)


def rescore(settings: Settings, database: Database, draw: Draw, version: str, now: datetime) -> Rescored:
    with progress() as bar:
        task = bar.add_task(f"scoring draw {draw.id}", total=None)
        return rescoring.rescore(
            database, settings, sources.build(settings), draw.id, version, now, lambda count: bar.advance(task, count)
        )


def show(fitted: Fitted, daily: float | None, *, is_applied: bool = False) -> None:
    for line in describe(fitted, is_applied=is_applied):
        out.print(shown(line), markup=False)
    table(COLUMNS, [_cells(row, daily) for row in fitted.rows], "What thresholds would mean, with 95 % intervals")
    if fitted.sample.fingerprint is not None or fitted.sample.draw is None:
        share = fitted.sample.prevalence
        of = f"{share:.1%}, as --prevalence says" if share else "the folder's, which is not the source's"
        out.print(f"PPV, NPV, flagged and missed are for a share of pneumonia of {of}.", markup=False)
    if daily is None:
        out.print("No image of this source was screened in the last 28 days: what is flagged a day is not known.")


def describe(fitted: Fitted, *, is_applied: bool) -> Iterator[str]:
    """What was fitted, what is proved, and what to do next."""
    choice, sample = fitted.choice, fitted.sample
    readings, counts = sample.readings, sample.counts
    fitted_what = {"threshold": "the threshold alone", "intercept": "intercept and threshold"}
    what = fitted_what.get(choice.method, "slope, intercept and threshold")
    yield (
        f"Operating point {fitted.number} of {fitted.source} for {fitted.version}: {what}, threshold "
        f"{choice.threshold:.4f} on {choice.line.slope:.3f} x logit {choice.line.intercept:+.3f}."
    )
    basis = f"draw {sample.draw}" if sample.draw is not None else "the folder"
    left_out = {
        "unread": counts.unread,
        "on which readers cannot tell": counts.undecided,
        "without a logit": counts.without_logit,
        "to which the version was fitted": counts.fitted_to,
    }
    rest = ", ".join(f"{number} {why}" for why, number in left_out.items() if number)
    yield (
        f"It rests on {len(readings)} words on {basis}, {int(readings.is_ill.sum())} of them PNEUMONIA, of "
        f"{len(set(readings.patients))} patients; left out: {rest or 'none'}."
    )
    if counts.without_patient:
        yield (
            f"Nothing tells whose {counts.without_patient} of these images are: each counts as a patient. Where "
            "one has several, less is proved."
        )
    if counts.fitted_to is None:
        yield (
            f"{fitted.version} does not tell which images it was fitted to: if these are among them, all that follows "
            "is too good."
        )
    if fitted.gains_nothing:
        yield (
            "By these words the point gains nothing: the version's own threshold, which the table has on the point's "
            "scale, misses no more, and calls no more of the healthy ill."
        )
    if fitted.novelty is not None:
        yield _describe_novelty(fitted.novelty)
    if not choice.is_provisional:
        yield (
            f"The recall is {choice.recall:.3f} among them, and at least {choice.recall_low:.3f} with 95 % confidence, "
            f"as wanted ({fitted.goal:g})."
        )
        if not is_applied:
            yield f"To use it: pneumoscreen calibrate apply {fitted.number} --by NAME --reason TEXT"
        return
    yield (
        f"PROVISIONAL: a recall of {fitted.goal:g} is not proved. {needed(fitted.goal)} independent positives without "
        f"a miss prove it; these amount to {choice.effective:.1f}, so about {choice.missing} more are needed."
    )
    yield (
        f"These words prove a recall of {choice.provable:.3f} at most, at the threshold that misses none of them. At "
        f"the provisional threshold they prove {choice.recall_low:.3f}; {fitted.goal:g} of the next "
        "positives are expected above it."
    )
    yield (
        f"To use it all the same: pneumoscreen calibrate apply {fitted.number} --provisional --by NAME --reason TEXT"
    )


def _describe_novelty(novelty: NoveltyLimit) -> str:
    of = f"of the source's {novelty.images} newest images"
    if novelty.images < novelty_limits.MIN_IMAGES:
        return (
            f"The version's own novelty limit stays, which flags {novelty.flagged:.1%} {of}: from "
            f"{novelty_limits.MIN_IMAGES} images on a limit of the source's own is fitted."
        )
    if novelty.limit is None:
        return f"The version's own novelty limit stays: it flags {novelty.flagged:.1%} {of}."
    return (
        f"The point has a novelty limit of its own, {novelty.limit:.3f} instead of {novelty.own:.3f}, fitted without "
        f"words: it flags {novelty.flagged_then:.1%} {of} as unfamiliar instead of {novelty.flagged:.1%}."
    )


def as_json(fitted: Fitted, daily: float | None) -> dict[str, Any]:
    """What `calibrate fit --format json` prints."""
    choice = asdict(fitted.choice)
    line = choice.pop("line")
    return {
        "operating_point": fitted.number,
        "source": fitted.source,
        "model_version": fitted.version,
        "recall_goal": fitted.goal,
        **line,
        **choice,
        "words": len(fitted.sample.readings),
        "positives": int(fitted.sample.readings.is_ill.sum()),
        "patients": len(set(fitted.sample.readings.patients)),
        "draw": fitted.sample.draw,
        "data_fingerprint": fitted.sample.fingerprint,
        "prevalence": fitted.sample.prevalence,
        "novelty": asdict(fitted.novelty) if fitted.novelty is not None else None,
        "left_out": asdict(fitted.sample.counts),
        "images_a_day": daily,
        "thresholds": [
            {
                **asdict(row),
                "flagged_a_day": asdict(row.flagged.times(daily)) if daily and row.flagged else None,
                "missed_per_1000": asdict(row.missed.times(1000)) if row.missed else None,
            }
            for row in fitted.rows
        ],
    }


def _check(request: Request, format: str) -> None:
    _check_format(format)
    fitting.check_goal(request.recall)
    if request.data is not None and (request.draw is not None or request.rescore):
        raise InvalidRequest("--data takes a folder instead of a draw: it goes with neither --draw nor --rescore.")
    if request.prevalence is not None and request.data is None:
        raise InvalidRequest("--prevalence goes with --data: a draw's words are weighted, so that it is known.")


def _check_format(format: str) -> None:
    if format not in ("table", "json"):
        raise InvalidRequest(f"--format must be table or json, not {format!r}.")


def _draw(database: Database, request: Request, described: Manifest) -> Draw:
    with database.read() as session:
        draw = query.find_draw(session, request.source, request.draw, described.version)
        session.expunge(draw)
        return draw


def _known(settings: Settings, described: Manifest) -> frozenset[str] | None:
    return training_images.read(settings.models / described.version, described)


def _of_folder(settings: Settings, described: Manifest, data: Path, prevalence: float | None) -> Sample:
    from cli.evaluate import screen
    from trainer import datasets

    evaluated = screen(settings, described.version, data)
    answers = evaluated.answers
    is_new = ~np.array(evaluated.fitted_to or [False] * len(answers), dtype=np.bool_)
    readings = Readings(
        answers.logits[is_new],
        answers.labels[is_new],
        np.ones(int(is_new.sum())),
        tuple(patient for patient, new in zip(answers.patients, is_new, strict=True) if new),
    )
    counts = fitting.Counts(
        drawn=len(answers) + len(evaluated.unreadable),
        unread=len(evaluated.unreadable),
        fitted_to=None if evaluated.fitted_to is None else sum(evaluated.fitted_to),
    )
    fingerprint = datasets.fingerprint(evaluated.digests, answers.labels.tolist())
    if evaluated.is_training_data or not is_new.any():
        raise InvalidRequest(f"{data} holds what {described.version} was made from, which proves nothing of it.")
    return Sample(readings, counts, fingerprint=fingerprint, prevalence=prevalence)


def _tell(rescored: Rescored) -> None:
    err.print(f"{rescored.scored} images were scored, {rescored.known} had been before.")
    for reason, number in rescored.left_out.most_common():
        err.print(f"{number} could not be: {shown(reason)}", style="yellow", markup=False)


def _cells(row: Any, daily: float | None) -> list[str]:
    a_day = row.flagged.times(daily) if daily is not None and row.flagged else None
    shares = [row.recall, row.specificity, row.ppv, row.npv, row.flagged]
    missed = row.missed.times(1000) if row.missed else None
    return [f"{row.threshold:.4f}", row.name, *map(_share, shares), _number(a_day), _number(missed)]


def _share(share: Share | None) -> str:
    return "" if share is None else f"{share.value:.3f} ({share.low:.3f} to {share.high:.3f})"


def _number(share: Share | None) -> str:
    return "" if share is None else f"{share.value:.1f} ({share.low:.1f} to {share.high:.1f})"


def _draw_reliability(folder: Path, described: Manifest, fitted: Fitted) -> None:
    from trainer import plots

    readings = fitted.sample.readings
    lines = {"the version's own": described.calibration.line, "operating point": fitted.choice.line}
    probabilities = {name: line.probabilities(readings.logits) for name, line in lines.items()}
    try:
        content = plots.draw_reliability(probabilities, readings.labels, readings.weights, fitted.choice.threshold)
    except ImportError as error:
        raise WrongSettings("--pictures needs the package matplotlib: pip install 'pneumoscreen[trainer]'.") from error
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RELIABILITY).write_bytes(content)
    err.print(f"{RELIABILITY} written to {folder}", markup=False)
