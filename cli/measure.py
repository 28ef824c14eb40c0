"""`models measure …`: tools that tell how well a model transfers, where it looks, and what its novelty check flags."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True, help="Measure how well a model transfers, where it looks and what it finds new."
)

Home = Annotated[
    Path | None,
    typer.Option(help="Home folder. Default: PNEUMOSCREEN_HOME, else the running system's, else ~/.pneumoscreen."),
]
Data = Annotated[
    Path,
    typer.Option(
        help="Labelled folders: NORMAL and PNEUMONIA, or train, val, test with those.", exists=True, file_okay=False
    ),
]
Version = Annotated[
    str | None, typer.Argument(help="A published version or a version's folder; the live one if none is named.")
]


@app.command(epilog="Example: pneumoscreen models measure robustness --data ~/labelled")
def robustness(data: Data, version: Version = None, home: Home = None) -> None:
    """Measure a version on held-out patients whose images are reframed, exposed and sharpened differently."""
    from cli.console import err, table
    from local import announcing
    from queries import versions
    from shared.base import settings
    from trainer import robustness
    from trainer.listing import Site

    chosen = settings.load(home)
    loaded = versions.load_for_measuring(chosen, version)
    measured = robustness.measure(loaded, data, err, Site.of(chosen, announcing.known_secret(chosen)))
    table(
        ("what", "images", "AUC", "recall", "specificity"),
        [
            (row.name, row.images, _rounded(row.auc, 4), _rounded(row.recall), _rounded(row.specificity))
            for row in measured
        ],
        f"{loaded.manifest.version} on held-out patients",
    )


@app.command(epilog="Example: pneumoscreen models measure novelty --data ~/labelled --images ~/other-images")
def novelty(
    data: Data,
    version: Version = None,
    home: Home = None,
    images: Annotated[
        Path | None, typer.Option(help="A folder that holds a folder of other images for each further family.")
    ] = None,
    elsewhere: Annotated[
        Path | None,
        typer.Option(help="A labelled folder of another site: a limit of its own is fitted to it, without the labels."),
    ] = None,
) -> None:
    """Measure which share of X-rays, and of images that are no chest X-rays, a version's novelty check flags."""
    from cli.console import err, table
    from local import announcing
    from queries import versions
    from shared.base import settings
    from trainer import novelty
    from trainer.listing import Site

    chosen = settings.load(home)
    loaded = versions.load_for_measuring(chosen, version)
    report = novelty.measure(loaded, data, images, err, Site.of(chosen, announcing.known_secret(chosen)), elsewhere)
    check = "its own check" if report.is_own else "a check fitted to this data"
    rows = (*report.xrays, *report.there, *report.families, *report.changed)
    there, columns = "", 1
    if report.limit_there is not None:
        there, columns = f", of the other site {report.limit_there:.3f}", 2
    table(
        ("what", "images", *("flagged", "by the site's limit")[:columns]),
        [(row.name, row.images, *map(_rounded, (row.flagged, row.flagged_there)[:columns])) for row in rows],
        f"{loaded.manifest.version}, {check}, limit {report.limit:.3f}{there}",
    )


@app.command(epilog="Example: pneumoscreen models measure evidence --data ~/labelled")
def evidence(
    data: Data,
    version: Version = None,
    home: Home = None,
    all_images: Annotated[
        bool, typer.Option("--all", help="All images of the folder, not those of held-out patients alone.")
    ] = False,
) -> None:
    """Measure where a version looks: its evidence maps, and its answers when parts of the picture are covered."""
    from cli.console import err, table
    from local import announcing
    from queries import versions
    from shared.base import settings
    from trainer import datasets, evidence
    from trainer.listing import Site

    chosen = settings.load(home)
    loaded = versions.load_for_measuring(chosen, version)
    site = Site.of(chosen, announcing.known_secret(chosen))
    images = datasets.read_to_measure(data, loaded.manifest.preprocessing, err, site)
    images = images if all_images else datasets.select_held_out(images, data)
    network = loaded.network

    measured = evidence.measure(images, network.logits, network.answers if network.has_evidence else None, err)
    who = "all patients" if all_images else "patients held out"
    table(
        ("what", "value", "95 % interval", "chance"),
        evidence.rows_of(measured),
        f"{loaded.manifest.version}, {measured['images']} images of {measured['patients']} {who}",
    )
    if not network.has_evidence:
        err.print(f"{loaded.manifest.version} has no evidence map: its answers alone were measured.", style="yellow")


