"""The command line: what each command takes, and what its help says. The work is done elsewhere.

Each command imports what it needs when it runs, so that `--version` and `--help` answer at once.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cli.calibrate_point import app as calibrate
from cli.measure import app as measure
from cli.outbox import app as outbox
from cli.users import app as users
from shared import __version__
from shared.base import stopping, surroundings
from shared.base.decoder import DECODER_REVISION
from shared.base.errors import InvalidRequest, PneumoscreenError, ServiceUnavailable, WorkFailed
from shared.base.schema import SCHEMA

if TYPE_CHECKING:
    from sqlalchemy.exc import DBAPIError

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
app.add_typer(outbox, name="outbox")
models.add_typer(measure, name="measure")
app.add_typer(calibrate, name="calibrate")
app.add_typer(users, name="users")

Home = Annotated[
    Path | None,
    typer.Option(help="Home folder. Default: PNEUMOSCREEN_HOME, else the running system's, else ~/.pneumoscreen."),
]


WHICH = "a path as `results` shows it, SOURCE/PATH, the path given to `screen`, a sighting_id, or a SHA-256"
"""How every command is told which image is meant: `shared/ledger/lookup.py`."""


def _load(home: Path | None) -> "Settings":
    from shared.base import settings

    chosen = settings.load(home)
    surroundings.use(chosen.home)
    return chosen


def _load_service(home: Path | None) -> "Settings":
    """For a program that runs for long: it leaves the working folder, against which the home is still taken."""
    chosen = _load(home)
    surroundings.settle(chosen.home)
    return chosen


def _home(home: Path | None) -> Path:
    """For what tells of settings that cannot be loaded."""
    from shared.base.home import find_home, resolve

    return resolve(home or find_home())


def _renamed(old: str, new: str, value: str | None) -> str | None:
    """The value of an option's old name, with a warning where it is used."""
    if value is not None:
        from cli import console

        console.err.print(f"{old} is called {new} now; the old name will go with the next release.", style="yellow")
    return value


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"pneumoscreen {__version__} (schema {SCHEMA}, decoder revision {DECODER_REVISION})")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the versions.", is_eager=True, callback=_print_version)
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
    web_port: Annotated[
        str, typer.Option(help="The pages' port: a number, auto (web_port, or a free one near it) or off.")
    ] = "auto",
    trainer: Annotated[bool, typer.Option(help="Retrain here too; without, a trainer may run on another host.")] = True,
) -> None:
    """Run the whole system on this machine until Ctrl-C or SIGTERM, which finish running batches first."""
    from cli.up import up
    from shared.base.home import default_home

    up(home or default_home(), inbox, flower_port, web_port, trainer=trainer)


@app.command(epilog="Example: pneumoscreen demo --home demo-home")
def demo(
    home: Annotated[Path, typer.Option(help="Where the demo's database is left; an earlier demo there is removed.")],
    samples: Annotated[Path, typer.Option(help="The images to drop.")] = Path("samples"),
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running until Ctrl-C, to look at the pages.")] = False,
) -> None:
    """Start everything, drop the computer-generated specimens, show their rows, stop."""
    from cli.demo import demo

    with stopping.in_order():
        demo(home, samples, keep=keep)


@app.command(epilog="Example: PNEUMOSCREEN_BROKER_URL=redis://broker/0 pneumoscreen producer")
def producer(home: Home = None) -> None:
    """Watch the folders of the settings, register what is dropped, send it to the workers, recover what got lost."""
    from local import services

    services.producer(_load_service(home))


@app.command(epilog="Example: PNEUMOSCREEN_NODE_METRICS_PORT=9103 pneumoscreen node")
def node(home: Home = None) -> None:
    """Receive images by DICOM, for each source of the kind `dicom`: a service beside the producer, which sends them."""
    from local import services

    services.node(_load_service(home))


@app.command(epilog="Example: PNEUMOSCREEN_PROCESSES=2 pneumoscreen worker")
def worker(home: Home = None) -> None:
    """Classify what the producers send: a Celery worker that loads the network once per process."""
    from local import services

    services.worker(_load_service(home))


@app.command(epilog="Example: pneumoscreen courier")
def courier(home: Home = None) -> None:
    """Send reports, captures and messages to the destinations of the settings; what they do not take yet waits."""
    from local import services

    services.courier(_load_service(home))


