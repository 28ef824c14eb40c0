"""`models publish`, `models promote` and `models rollback`: call the actions and print what became of it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import typer

from actions import promotion
from actions.actor import named_or_user
from actions.verdict import Verdict
from cli.console import err, out, table
from shared.base.settings import Settings
from shared.database import opened
from shared.models.registry import Published


def publish(settings: Settings, folder: Path) -> None:
    with opened(settings) as database:
        actor, now = named_or_user(None), datetime.now(UTC)
        row = promotion.publish(database, settings.models, folder, now, actor, settings.signing_key)
    out.print(f"{row.version} is published. It is not live before `pneumoscreen models promote {row.version}`.")


def promote(
    settings: Settings, version: str, by: str, data: Path | None, reason: str | None, *, refit: bool = False
) -> None:
    """Ends with exit code 1 if the gate refuses."""

    def measure(challenger: Published, live: list[Published]) -> Verdict:
        from local import announcing
        from trainer import gate  # only here: it loads the networks
        from trainer.listing import Site

        assert data is not None
        site = Site.of(settings, announcing.known_secret(settings))
        verdict = gate.examine(settings.models, challenger, live, data, err, settings.signing_key, site)
        show(verdict)
        return verdict

    with opened(settings) as database:
        outcome = promotion.request_promotion(
            database, settings, version, by, lambda: datetime.now(UTC), measure if data is not None else None, reason
        )
    if outcome.was_live:
        out.print(f"{version} is live already.", markup=False)
    elif not outcome.is_live:
        err.print(
            f"{version} is rejected; {outcome.champion or 'nothing'} stays live. "
            "A person can promote it all the same: --reason TEXT.",
            style="red",
            markup=False,
        )
        raise typer.Exit(1)
    else:
        is_passed = outcome.verdict is not None and outcome.verdict.passed
        how = "It passed the gate." if is_passed else f"It was promoted for a reason, which is recorded: {reason}."
        out.print(f"{version} is live. {how} Workers take it with their next message; no result changes.", markup=False)
        _follow_up(settings, version, outcome.uncalibrated, by, refit=refit)


def _follow_up(settings: Settings, version: str, sources: Sequence[str], by: str, *, refit: bool) -> None:
    """Name the sources that lost their operating point, and fit new ones where that was asked for."""
    from cli import calibration

    if not sources:
        return
    err.print(
        f"These sources lost their operating point, and are read by the version's own threshold: {', '.join(sources)}.",
        style="yellow",
        markup=False,
    )
    if refit:
        calibration.refit(settings, version, sources, by)
    else:
        out.print("To fit new ones to the words of then: pneumoscreen calibrate fit --rescore --source NAME")


def rollback(settings: Settings, by: str, reason: str) -> None:
    with opened(settings) as database:
        version = promotion.request_rollback(database, settings, by, datetime.now(UTC), reason)
    out.print(f"{version} is live again. Workers take it with their next message; no result changes.", markup=False)


def show(verdict: Verdict) -> None:
    """The figures that decided, as a table, and a sentence for each objection to the version."""
    mine = verdict.challenger
    columns = ("version", "role", "recall", "specificity", "auc", "threshold", "difference in recall (95 %)", "kept")
    rows = [(mine.version, "challenger", mine.recall, mine.specificity, mine.auc, mine.threshold, None, None)]
    for comparison in verdict.comparisons:
        other = comparison.other
        interval = f"{comparison.difference:+.4f} ({comparison.low:+.4f} to {comparison.high:+.4f})"
        kept = "yes" if comparison.is_recall_kept and comparison.is_auc_kept else "no"
        figures = (other.recall, other.specificity, other.auc, other.threshold)
        rows.append((other.version, comparison.role, *figures, interval, kept))  # type: ignore[arg-type]
    table(columns, rows, f"{verdict.images} images of {verdict.patients} held-out patients")
    for note in verdict.notes:
        out.print(note, markup=False)
    for sentence in verdict.failed:
        out.print(sentence, style="red", markup=False)
