"""Fit the bundled network to the children's chest X-rays of Kermany et al. and publish it as a model version."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from shared.base.errors import PneumoscreenError
from trainer.pipeline import About, Order, make

EXAMPLE = "example: python -m trainer.first_model --data kermany/train --out shared/bundled --work runs/first"

KERMANY = About(
    source={
        "source": "Kermany, Zhang & Goldbaum: Labeled Optical Coherence Tomography (OCT) and Chest X-Ray Images for "
        "Classification, Mendeley Data, version 2",
        "doi": "10.17632/rscbjbr9sj.2",
        "licence": "CC BY 4.0",
    },
    population={
        "description": "children of one to five years",
        "age_years": {"lowest": 1, "highest": 5},
        "view": "anterior-posterior",
        "sites": ["Guangzhou Women and Children's Medical Center"],
    },
)


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and make the version; returns the exit code."""
    options = _parser().parse_args(arguments)
    console = Console()
    order = Order(
        architecture="screen",
        out=options.out,
        work=options.work,
        epochs=options.epochs,
        seed=options.seed,
        limit=options.limit,
        command="python -m trainer.first_model --out DIR --work DIR",
    )
    try:
        make(order, options.data, console, KERMANY)
    except PneumoscreenError as error:
        console.print(f"error: {error}", markup=False, soft_wrap=True)
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m trainer.first_model", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--data", type=Path, required=True, help="folder with NORMAL and PNEUMONIA in it")
    parser.add_argument("--out", type=Path, required=True, help="where the version's folder goes")
    parser.add_argument("--work", type=Path, required=True, help="checkpoints: the same command goes on after a kill")
    parser.add_argument("--epochs", type=int, help="passes over the images (default: the recipe's)")
    parser.add_argument("--seed", type=int, default=1, help="of weights, order and augmentation (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="use only so many images, chosen by the seed: for a quick try")
    return parser


if __name__ == "__main__":
    sys.exit(main())