@app.command(epilog="Example: PNEUMOSCREEN_TRAINING_DATA=/data/labelled pneumoscreen trainer")
def trainer(home: Home = None) -> None:
    """Retrain on a schedule and when there are new labels; what passes the gate goes live, what does not is kept."""
    from local import services

    services.trainer(_load_service(home))


@app.command(epilog="Example: pneumoscreen flower --port 5555")
def flower(
    home: Home = None, port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 5555
) -> None:
    """Show the work under way in a browser; on this machine only, unless a password is set (see flower_host)."""
    from local import services

    services.flower(_load_service(home), port)


@app.command(epilog="Example: pneumoscreen web --port 8600")
def web(
    home: Home = None,
    port: Annotated[
        int | None, typer.Option(help="The port to listen on; web_port if left out.", min=1, max=65535)
    ] = None,
) -> None:
    """Serve the pages on which people see the pictures and say their word; on this machine only, unless by TLS."""
    from local.services import check_metrics_port
    from web.server import serve

    settings = _load_service(home)
    check_metrics_port(settings, "web")
    serve(settings, port or settings.web_port)


@app.command(epilog="Example: pneumoscreen status")
def status(home: Home = None) -> None:
    """Tell in one screen what waits, what was done, who works, and what needs a person (exit code 1)."""
    from cli.status import status

    status(_load(home))


@app.command(epilog="Example: pneumoscreen sources --format json")
def sources(home: Home = None, format: Annotated[str, typer.Option(help="table or json.")] = "table") -> None:
    """Tell how each source is watched, what of it cannot be seen or is ignored, what waits; 1 if it needs a person."""
    from cli.sources import sources

    sources(_load(home), format)


@app.command(epilog="Example: pneumoscreen drift --source ward-7")
def drift(
    home: Home = None,
    source: Annotated[str | None, typer.Option(help="Only this source.")] = None,
    format: Annotated[str, typer.Option(help="table or json.")] = "table",
    accept: Annotated[
        bool, typer.Option("--accept", help="The change is known and well: compare with what comes from now on.")
    ] = False,
    by: Annotated[str | None, typer.Option(help="With --accept: who says so.")] = None,
    reason: Annotated[str | None, typer.Option(help="With --accept: what has changed, and why that is well.")] = None,
) -> None:
    """Tell whether each source's images still are what they were under the live version; 1 if some have changed."""
    from cli.drift import drift

    drift(_load(home), source, format, accept=accept, by=by, reason=reason)


@app.command(epilog="Example: pneumoscreen doctor")
def doctor(home: Home = None, format: Annotated[str, typer.Option(help="table or json.")] = "table") -> None:
    """Look for what goes wrong at a first installation; each problem has its way out (exit code 1 if there is one)."""
    from cli.doctor import doctor

    doctor(_home(home), format)


@app.command(epilog="Example: pneumoscreen screen ~/old-archive/2024 one-more.png")
def screen(
    paths: Annotated[list[Path], typer.Argument(help="Images, or folders of images.", exists=True)], home: Home = None
) -> None:
    """Submit existing files and wait for their rows; files outside every watched folder are copied in first."""
    from cli.screen import screen

    screen(_load(home), paths)


