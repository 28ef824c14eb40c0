"""`export-labels`: reviewed images and their labels as a dataset of its own."""

from datetime import UTC, datetime
from pathlib import Path

from actions.actor import named_or_user
from cli.console import out, progress
from shared.base.settings import Settings
from shared.database import opened
from trainer import labels_export


def export_labels(settings: Settings, target: Path, by: str | None) -> None:
    """Raises InvalidRequest for a target that exists, WorkFailed where nothing is labelled."""
    with opened(settings) as database, progress() as bar:
        task = bar.add_task("copying images", total=None)
        exported = labels_export.export(
            settings, database, target, named_or_user(by), datetime.now(UTC), lambda: bar.advance(task)
        )
    classes = ", ".join(f"{count:,} {name}" for name, count in exported.by_class.items())
    out.print(f"{exported.images:,} images ({classes}) in {exported.target}", markup=False, soft_wrap=True)
    out.print(f"fingerprint {exported.fingerprint}", soft_wrap=True)
    out.print(f"words: {labels_export.WORDS.format(newest=exported.newest_review)}", soft_wrap=True)
    out.print(exported.attribution.sentence(), markup=False, soft_wrap=True)
    for doubt in exported.attribution.doubts:
        out.print(doubt, markup=False, soft_wrap=True)
    out.print(
        f"left out: {exported.without_label:,} on which readers could not tell, "
        f"{exported.audited:,} of the audit sample and its patients, {exported.without_file:,} whose file is gone",
        soft_wrap=True,
    )
    if exported.target.suffix.lower() != ".csv":
        out.print(f"To train on it: pneumoscreen train --data {exported.target}", markup=False, soft_wrap=True)
