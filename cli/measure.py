"""`models measure …`: tools that tell how well a model transfers and what its novelty check flags."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Measure how well a model transfers, and what its novelty check flags.")

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
    report = novelty.measure(loaded, data, images, err, Site.of(chosen, announcing.known_secret(chosen)))
    check = "its own check" if report.is_own else "a check fitted to this data"
    table(
        ("what", "images", "flagged"),
        [(row.name, row.images, _rounded(row.flagged)) for row in (*report.xrays, *report.families, *report.changed)],
        f"{loaded.manifest.version}, {check}, limit {report.limit:.3f}",
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
    from trainer.pipeline import Plan

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
