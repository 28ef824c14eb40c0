"""`calibrate …`: a random sample of a source, read blind."""

import csv
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True, help="Fit how a source reads a version's scores, on a random sample read blind."
)

Home = Annotated[
    Path | None,
    typer.Option(help="Home folder. Default: PNEUMOSCREEN_HOME, else the running system's, else ~/.pneumoscreen."),
]


@app.command(epilog="Example: pneumoscreen calibrate draw --source ward-7 --by 'Dr. Okafor'")
def draw(
    source: Annotated[str, typer.Option(help="The source whose images are drawn.")],
    by: Annotated[str | None, typer.Option(help="Who draws; the user's name if left out.")] = None,
    n: Annotated[
        int | None,
        typer.Option("--n", help="How many; left out: as many as should hold 59 positives, which prove 0.95.", min=1),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the random numbers; a random one if left out.")] = None,
    since: Annotated[str | None, typer.Option(help="Only images seen since this date or time (UTC).")] = None,
    home: Home = None,
) -> None:
    """Draw images at random, more of those with an uncertain score, and store with which probability each was drawn."""
    from datetime import UTC, datetime

    from actions import actor, draws
    from actions.draws import MAX_SEED, Wanted
    from cli.console import out
    from queries.instant import instant
    from shared.base import settings
    from shared.database import opened

    wanted = Wanted(
        source=source,
        seed=secrets.randbelow(MAX_SEED) if seed is None else seed,
        size=n,
        since=instant(since, "--since") if since else None,
    )
    with opened(settings.load(home)) as database, database.write() as session:
        drawn = draws.draw(session, wanted, actor.named_or_user(by), datetime.now(UTC))
    out.print(
        f"Draw {drawn.draw}: {drawn.images} of {drawn.population} images of {drawn.source}, in {drawn.strata} strata "
        f"of the score of {drawn.model_version}, seed {drawn.seed}."
    )
    needed = drawn.positives_needed
    out.print(
        f"{needed} positives that are all found prove a recall of 0.95 (0.95^{needed} = {0.95**needed:.3f}, below "
        f"0.05); by the version's own probabilities, {drawn.expected_positives:.0f} of these are positive."
    )
    if drawn.is_everything_needed:
        out.print(
            f"Not even all {drawn.population} images should hold so many: less will be proved, or more must come."
        )
    out.print(
        f"`pneumoscreen calibrate list-draw {drawn.draw} --format csv` prints what is to be read; "
        f"`pneumoscreen review --csv FILE --draw {drawn.draw} --by NAME` takes the words."
    )


@app.command("list-draw", epilog="Example: pneumoscreen calibrate list-draw 3 --format csv > to-read.csv")
def list_draw(
    number: Annotated[int | None, typer.Argument(metavar="[DRAW]", help="The draw; the newest if left out.")] = None,
    source: Annotated[str | None, typer.Option(help="The newest draw of this source.")] = None,
    unread: Annotated[bool, typer.Option("--unread", help="Only what nobody has read blind yet.")] = False,
    format: Annotated[str, typer.Option(help="table or csv.")] = "table",
    home: Home = None,
) -> None:
    """Print number and path of each image of a draw: no label, no score, and no order that tells anything."""
    from cli.console import err, table
    from queries.draws import reading_list
    from shared.base import settings
    from shared.base.errors import InvalidRequest
    from shared.database import opened

    if format not in ("table", "csv"):
        raise InvalidRequest(f"--format must be table or csv, not {format!r}.")
    with opened(settings.load(home)) as database, database.read() as session:
        found = reading_list(session, number, source, unread=unread)
    rows = [(entry.number, entry.path) for entry in found.entries]
    if format == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerows([("number", "path"), *rows])
    else:
        table(("number", "path"), rows, f"Draw {found.draw} of {found.source}")
    gone = f"; {found.gone} are not in the source any more, and stay unread" if found.gone else ""
    err.print(f"{found.read} of {found.images} images of draw {found.draw} have been read blind{gone}.")
