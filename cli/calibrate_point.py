"""`calibrate fit|apply|rollback|list`: operating points of a source."""

from pathlib import Path
from typing import Annotated

import typer

from cli.calibrate import Home
from cli.calibrate import app as app

SourceName = Annotated[str, typer.Option(help="The source, as `pneumoscreen sources` names it.")]
By = Annotated[str | None, typer.Option(help="Who does it.")]
Reason = Annotated[str | None, typer.Option(help="Why; it is recorded.")]


@app.command("fit", epilog="Example: pneumoscreen calibrate fit --source ward-7 --recall 0.95")
def fit(
    source: SourceName,
    recall: Annotated[float, typer.Option(help="The recall that is to be proved, from 0.5 to below 1.")] = 0.95,
    home: Home = None,
    draw: Annotated[
        int | None,
        typer.Option(help="The random draw whose words are taken; the source's newest that has words if left out."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="A labelled folder of the source's images, instead of a draw.", exists=True, file_okay=False),
    ] = None,
    prevalence: Annotated[
        float | None, typer.Option(help="With --data: the share of ill images at the source, if not the folder's.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A published version; the live one if left out.")] = None,
    rescore: Annotated[
        bool, typer.Option("--rescore", help="First have the version score what it has not seen of the draw.")
    ] = False,
    by: By = None,
    pictures: Annotated[Path | None, typer.Option(help="A folder for the reliability picture.")] = None,
    format: Annotated[str, typer.Option(help="table or json.")] = "table",
) -> None:
    """Fit an operating point and store it; nothing changes before `calibrate apply`."""
    from cli import calibration
    from shared.base import settings

    request = calibration.Request(source, recall, draw, data, prevalence, model, rescore, by)
    calibration.fit(settings.load(home), request, pictures, format)


@app.command("apply", epilog="Example: pneumoscreen calibrate apply 3 --by 'Dr. Okafor' --reason 'reviewed draw 1'")
def apply(
    number: Annotated[int, typer.Argument(help="The point's number: `calibrate list` shows it.")],
    by: By = None,
    reason: Reason = None,
    provisional: Annotated[
        bool, typer.Option("--provisional", help="Take a point although the words do not prove its recall.")
    ] = False,
    home: Home = None,
) -> None:
    """Have a source's images read by a point from now on; no result changes."""
    from cli import calibration
    from shared.base import settings

    calibration.apply(settings.load(home), number, by, reason, provisional=provisional)


@app.command("rollback", epilog="Example: pneumoscreen calibrate rollback --source ward-7 --by Ada --reason 'too many'")
def rollback(source: SourceName, by: By = None, reason: Reason = None, home: Home = None) -> None:
    """Go back to the point before, or to the version's own threshold."""
    from cli import calibration
    from shared.base import settings

    calibration.rollback(settings.load(home), source, by, reason)


@app.command("list", epilog="Example: pneumoscreen calibrate list --source ward-7")
def list_points(
    source: Annotated[str | None, typer.Option(help="Only this source.")] = None,
    home: Home = None,
    format: Annotated[str, typer.Option(help="table or json.")] = "table",
) -> None:
    """Every operating point, the newest first: what it rests on, and whether it is applied."""
    from cli import calibration
    from shared.base import settings

    calibration.list_points(settings.load(home), source, format)
