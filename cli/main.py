"""The command line: what each command takes, and what its help says. The work is done elsewhere."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from redis.exceptions import RedisError
from sqlalchemy.exc import InterfaceError, OperationalError

from cli import console
from local import services
from shared import __version__
from shared.base import home as home_folder
from shared.base import settings
from shared.base.errors import PneumoscreenError, ServiceUnavailable, WorkFailed
from shared.base.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Screen chest X-rays for pneumonia in bulk. A screening aid, never a diagnosis: not a medical device.",
    epilog="Exit codes: 0 done, 1 the work failed or needs a person, 2 wrong usage, 3 a service is out of reach.",
)
db = typer.Typer(no_args_is_help=True, help="Look after the database.")
models = typer.Typer(no_args_is_help=True, help="Look at model versions.")
app.add_typer(db, name="db")
app.add_typer(models, name="models")

Home = Annotated[
    Path | None,
    typer.Option(help="Home folder. Default: PNEUMOSCREEN_HOME, else the running system's, else ~/.pneumoscreen."),
]


def _load(home: Path | None) -> Settings:
    return settings.load(home)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """The options of the command itself."""


@app.command(epilog="Example: pneumoscreen up --inbox ~/xrays")
def up(
    home: Annotated[
        Path | None, typer.Option(help="Home folder. Default: PNEUMOSCREEN_HOME, else ~/.pneumoscreen.")
    ] = None,
    inbox: Annotated[Path | None, typer.Option(help="A folder to watch; made if it is missing.")] = None,
    flower_port: Annotated[str, typer.Option(help="Flower's port on 127.0.0.1: a number, auto or off.")] = "auto",
    trainer: Annotated[bool, typer.Option(help="Retrain here too; without, a trainer may run on another host.")] = True,
) -> None:
    """Run the whole system on this machine until Ctrl-C or SIGTERM, which finish running batches first."""
    from cli.up import up

    up(home or home_folder.default_home(), inbox, flower_port, trainer=trainer)


@app.command(epilog="Example: pneumoscreen demo --home demo-home")
def demo(
    home: Annotated[Path, typer.Option(help="Where the demo's database is left; an earlier demo there is removed.")],
    samples: Annotated[Path, typer.Option(help="The images to drop.")] = Path("samples"),
) -> None:
    """Start everything, drop the computer-generated specimens, show their rows, stop."""
    from cli.demo import demo

    demo(home, samples)


@app.command(epilog="Example: PNEUMOSCREEN_BROKER_URL=redis://broker/0 pneumoscreen producer")
def producer(home: Home = None) -> None:
    """Watch the folders of the settings, register what is dropped, send it to the workers, recover what got lost."""
    services.producer(_load(home))


@app.command(epilog="Example: PNEUMOSCREEN_PROCESSES=2 pneumoscreen worker")
def worker(home: Home = None) -> None:
    """Classify what the producers send: a Celery worker that loads the network once per process."""
    services.worker(_load(home))


@app.command(epilog="Example: PNEUMOSCREEN_TRAINING_DATA=/data/labelled pneumoscreen trainer")
def trainer(home: Home = None) -> None:
    """Retrain on a schedule and when there are new labels; what passes the gate goes live, what does not is kept."""
    services.trainer(_load(home))


@app.command(epilog="Example: pneumoscreen flower --port 5555")
def flower(
    home: Home = None, port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 5555
) -> None:
    """Show the work under way in a browser; on this machine only, unless a password is set (see flower_host)."""
    services.flower(_load(home), port)


@app.command(epilog="Example: pneumoscreen status")
def status(home: Home = None) -> None:
    """Tell in one screen what waits, what was done, who works, and what needs a person (exit code 1)."""
    from cli.status import status

    status(_load(home))


@app.command(epilog="Example: pneumoscreen screen ~/old-archive/2024 one-more.png")
def screen(
    paths: Annotated[list[Path], typer.Argument(help="Images, or folders of images.", exists=True)], home: Home = None
) -> None:
    """Submit existing files and wait for their rows; files outside every watched folder are copied in first."""
    from cli.screen import screen

    screen(_load(home), paths)


@app.command(epilog="Example: pneumoscreen results --label PNEUMONIA --since 2026-01-31 --format csv > positives.csv")
def results(
    home: Home = None,
    state: Annotated[
        str | None, typer.Option(help="waiting, done or quarantined; with --history also superseded.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="NORMAL or PNEUMONIA, in capitals or not.")] = None,
    path: Annotated[str | None, typer.Option(help="Only paths that contain this.")] = None,
    root: Annotated[str | None, typer.Option(help="Only this watched folder.")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model version.")] = None,
    since: Annotated[str | None, typer.Option(help="Only images seen since this date or time (UTC).")] = None,
    to_review: Annotated[
        bool,
        typer.Option("--to-review", help="What a reader should see first, of what nobody has reviewed."),
    ] = False,
    limit: Annotated[int | None, typer.Option(help="At most so many rows; 50 in a table, else all.", min=1)] = None,
    format: Annotated[str, typer.Option(help="table, csv, json or parquet.")] = "table",
    history: Annotated[
        bool, typer.Option("--history", help="Every sighting and prediction, not the newest alone.")
    ] = False,
) -> None:
    """Print rows of the view `results`, newest first; --to-review: unfamiliar, near the threshold, positive first."""
    from cli.results import Filters, results

    results(_load(home), Filters(state, label, path, root, model, since, to_review), limit, format, history)


@app.command(epilog="Example: pneumoscreen review ward-7/scan.dcm NORMAL --by 'Dr. Okafor'")
def review(
    target: Annotated[
        str | None, typer.Argument(help="A path as `results` shows it, ROOT/PATH, or a sighting_id.")
    ] = None,
    label: Annotated[str | None, typer.Argument(help="NORMAL or PNEUMONIA.")] = None,
    home: Home = None,
    by: Annotated[str | None, typer.Option(help="Who says so.")] = None,
    note: Annotated[str | None, typer.Option(help="Why, in a few words; nothing that names a patient.")] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            help="Many at once: columns sha256, sighting_id or path; reviewed_label or label; by, note, reviewed_at.",
            exists=True,
        ),
    ] = None,
) -> None:
    """Record a reader's word on an image: nothing is overwritten, and the last word counts."""
    from cli.review import review

    review(_load(home), target, label, by, note, csv)