@app.command(epilog="Example: pneumoscreen results --label PNEUMONIA --since 2026-01-31 --format csv > positives.csv")
def results(
    which: Annotated[list[str] | None, typer.Argument(help=f"Only these images: {WHICH}.")] = None,
    home: Home = None,
    state: Annotated[
        str | None, typer.Option(help="waiting, done or quarantined; with --history also superseded.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="NORMAL or PNEUMONIA, in capitals or not.")] = None,
    path: Annotated[str | None, typer.Option(help="Only paths that contain this.")] = None,
    source: Annotated[str | None, typer.Option(help="Only this source.")] = None,
    root: Annotated[str | None, typer.Option(help="The old name of --source.", hidden=True)] = None,
    model: Annotated[str | None, typer.Option(help="Only this model version.")] = None,
    since: Annotated[str | None, typer.Option(help="Only images seen since this date or time (UTC).")] = None,
    accession: Annotated[str | None, typer.Option(help="Only this accession number.")] = None,
    study_uid: Annotated[str | None, typer.Option(help="Only images of this study.")] = None,
    patient: Annotated[
        str | None,
        typer.Option(help="Only images of the patient with this id, which is hashed, never stored or logged."),
    ] = None,
    issuer: Annotated[
        str | None, typer.Option(help="With --patient: who issued the id, if the DICOM headers name one.")
    ] = None,
    repaired: Annotated[
        bool, typer.Option("--repaired", help="Only where something had to be assumed about the file: decoded_with.")
    ] = False,
    to_review: Annotated[
        bool,
        typer.Option("--to-review", help="What a reader should see first, of what nobody has reviewed."),
    ] = False,
    blind: Annotated[
        bool, typer.Option("--blind", help="With --to-review: without what the model says, for words that train.")
    ] = False,
    limit: Annotated[int | None, typer.Option(help="At most so many rows; 50 in a table, else all.", min=1)] = None,
    format: Annotated[str, typer.Option(help="table, csv, json or parquet.")] = "table",
    history: Annotated[
        bool, typer.Option("--history", help="Every sighting and prediction, not the newest alone.")
    ] = False,
) -> None:
    """Print rows of the view `results`, newest first; --to-review: in the order of the worklist."""
    from cli.results import results
    from queries.results import Filters

    filters = Filters(
        names=which or (),
        state=state,
        label=label,
        path=path,
        source=source or _renamed("--root", "--source", root),
        model=model,
        accession=accession,
        study_uid=study_uid,
        history=history,
        repaired=repaired,
        to_review=to_review,
        blind=blind,
    )
    results(_load(home), filters, limit, format, since=since, patient=patient, issuer=issuer)


@app.command(epilog="Example: pneumoscreen review ward-7/scan.dcm NORMAL --by 'Dr. Okafor'")
def review(
    which: Annotated[str | None, typer.Argument(help=f"The image: {WHICH}.")] = None,
    label: Annotated[
        str | None, typer.Argument(help="NORMAL, PNEUMONIA, UNCLEAR or NOT_READABLE, in capitals or not.")
    ] = None,
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
    blind: Annotated[
        bool, typer.Option("--blind", help="The reader has not seen what the model says: such words train and count.")
    ] = False,
    draw: Annotated[
        int | None,
        typer.Option(help="Blind words on images of this draw (`calibrate draw`); the column `number` may name them."),
    ] = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take one's own word on the image back.")] = False,
) -> None:
    """Record a reader's word on an image: nothing is overwritten, and the last word counts."""
    from cli.review import review

    review(_load(home), which, label, by, note, csv, blind=blind, draw=draw, withdraw=withdraw)


@app.command(epilog="Example: pneumoscreen accuracy --source ward-7 --since 2026-01-31")
def accuracy(
    home: Home = None,
    source: Annotated[str | None, typer.Option(help="Only this source.")] = None,
    since: Annotated[str | None, typer.Option(help="Only images drawn since this date or time (UTC).")] = None,
    format: Annotated[str, typer.Option(help="table or json.")] = "table",
) -> None:
    """Tell how many are missed: recall, specificity and misses per 1,000, by images drawn at random and read blind."""
    from cli.accuracy import accuracy

    accuracy(_load(home), source, since, format)


@app.command("export-labels", epilog="Example: pneumoscreen export-labels ~/reviewed-2026-01 --by 'Dr. Okafor'")
def export_labels_command(
    target: Annotated[
        Path, typer.Argument(help="A new folder, which `train --data` reads; or a file .csv, for the table alone.")
    ],
    home: Home = None,
    by: Annotated[str | None, typer.Option(help="Who asks for it; the user's name if left out.")] = None,
) -> None:
    """Write the reviewed images, their labels and whose they are as a dataset; DICOM files keep their headers."""
    from cli.export_labels import export_labels

    export_labels(_load(home), target, by)


@app.command(epilog="Example: pneumoscreen retry --all")
def retry(
    which: Annotated[list[str] | None, typer.Argument(help=f"The images, each by {WHICH}.")] = None,
    home: Home = None,
    reason: Annotated[str | None, typer.Option(help="All whose reason contains this, but what is resolved.")] = None,
    all: Annotated[bool, typer.Option("--all", help="All that is quarantined, but what is resolved.")] = False,
    by: Annotated[str | None, typer.Option(help="Who asks for it; the user's name if left out.")] = None,
) -> None:
    """Screen quarantined images again, after what was wrong with them has been mended."""
    from cli.retry import retry

    retry(_load(home), which or [], reason, all, by)


@app.command(epilog="Example: pneumoscreen dismiss ward-7/report.pdf --by 'A. Nurse' --reason 'a letter, no X-ray'")
def dismiss(
    by: Annotated[str, typer.Option(help="Who says so.")],
    reason: Annotated[str, typer.Option(help="Why it needs nobody; nothing that names a patient.")],
    which: Annotated[list[str] | None, typer.Argument(help=f"The images, each by {WHICH}.")] = None,
    home: Home = None,
    all_matching: Annotated[
        str | None, typer.Option(help="All quarantined images whose quarantine reason contains this.")
    ] = None,
) -> None:
    """Say that quarantined images need nobody, so that `status` no longer reports them; they stay quarantined."""
    from cli.dismiss import dismiss

    dismiss(_load(home), which or [], all_matching, by, reason)


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


@app.command("explain", epilog="Example: pneumoscreen explain ward-7/scan.dcm --out why.png")
def explain_command(
    which: Annotated[str, typer.Argument(help="An image: its sighting_id, path or SHA-256, as `results` shows it.")],
    file: Annotated[Path, typer.Option("--out", help="The picture to write, PNG.", dir_okay=False)],
    home: Home = None,
) -> None:
    """Draw an image beside its evidence map: what moved its score, not where the disease is."""
    from cli.explain import explain_image

    explain_image(_load(home), which, file)


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
    against: Annotated[
        Path | None,
        typer.Option(help="The Python of another checkout, to compare decoding and DICOM with.", exists=True),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure on this machine: the whole system, the limit of one process, and image by image."""
    try:
        from bench.rows import ROWS
        from bench.run import bench
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "bench":
            raise
        raise InvalidRequest(
            "The benchmark is part of the repository, not of the installed package: run it in a checkout."
        ) from error
    from local import private_broker

    chosen = list(ROWS) if only == "all" else only.split(",")
    with stopping.in_order():
        bench(images, chosen, files, rounds, private_broker.server, out, against, as_json=json)


@db.command(epilog="Example: pneumoscreen db upgrade --check")
def upgrade(
    home: Home = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Change nothing, say what would be done: exit code 1 if there is anything, else 0."
        ),
    ] = False,
    format: Annotated[str, typer.Option(help="With --check: table or json.")] = "table",
) -> None:
    """Bring the database's schema up to date, or make a new one, and install the bundled model if none is live."""
    if check:
        from cli.upgrade import check as tell

        tell(_home(home), format)
    else:
        from cli.upgrade import upgrade

        upgrade(_load(home))


@db.command(epilog="Example: pneumoscreen db backup /backups/pneumoscreen-2026-01-31.backup")
def backup(
    file: Annotated[
        Path | None, typer.Argument(help="The file to write; it must not exist. Left out: a new one in backup_dir.")
    ] = None,
    home: Home = None,
    dir: Annotated[Path | None, typer.Option(help="The folder, instead of backup_dir.", file_okay=False)] = None,
    keep: Annotated[
        int | None, typer.Option(help="Keep so many of them in the folder, instead of backup_keep.", min=1)
    ] = None,
    scheduled: Annotated[
        bool, typer.Option("--scheduled", help="For cron and systemd: only if one is due (backup_every).")
    ] = False,
    repeat: Annotated[
        bool, typer.Option("--repeat", help="Stay, and make one whenever one is due: what `up` and Compose start.")
    ] = False,
) -> None:
    """Write a backup of the database while everything goes on, and try it out."""
    from cli.backup import backup, backup_into

    if file is None:
        chosen = _load_service(home) if repeat else _load(home)
        with stopping.in_order():
            backup_into(chosen, dir, keep, scheduled=scheduled, repeat=repeat)
        return
    if dir or keep or scheduled or repeat:
        raise InvalidRequest("Name a file, or use --dir, --keep, --scheduled and --repeat: not both.")
    with stopping.in_order():
        backup(_load(home), file)


@db.command(epilog="Example: pneumoscreen db restore /backups/pneumoscreen-2026-01-31.backup")
def restore(
    file: Annotated[Path, typer.Argument(help="What `db backup` wrote.", exists=True, dir_okay=False)],
    home: Home = None,
    yes: Annotated[bool, typer.Option("--yes", help="Replace what is there, without asking.")] = False,
) -> None:
    """Replace the database by a backup; stop producers and workers first."""
    from cli.restore import restore

    with stopping.in_order():
        restore(_load(home), file, yes)


@db.command(epilog="Example: pneumoscreen db prune --older-than 365 --dry-run")
def prune(
    older_than: Annotated[int, typer.Option(help="Days since the row became final.", min=1, max=36_500)],
    home: Home = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be deleted.")] = False,
) -> None:
    """Delete old history and bookkeeping, and the results of files that are gone from their folder."""
    from cli.prune import prune

    prune(_load(home), older_than, dry_run)


@db.command(epilog="Example: pneumoscreen db forget ward-7/scan.dcm --by 'A. Nurse'")
def forget(
    target: Annotated[str, typer.Argument(help=f"The image: {WHICH}.")],
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
    about: Annotated[
        Path | None,
        typer.Option(
            help="A dataset.toml that says where the images come from; the one in --data if left out.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the version's folder goes. Default: HOME/candidates.")] = None,
) -> None:
    """Train a model version and examine it on patients held out; `models publish` and `models promote` come after."""
    from cli.train import train

    train(_load(home), data, architecture, epochs, seed, start_from, limit, out, original, about)


@app.command(
    epilog="Example: pneumoscreen rescreen --model screen-20260131-0a1b2c3d --since 2026-01-01, "
    "or pneumoscreen rescreen --decoded-before 1 --where-differs"
)
def rescreen(
    which: Annotated[list[str] | None, typer.Argument(help=f"Only these images, each by {WHICH}.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The published version that screens again; with --decoded-before, else each result's own."),
    ] = None,
    decoded_before: Annotated[
        int | None, typer.Option(help="Results of a decoder before this revision, instead of those of other versions.")
    ] = None,
    where_differs: Annotated[
        bool, typer.Option("--where-differs", help="With --decoded-before: keep results whose picture is the same.")
    ] = False,
    home: Home = None,
    source: Annotated[str | None, typer.Option(help="Only this source.")] = None,
    root: Annotated[str | None, typer.Option(help="The old name of --source.", hidden=True)] = None,
    since: Annotated[str | None, typer.Option(help="Only images seen since this date or time (UTC).")] = None,
    by: Annotated[str | None, typer.Option(help="Who asks for it; the user's name if left out.")] = None,
    reason: Annotated[
        str | None,
        typer.Option(help="Why a version that is not in service is to write results; with --by, and recorded."),
    ] = None,
) -> None:
    """Have images screened again in the background lane; the old results stay in the history."""
    from cli.rescreen import rescreen

    source = source or _renamed("--root", "--source", root)
    settings = _load(home)
    rescreen(
        settings,
        which or [],
        model,
        source,
        since,
        by,
        decoded_before=decoded_before,
        where_differs=where_differs,
        reason=reason,
    )


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
    refit: Annotated[
        bool, typer.Option("--refit", help="Fit anew the operating points that go with the version before.")
    ] = False,
    audit_sample: Annotated[
        bool,
        typer.Option("--audit-sample", help="Compare on the images of the audit sample that were read, too."),
    ] = False,
    source: Annotated[str | None, typer.Option(help="With --audit-sample: only this source's.")] = None,
) -> None:
    """Make a version live if it passes the gate against the live one; workers take it with their next message."""
    from cli.versions import promote

    if source is not None and not audit_sample:
        raise InvalidRequest("--source goes with --audit-sample.")
    promote(_load(home), version, by, data, reason, is_audited=audit_sample, source=source, refit=refit)


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


@models.command(
    "compare",
    epilog="Example: pneumoscreen models compare screen-20260131-0a1b2c3d screen-20260301-4e5f6a7b --data ~/labelled, "
    "or pneumoscreen models compare --shadow",
)
def models_compare(
    first: Annotated[str | None, typer.Argument(help="A published version; with --shadow, the one in shadow.")] = None,
    second: Annotated[str | None, typer.Argument(help="Another one.")] = None,
    home: Home = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Labelled folders: NORMAL and PNEUMONIA; both versions screen them.", exists=True, file_okay=False
        ),
    ] = None,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Where versions in shadow differ from the live one, with sighting ids.")
    ] = False,
    format: Annotated[str, typer.Option(help="table or json.")] = "table",
) -> None:
    """Two versions side by side: figures on one set of images, where they disagree, recipe and data."""
    from cli.compare import compare, show_shadow

    if shadow:
        if second is not None or data is not None:
            raise InvalidRequest("--shadow takes at most one version, and no --data: the images are those screened.")
        show_shadow(_load(home), first, format)
        return
    if first is None or second is None:
        raise InvalidRequest("Name two versions, or use --shadow: `pneumoscreen models list` shows those that exist.")
    compare(_load(home), first, second, data, format)


