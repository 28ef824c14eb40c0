"""`models compare`: two versions on the same images, how they were made, and what a version in shadow says."""

import json
from pathlib import Path
from typing import Any

from cli.console import err, out, progress, table
from local import announcing
from queries import recipes, shadow, versions
from queries.shadow import ShadowOverview
from shared.base.errors import InvalidRequest
from shared.base.settings import Settings
from shared.database import opened
from shared.models.manifest import Manifest
from shared.models.registry import Loaded
from shared.statistics import metrics
from trainer import comparison, evaluation
from trainer.comparison import Compared
from trainer.listing import Site


def compare(settings: Settings, first: str, second: str, data: Path | None, format: str) -> None:
    """Print recipe and data of two versions side by side, and with --data their figures on one set of images."""
    _check_format(format)
    if first == second:
        raise InvalidRequest(
            f"{first} is one version: name two of them; `pneumoscreen models list` shows which there are."
        )
    compared = None
    if data is None:
        with opened(settings) as database, database.read() as session:
            key = settings.signing_key
            described = [versions.show_manifest(session, settings.models, name, key) for name in (first, second)]
    else:
        loaded = [versions.load_named_or_live(settings, name) for name in (first, second)]
        described = [each.manifest for each in loaded]
        compared = _measure(settings, loaded[0], loaded[1], data)
    if format == "json":
        rows = dict(recipes.side_by_side(*described))
        out.file.write(json.dumps({"recipes": rows} | (compared.report() if compared else {}), indent=2) + "\n")
        return
    if compared is not None:
        _print_figures(compared)
        _print_disagreement(compared)
    _print_recipes(described)
    if compared is None:
        out.print("--data DIR measures both on the same labelled images; figures on different ones say little.")


def show_shadow(settings: Settings, version: str | None, format: str) -> None:
    """Print where a version in shadow and the live one disagree, with counts and the sightings' ids."""
    _check_format(format)
    with opened(settings) as database, database.read() as session:
        runs = shadow.overviews(session, version=version)
        most = None if format == "json" else shadow.MAX_LISTED
        found = [(run, shadow.disagreements(session, run.run, most)) for run in runs]
    if format == "json":
        rows = [{**vars(run), "listed": [vars(each) for each in listed]} for run, listed in found]
        out.file.write(json.dumps(rows, indent=2, default=str) + "\n")
        return
    if not found:
        out.print("No version is or was in shadow: `pneumoscreen models shadow VERSION --source NAME` begins it.")
    for run, listed in found:
        out.print(_sentence(run), markup=False)
        table(
            ("version in shadow", "live version: PNEUMONIA", "live version: NORMAL"),
            [("PNEUMONIA", run.both_ill, run.only_shadow_ill), ("NORMAL", run.only_live_ill, run.both_well)],
        )
        if listed:
            columns = ("sighting_id", "live version", "says", "probability", "in shadow", "probability")
            table(columns, [tuple(vars(each).values()) for each in listed])
        if run.disagreements > len(listed):
            out.print(f"The {len(listed)} widest apart of {run.disagreements:,} are listed; --format json has all.")


def _sentence(run: ShadowOverview) -> str:
    until = f" until {run.ended_at:%Y-%m-%d %H:%M}" if run.ended_at else ""
    return (
        f"{run.version} in shadow, run {run.run}: {run.share:.0%} of {run.source} since {run.started_at:%Y-%m-%d %H:%M}"
        f"{until} (UTC): {run.images:,} images, {run.disagreements:,} with another label."
    )


def _check_format(format: str) -> None:
    if format not in ("table", "json"):
        raise InvalidRequest(f"--format must be table or json, not {format!r}.")


def _measure(settings: Settings, first: Loaded, second: Loaded, data: Path) -> Compared:
    listed = evaluation.list_files(data)
    site = Site.of(settings, announcing.known_secret(settings))
    reading = evaluation.Reading(site, settings.batch_size, settings.decode_threads)
    with progress() as bar:
        task = bar.add_task("screening images, twice", total=2 * len(listed.files))
        compared = comparison.compare(first, second, listed, reading, lambda count: bar.advance(task, count))
    for left_out in compared.first.unreadable:
        err.print(f"unreadable: {left_out.path}: {left_out.reason}", markup=False)
    return compared


def _print_figures(compared: Compared) -> None:
    first, second = compared.first.report(), compared.second.report()
    names = (first["version"], second["version"])
    rows: list[tuple[Any, ...]] = [
        ("threshold", *(f"{report['threshold']:.4g}" for report in (first, second))),
        *((name, *(_figure(report[name]) for report in (first, second))) for name in metrics.NAMES),
    ]
    title = f"{first['images']} images of {first['patients']} patients, with 95 % intervals"
    table(("figure", *names), rows, title)
    for report in (first, second):
        if report["is_training_data"]:
            out.print(f"These are the images that {report['version']} was made from: it has seen them.", markup=False)
        elif report["fitted_to"]:
            line = f"{report['version']} was fitted to {report['fitted_to']} of these images: its figures are too good."
            out.print(line, markup=False)


def _figure(figure: dict[str, float]) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def _print_disagreement(compared: Compared) -> None:
    first, second = compared.first.version, compared.second.version
    columns = ("is", "images", "both right", f"only {first}", f"only {second}", "both wrong", "p (McNemar, exact)")
    rows = [(name, *vars(found).values()) for name, found in compared.disagreement.items()]
    table(columns, rows, "Who is right")
    out.print("The test takes images as independent: several of one patient make p smaller than it should be.")


def _print_recipes(described: list[Manifest]) -> None:
    rows = [(name, *values) for name, values in recipes.side_by_side(*described)]
    table(("made of", *(each.version for each in described)), rows, "How they were made")