@app.command(epilog="Example: pneumoscreen retry --all")
def retry(
    paths: Annotated[list[str] | None, typer.Argument(help="Paths as `results` shows them.")] = None,
    home: Home = None,
    reason: Annotated[str | None, typer.Option(help="All whose reason contains this.")] = None,
    all: Annotated[bool, typer.Option("--all", help="Everything that is quarantined.")] = False,
    by: Annotated[str | None, typer.Option(help="Who asks for it; the user's name if left out.")] = None,
) -> None:
    """Screen quarantined images again, after what was wrong with them has been mended."""
    from cli.retry import retry

    retry(_load(home), paths or [], reason, all, by)


@app.command("inspect", epilog="Example: pneumoscreen inspect odd.dcm --png seen.png")
def inspect_command(
    file: Annotated[Path, typer.Argument(help="A picture or DICOM file.", exists=True, dir_okay=False)],
    home: Home = None,
    png: Annotated[Path | None, typer.Option(help="Write what the network is shown, as PNG.", dir_okay=False)] = None,
    format: Annotated[str, typer.Option(help="table or json.")] = "table",
) -> None:
    """Tell how one file is read: what its header states, what was assumed, and the picture as the network sees it."""
    from cli.inspect import inspect_file

    inspect_file(_load(home), file, png, format)