@models.command(
    "shadow", epilog="Example: pneumoscreen models shadow screen-20260131-0a1b2c3d --source ward --share 0.1"
)
def models_shadow(
    version: Annotated[str, typer.Argument(help="A published version that is not live.")],
    home: Home = None,
    source: Annotated[str | None, typer.Option(help="The source whose images it scores.")] = None,
    share: Annotated[float, typer.Option(help="Of these images, above 0 and at most 1.")] = 0.1,
    by: Annotated[str | None, typer.Option(help="Who does it; the user's name if left out.")] = None,
    end: Annotated[bool, typer.Option("--end", help="End it, for --source or everywhere.")] = False,
) -> None:
    """Have a version score part of the images beside the live one; it writes no result."""
    from cli.annotate import shadow

    shadow(_load(home), version, source, share, by, end=end)


@models.command(
    "note", epilog="Example: pneumoscreen models note screen-20260131-0a1b2c3d 'without the sharpened series'"
)
def models_note(
    version: Annotated[str, typer.Argument(help="A published version.")],
    text: Annotated[str, typer.Argument(help="What to write down; it stays.")],
    home: Home = None,
    by: Annotated[str | None, typer.Option(help="Who writes it; the user's name if left out.")] = None,
) -> None:
    """Write a note on a version; `models list` shows the last one, `models show` all."""
    from cli.annotate import note

    note(_load(home), version, text, by)


