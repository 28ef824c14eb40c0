"""`models publish`, `models promote` and `models rollback`: call the actions and print what became of it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import typer

from actions import promotion
from actions.actor import named_or_user
from actions.comparison import Figures
from actions.verdict import Verdict
from cli.console import err, out, table
from shared.base.settings import Settings
from shared.database import opened
from shared.models.registry import Published
from shared.statistics.paired import Difference


def publish(settings: Settings, folder: Path) -> None:
    with opened(settings) as database:
        actor, now = named_or_user(None), datetime.now(UTC)
        row = promotion.publish(database, settings.models, folder, now, actor, settings.signing_key)
    out.print(f"{row.version} is published. It is not live before `pneumoscreen models promote {row.version}`.")


def promote(
    settings: Settings,
    version: str,
    by: str,
    data: Path | None,
    reason: str | None,
    *,
    is_audited: bool = False,
    source: str | None = None,
    refit: bool = False,
) -> None:
    """Compare on held-out patients of `data`, on the audit sample, or both; ends with exit code 1 on a refusal."""

    with opened(settings) as database:

        def measure(challenger: Published, live: list[Published]) -> Verdict:
            from cli.measuring import examine  # only here: it loads the networks

            verdict = examine(settings, database, challenger, live, data, source, is_audited=is_audited)
            show(verdict)
            return verdict

        measured = measure if is_audited or data is not None else None
        outcome = promotion.request_promotion(
            database, settings, version, by, lambda: datetime.now(UTC), measured, reason
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
        back = promotion.request_rollback(database, settings, by, datetime.now(UTC), reason)
    out.print(
        f"{back.version} is live again. Workers take it with their next message; no result changes. {back.undone} "
        "counts in no comparison any more, and writes no result.",
        markup=False,
    )
    if back.is_rejected:
        err.print(
            f"{back.version} had lost at the gate, and was promoted for a reason: `pneumoscreen models promote` takes "
            "another version.",
            style="yellow",
            markup=False,
        )


def show(verdict: Verdict) -> None:
    """The figures that decided, as a table, and a sentence for each objection to the version."""
    mine = verdict.challenger
    columns = (
        *("version", "role", "recall", "specificity", "auc", "threshold", "difference in recall (95 %)"),
        *("in specificity (95 %)", "in specificity at equal recall (95 %)", "kept"),
    )
    rows: list[tuple[object, ...]] = [(*_figures(mine, "challenger"), None, None, None, None)]
    for comparison in verdict.comparisons:
        equal = comparison.at_equal_recall
        differences = (comparison.recall, comparison.specificity, equal.difference)
        kept = "yes" if comparison.is_kept else "no"
        rows.append((*_figures(comparison.other, comparison.role), *map(_interval, differences), kept))
    table(columns, rows, f"{verdict.images} images of {verdict.patients} patients whom no version was fitted to")
    for sentence in (*verdict.origins, *verdict.notes):
        out.print(sentence, markup=False)
    out.print("A difference stands with its two one-sided bounds, each of 95 %.")
    for sentence in verdict.failed:
        out.print(sentence, style="red", markup=False)


def _figures(figures: Figures, role: str) -> tuple[object, ...]:
    return figures.version, role, figures.recall, figures.specificity, figures.auc, f"{figures.threshold:.4g}"


def _interval(difference: Difference) -> str:
    return f"{difference.value:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})"