@app.command(epilog="Example: pneumoscreen bench --images ~/xrays --only system,limit,script --json")
def bench(
    images: Annotated[
        Path | None,
        typer.Option(help="A folder of X-rays to make the files from, else specimens.", exists=True, file_okay=False),
    ] = None,
    only: Annotated[
        str, typer.Option(help="What to measure, with commas between; `all` is everything, for about 70 minutes.")
    ] = "system,limit,script",
    files: Annotated[int, typer.Option(help="How many files of distinct bytes to make.", min=100)] = 2000,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds; the medians are reported.", min=1)] = 1,
    out: Annotated[
        Path | None, typer.Option(help="A folder for bench.json, bench.md and the chart bench.svg.", file_okay=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure on this machine: the whole system, the limit of one process, and image by image."""
    from bench.rows import ROWS
    from bench.run import bench
    from local import private_broker

    chosen = list(ROWS) if only == "all" else only.split(",")
    bench(images, chosen, files, rounds, private_broker.server, out, as_json=json)


@db.command(epilog="Example: pneumoscreen db upgrade")
def upgrade(home: Home = None) -> None:
    """Bring the database's schema up to date, or make a new one, and install the bundled model if none is live."""
    from cli.upgrade import upgrade

    upgrade(_load(home))


@db.command(epilog="Example: pneumoscreen db backup /backups/pneumoscreen-2026-01-31.backup")
def backup(
    file: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")], home: Home = None
) -> None:
    """Write a backup of the database while everything goes on."""
    from cli.backup import backup

    backup(_load(home), file)


@db.command(epilog="Example: pneumoscreen db restore /backups/pneumoscreen-2026-01-31.backup")
def restore(
    file: Annotated[Path, typer.Argument(help="What `db backup` wrote.", exists=True, dir_okay=False)],
    home: Home = None,
    yes: Annotated[bool, typer.Option("--yes", help="Replace what is there, without asking.")] = False,
) -> None:
    """Replace the database by a backup; stop producers and workers first."""
    from cli.restore import restore

    restore(_load(home), file, yes)


@db.command(epilog="Example: pneumoscreen db prune --older-than 365 --dry-run")
def prune(
    older_than: Annotated[int, typer.Option(help="Days since the row became final.", min=1)],
    home: Home = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be deleted.")] = False,
) -> None:
    """Delete old history and bookkeeping, and the results of files that are gone from their folder."""
    from cli.prune import prune

    prune(_load(home), older_than, dry_run)


@db.command(epilog="Example: pneumoscreen db forget ward-7/scan.dcm --by 'A. Nurse'")
def forget(
    target: Annotated[
        str, typer.Argument(help="A path as `results` shows it, ROOT/PATH, or the SHA-256 of a content.")
    ],
    by: Annotated[str, typer.Option(help="Who asks for it.")],
    home: Home = None,
    yes: Annotated[bool, typer.Option("--yes", help="Without asking.")] = False,
) -> None:
    """Erase every row about a file and its content; that something was erased stays on record."""
    from cli.forget import forget

    forget(_load(home), target, by, yes)


@app.command(epilog="Example: pneumoscreen train --architecture screen --data ~/labelled")
def train(
    data: Annotated[
        Path, typer.Option(help="Labelled folders: NORMAL and PNEUMONIA, or train, val, test with those.", exists=True)
    ],
    home: Home = None,
    architecture: Annotated[
        str,
        typer.Option(
            help="What to train: screen, tiny7, variants, variants:all, blocks5, grey150, rgb224 or transfer:NAME "
            "(docs/models.md)."
        ),
    ] = "screen",
    epochs: Annotated[int | None, typer.Option(help="Passes over the images; the recipe's own if left out.")] = None,
    seed: Annotated[int, typer.Option(help="Of weights, order and augmentation.")] = 1,
    start_from: Annotated[
        str | None,
        typer.Option("--from", help="Fine-tune this published version on the data instead of starting anew."),
    ] = None,
    original: Annotated[
        Path | None,
        typer.Option(help="With --from: what that version was fitted to, to measure what it loses there.", exists=True),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Use only so many images, chosen by the seed.", min=20)] = None,
    out: Annotated[Path | None, typer.Option(help="Where the version's folder goes. Default: HOME/candidates.")] = None,
) -> None:
    """Train a model version and examine it on patients held out; `models publish` and `models promote` come after."""
    from cli.train import train

    train(_load(home), data, architecture, epochs, seed, start_from, limit, out, original)


@app.command(epilog="Example: pneumoscreen rescreen --model screen-20260131-0a1b2c3d --since 2026-01-01")
def rescreen(
    model: Annotated[str, typer.Option(help="The published version that is to screen them again.")],
    home: Home = None,
    root: Annotated[str | None, typer.Option(help="Only this watched folder.")] = None,
    since: Annotated[str | None, typer.Option(help="Only images seen since this date or time (UTC).")] = None,
    by: Annotated[str | None, typer.Option(help="Who asks for it; the user's name if left out.")] = None,
) -> None:
    """Have one version screen again what another did, in the background lane; the old results stay in the history."""
    from cli.rescreen import rescreen

    rescreen(_load(home), model, root, since, by)


@models.command(
    "publish", epilog="Example: pneumoscreen models publish ~/.pneumoscreen/candidates/screen-20260131-0a1b2c3d"
)
def models_publish(
    folder: Annotated[Path, typer.Argument(help="A version's folder.", exists=True, file_okay=False)], home: Home = None
) -> None:
    """Verify a version's folder and make it known; it is not live before it is promoted."""
    from cli.versions import publish

    publish(_load(home), folder)


@models.command(
    "promote", epilog="Example: pneumoscreen models promote screen-20260131-0a1b2c3d --by Ada --data ~/labelled"
)
def models_promote(
    version: Annotated[str, typer.Argument(help="A published version.")],
    by: Annotated[str, typer.Option(help="Who does it.")],
    home: Home = None,
    data: Annotated[
        Path | None, typer.Option(help="Labelled folders on whose held-out patients the gate compares.", exists=True)
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="Promote without the gate, or against it, for this reason; it is recorded.")
    ] = None,
) -> None:
    """Make a version live if it passes the gate against the live one; workers take it with their next message."""
    from cli.versions import promote

    promote(_load(home), version, by, data, reason)


@models.command("rollback", epilog="Example: pneumoscreen models rollback --by Ada --reason 'too many false alarms'")
def models_rollback(
    by: Annotated[str, typer.Option(help="Who does it.")],
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")],
    home: Home = None,
) -> None:
    """Make the version live again that was live before."""
    from cli.versions import rollback

    rollback(_load(home), by, reason)


@models.command("evaluate", epilog="Example: pneumoscreen models evaluate --data ~/labelled --format json")
def models_evaluate(
    data: Annotated[Path, typer.Option(help="Labelled folders: NORMAL and PNEUMONIA.", exists=True, file_okay=False)],
    version: Annotated[str | None, typer.Argument(help="A version; the live one if none is named.")] = None,
    home: Home = None,
    format: Annotated[str, typer.Option(help="table or json.")] = "table",
    pictures: Annotated[
        Path | None, typer.Option(help="A folder for ROC, calibration curve and confusion matrix.")
    ] = None,
) -> None:
    """Examine a version on a labelled folder, through the preprocessing and inference of the worker."""
    from cli.evaluate import evaluate

    evaluate(_load(home), version, data, format, pictures)


@models.command("list", epilog="Example: pneumoscreen models list")
def models_list(home: Home = None) -> None:
    """Every published version, and which one is live."""
    from cli.models import list_versions

    list_versions(_load(home))


@models.command("show", epilog="Example: pneumoscreen models show")
def models_show(
    version: Annotated[str | None, typer.Argument(help="A version; the live one if none is named.")] = None,
    home: Home = None,
) -> None:
    """A version's manifest: data, metrics, threshold, checksums."""
    from cli.models import show

    show(_load(home), version)


def main() -> None:
    """The entry point: errors of ours become a sentence and an exit code, never a traceback."""
    try:
        app()  # ends the process itself, with exit code 2 for wrong usage
    except PneumoscreenError as error:
        _end(error)
    except (OperationalError, InterfaceError) as error:
        _end(ServiceUnavailable(f"The database is out of reach: {' '.join(str(error.orig).split())}"))
    except OSError as error:  # a home that cannot be made, a disk that is full
        _end(WorkFailed(f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")))
    except RedisError as error:
        _end(ServiceUnavailable(f"The broker is out of reach: {error}"))


def _end(error: PneumoscreenError) -> NoReturn:
    console.err.print(f"Error: {error}", style="red", markup=False)
    sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
