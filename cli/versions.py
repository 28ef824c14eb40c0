"""`models publish`, `models promote` and `models rollback`: how a version comes into service, and who said so."""

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.console import err, out, table
from shared.base.errors import BrokenModel, WrongSettings
from shared.base.settings import Settings
from shared.database import opened
from shared.models import manifest, registry
from shared.models.registry import Published

if TYPE_CHECKING:
    from trainer.gate import Verdict


def publish(settings: Settings, folder: Path) -> None:
    """Raises BrokenModel for a folder that is not whole, WorkFailed if another version has its name."""
    with opened(settings) as database:
        row = registry.publish(database, settings.models, folder, datetime.now(UTC), user(), settings.signing_key)
    out.print(f"{row.version} is published. It is not live before `pneumoscreen models promote {row.version}`.")


def promote(settings: Settings, version: str, by: str, data: Path | None, reason: str | None) -> None:
    """Make a version live if it passes the gate; with a reason without it, or against it.

    Ends with exit code 1 if the gate refuses. Raises WrongSettings without anything to decide by.
    """
    by, reason = _name(by), (reason or "").strip() or None
    if data is None and reason is None:
        raise WrongSettings(
            "Say what decides: --data DIR, on whose held-out patients the version is compared with the live one, "
            "or --reason TEXT to promote it without."
        )
    with opened(settings) as database:
        with database.read() as session:
            row, live = registry.published(session, version), registry.live(session)
        # What is damaged or not signed would serve nobody.
        manifest.read(settings.models / row.version, row.manifest_sha256, settings.signing_key)
        if live and live[0] == row:
            out.print(f"{version} is live already.", markup=False)
            return
        verdict = _judged(settings, row, live, data) if data is not None else None
        if verdict is not None and not verdict.passed:
            with database.write() as session:
                registry.reject(session, version, by, datetime.now(UTC), verdict.as_json())
            if reason is None:
                err.print(
                    f"{version} is rejected; {live[0].version if live else 'nothing'} stays live. "
                    "A person can promote it all the same: --reason TEXT.",
                    style="red",
                    markup=False,
                )
                raise typer.Exit(1)
        is_passed = verdict is not None and verdict.passed
        registry.promote(
            database, version, by, datetime.now(UTC), reason, verdict.as_json() if verdict and is_passed else None
        )
    how = "It passed the gate" if is_passed else f"It was promoted for a reason, which is recorded: {reason}"
    out.print(f"{version} is live. {how}. Workers take it with their next message; no result changes.", markup=False)


def rollback(settings: Settings, by: str, reason: str) -> None:
    """Raises WorkFailed if no version was live before, BrokenModel if that one is damaged."""
    by = _name(by)
    if not reason.strip():
        raise WrongSettings("Say why: --reason TEXT.")
    with opened(settings) as database:
        with database.read() as session:
            back = registry.before(session)
            row = registry.published(session, back) if back else None
        if row is not None:
            try:
                manifest.read(settings.models / row.version, row.manifest_sha256, settings.signing_key)
            except BrokenModel as error:
                raise BrokenModel(f"{error}. `pneumoscreen models promote` takes another version back.") from error
        version = registry.rollback(database, by, datetime.now(UTC), reason.strip())
    out.print(f"{version} is live again. Workers take it with their next message; no result changes.", markup=False)


def _judged(settings: Settings, row: Published, live: list[Published], data: Path) -> "Verdict":
    from trainer import gate  # only here: it loads the networks

    verdict = gate.examine(settings.models, row, live, data, err, settings.signing_key)
    show(verdict)
    return verdict


def show(verdict: "Verdict") -> None:
    """The figures that decided, as a table, and a sentence for each thing that speaks against the version."""
    mine = verdict.challenger
    columns = ("version", "role", "recall", "specificity", "auc", "threshold", "difference in recall (95 %)", "kept")
    rows = [(mine.version, "challenger", mine.recall, mine.specificity, mine.auc, mine.threshold, None, None)]
    for found in verdict.comparisons:
        other = found.other
        interval = f"{found.difference:+.4f} ({found.low:+.4f} to {found.high:+.4f})"
        kept = "yes" if found.is_recall_kept and found.is_auc_kept else "no"
        figures = (other.recall, other.specificity, other.auc, other.threshold)
        rows.append((other.version, found.role, *figures, interval, kept))  # type: ignore[arg-type]
    table(columns, rows, f"{verdict.images} images of {verdict.patients} held-out patients")
    for note in verdict.notes:
        out.print(note, markup=False)
    for sentence in verdict.failed:
        out.print(sentence, style="red", markup=False)


def user() -> str:
    """Who runs the command, where no option names somebody."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in a container
        return "unknown"


def _name(by: str) -> str:
    if not by.strip():
        raise WrongSettings("Who does it is missing: --by NAME.")
    return by.strip()