@models.command("tag", epilog="Example: pneumoscreen models tag screen-20260131-0a1b2c3d site-b baseline")
def models_tag(
    version: Annotated[str, typer.Argument(help="A published version.")],
    tags: Annotated[list[str], typer.Argument(help="Words of a-z, 0-9, . _ and -.")],
    home: Home = None,
    by: Annotated[str | None, typer.Option(help="Who does it; the user's name if left out.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take these tags away.")] = False,
) -> None:
    """Tag a version; `models list` and `models show` show its tags."""
    from cli.annotate import tag

    tag(_load(home), version, tags, by, remove=remove)


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
    """A version's manifest (data, metrics, threshold, checksums), and its tags and notes."""
    from cli.models import show

    show(_load(home), version)


def main() -> None:
    """The entry point: errors of ours become a sentence and an exit code, never a traceback."""
    try:
        app()  # ends the process itself, with exit code 2 for wrong usage
    except Exception as error:
        known = _explain(error)
        if known is None:
            raise
        _end(known)


def _explain(error: Exception) -> PneumoscreenError | None:
    """The error of ours that it is or stands for. A library that was never imported has raised nothing."""
    if isinstance(error, PneumoscreenError):
        return error
    if "sqlalchemy" in sys.modules:
        from sqlalchemy.exc import DBAPIError

        if isinstance(error, DBAPIError):
            return _explain_database(error)
    if isinstance(error, UnicodeEncodeError):
        piece = error.object[max(0, error.start - 40) : error.end + 40]
        return InvalidRequest(f"This is no UTF-8, which a name or a text must be: {ascii(piece)[1:-1]}")
    if isinstance(error, OSError):  # a home that cannot be made, a disk that is full
        return WorkFailed(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "))
    if "redis" in sys.modules:
        from redis.exceptions import RedisError

        if isinstance(error, RedisError):
            from shared.queue.broker import describe

            return ServiceUnavailable(describe(error).replace("the", "The", 1))
    return None


def _explain_database(error: "DBAPIError") -> ServiceUnavailable | None:
    """For a role that lacks a right, or a server out of reach; any other error of SQL is a fault of ours."""
    from sqlalchemy.exc import InterfaceError, OperationalError

    from shared.database.connection import is_refused

    reason = " ".join(str(error.orig).split())
    if is_refused(error.orig):
        who = " ".join(error.detail) or "the role of database_url"
        return ServiceUnavailable(
            f"The database does not permit this to {who}: {reason}. docs/roles.sql says what each role may do."
        )
    is_out_of_reach = isinstance(error, OperationalError | InterfaceError)
    return ServiceUnavailable(f"The database is out of reach: {reason}") if is_out_of_reach else None


def _end(error: PneumoscreenError) -> NoReturn:
    from cli import console

    console.err.print(f"Error: {error}", style="red", markup=False)
    sys.exit(error.exit_code)


if __name__ == "__main__":
    surroundings.prepare()
    main()