@app.command(
    "operating-points",
    epilog="Example: pneumoscreen models measure operating-points --data ~/site-b --groups view --words 30,60,90",
)
def operating_points(
    data: Data,
    version: Version = None,
    home: Home = None,
    words: Annotated[str, typer.Option(help="Numbers of words to fit to, with commas between.")] = "30,60,90",
    recall: Annotated[float, typer.Option(help="The recall that is wanted.")] = 0.95,
    groups: Annotated[str | None, typer.Option(help="A column of labels.csv: its values are told apart.")] = None,
    rounds: Annotated[int, typer.Option(help="Random choices of patients for each number of words.", min=1)] = 200,
    fine_tune: Annotated[
        int | None, typer.Option(help="Also fine-tune the version, in five folds, for so many epochs.", min=1)
    ] = None,
) -> None:
    """Measure what an operating point from a few words gives, beside the version's own threshold and fine-tuning."""
    from cli.console import err, out, table
    from local import announcing
    from queries import versions
    from shared.base import settings
    from shared.base.errors import InvalidRequest
    from trainer import site_points
    from trainer.listing import Site
    from trainer.plan import Plan

    try:
        numbers = [int(number) for number in words.split(",")]
    except ValueError as error:
        raise InvalidRequest(f"--words takes numbers with commas between, as 30,60,90, not {words!r}.") from error
    chosen = settings.load(home)
    site = Site.of(chosen, announcing.known_secret(chosen))
    loaded = versions.load_for_measuring(chosen, version)
    plan = None
    if fine_tune is not None:
        start, work = versions.folder_of(chosen, version), chosen.home / "training"
        plan = Plan(loaded.manifest.architecture, work, work, fine_tune, start_from=start, site=site)
    scored = site_points.score(loaded, data, groups, err, site)
    rows = site_points.measure(loaded, scored, numbers, recall, err, rounds, plan)
    for name, area in site_points.measure_auc(scored).items():
        if area is not None:
            out.print(f"AUC, {name}: {area['value']:.3f} ({area['low']:.3f} to {area['high']:.3f})", markup=False)
    names = list(rows[0].rates)
    heads = [f"{figure}, {name}" for name in names for figure in ("recall", "specificity")]
    table(
        ("fitted to", *heads, "recall in 9 rounds of 10"),
        [
            (row.name, *(_rounded(rate) for name in names for rate in row.rates[name]), _rounded(row.lowest))
            for row in rows
        ],
        f"{loaded.manifest.version} on patients that nothing was fitted to, recall of {recall:g} wanted",
    )


@app.command(epilog="Example: pneumoscreen models measure group-holdout --data ~/labelled --epochs 3")
def group_holdout(
    data: Data,
    home: Home = None,
    architecture: Annotated[str, typer.Option(help="What to train, as for `pneumoscreen train`.")] = "screen",
    epochs: Annotated[int | None, typer.Option(help="Passes over the images; the recipe's own if left out.")] = None,
    seed: Annotated[int, typer.Option(help="Of weights, order and augmentation.")] = 1,
    sizes: Annotated[
        Path | None,
        typer.Option(
            help="CSV with columns file, width, height of the originals, if the images were resized.", exists=True
        ),
    ] = None,
    only: Annotated[str | None, typer.Option(help="Only groups whose name matches this regular expression.")] = None,
    work: Annotated[
        Path | None, typer.Option(help="Checkpoints and figures of finished groups. Default: HOME/training.")
    ] = None,
) -> None:
    """Train once for each group of images that is left out, and measure the network on that group."""
    from cli.console import err, out, table
    from local import announcing
    from shared.base import settings
    from trainer import group_holdout
    from trainer.listing import Site
    from trainer.plan import Plan

    chosen = settings.load(home)
    folder = work or chosen.home / "training"
    plan = Plan(architecture, folder, folder, epochs, seed, site=Site.of(chosen, announcing.known_secret(chosen)))
    measured = group_holdout.measure(plan, data, sizes, only, err)
    table(
        ("left out", "images", "AUC", "recall", "specificity"),
        [
            (row.group, row.images, _rounded(row.auc), _rounded(row.recall), _rounded(row.specificity))
            for row in group_holdout.sort_worst_first(measured)
        ],
        f"{architecture}, groups left out, worst recall first",
    )
    out.print("The worst group says most about another hospital.")


def _rounded(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"
