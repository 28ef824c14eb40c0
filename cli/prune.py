"""`db prune`: old history and bookkeeping, and the rows of files that are gone, are deleted in short transactions."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psutil
from rich.progress import Progress
from sqlalchemy.orm import Session

from cli.console import out, progress, table
from shared import sources
from shared.base.filesystem import MARKER
from shared.base.settings import Settings
from shared.database import AuditEntry, Database, DeadLetter, DicomHeader, Job, Prediction, Sighting, opened
from shared.ledger import retention
from shared.ledger.register import as_path

JOBS, REPLACED, GONE = "finished jobs", "replaced sightings", "sightings whose file is gone"
LETTERS, PREDICTIONS, HEADERS = "dead letters", "predictions", "DICOM headers"


def prune(settings: Settings, older_than: int, dry_run: bool) -> None:
    now, bar = datetime.now(UTC), progress()
    bar.disable = dry_run  # it would count up rows that stay
    with opened(settings) as with_database, bar:
        pruning = Pruning(settings, with_database, now - timedelta(days=older_than), dry_run, bar)
        pruning.jobs()
        pruning.replaced()
        pruning.gone()
        pruning.letters()
        pruning.contents()
        counts = pruning.counts
        if not dry_run:
            detail = ", ".join(
                f"{counts[name]} {name}" for name in (JOBS, REPLACED, GONE, LETTERS, PREDICTIONS, HEADERS)
            )
            with with_database.write() as session:
                actor = psutil.Process().username()
                entry = f"older than {older_than} days: {detail}"
                session.add(AuditEntry(at=now, actor=actor, action="prune", detail=entry))
    table(("would be deleted" if dry_run else "deleted", "rows"), [(name, f"{n:,}") for name, n in counts.items()])
    _tell_kept(pruning.kept, pruning.out_of_reach)


def _tell_kept(kept: int, out_of_reach: Counter[str]) -> None:
    if kept:
        out.print(f"{kept:,} old rows stay, since their file is still in its folder: it would be screened again.")
    for root, count in sorted(out_of_reach.items()):
        out.print(
            f"{count:,} old rows of the folder {root!r} stay, since this host cannot see whether their files are "
            f"still there: run it where [sources.{root}] is set and {MARKER} can be seen in it.",
            markup=False,
        )


class Pruning:
    """One run. A dry one notes the sightings that a real one would have deleted before it looks for their contents."""

    def __init__(self, settings: Settings, database: Database, cutoff: datetime, dry_run: bool, bar: Progress) -> None:
        self.counts = dict.fromkeys((JOBS, REPLACED, GONE, LETTERS, PREDICTIONS, HEADERS), 0)
        self.kept, self.out_of_reach = 0, Counter[str]()
        self._sources = sources.build(settings)
        self._database, self._cutoff, self._dry_run = database, cutoff, dry_run
        self._bar, self._doomed = bar, set[int]()

    def jobs(self) -> None:
        self._rows(JOBS, retention.old_jobs, lambda session, ids: retention.delete_rows(session, Job, ids))

    def letters(self) -> None:
        self._rows(LETTERS, retention.old_letters, lambda session, ids: retention.delete_rows(session, DeadLetter, ids))

    def replaced(self) -> None:
        self._rows(REPLACED, retention.replaced, self._delete_sightings, self._doomed)

    def gone(self) -> None:
        task, after = self._bar.add_task(GONE, total=None), 0
        while True:
            with self._database.read() as session:
                found = retention.results(session, self._cutoff, after)
            if not found:
                break
            after = found[-1].id
            are_there = {sighting.id: self._is_there(sighting) for sighting in found}
            gone = [sighting for sighting in found if are_there[sighting.id] is False]
            self.out_of_reach.update(sighting.source for sighting in found if are_there[sighting.id] is None)
            self.kept += sum(is_there is True for is_there in are_there.values())
            self._delete(GONE, [s.id for s in gone], self._delete_sightings, self._doomed)
            self._bar.advance(task, len(found))

    def _is_there(self, sighting: Sighting) -> bool | None:
        source = self._sources.get(sighting.source)
        return source.exists(as_path(sighting.path, sighting.path_bytes)) if source else None

    def contents(self) -> None:
        """Predictions and headers that no sighting leads to; reviews stay, they are people's words."""
        for name, rows in ((PREDICTIONS, Prediction), (HEADERS, DicomHeader)):
            task, after = self._bar.add_task(name, total=None), ""
            while True:
                with self._database.read() as session:
                    _, last = found = retention.unseen(session, rows, after, self._doomed)
                    if self._dry_run:
                        self.counts[name] += retention.count_contents(session, rows, found[0])
                if last is None:
                    break
                if not self._dry_run and found[0]:
                    with self._database.write() as session:
                        retention.hold_work(session)
                        unseen, _ = retention.unseen(session, rows, after, ())  # a sighting may have come meanwhile
                        self.counts[name] += retention.delete_contents(session, rows, [c for c in unseen if c <= last])
                after = last
                self._bar.advance(task)

    def _rows(
        self,
        name: str,
        find: Callable[[Session, datetime, int], list[int]],
        delete: Callable[[Session, list[int]], int],
        doomed: set[int] | None = None,
    ) -> None:
        task, after = self._bar.add_task(name, total=None), 0
        while True:
            with self._database.read() as session:
                ids = find(session, self._cutoff, after)
            if not ids:
                break
            after = ids[-1]
            self._delete(name, ids, delete, doomed)
            self._bar.advance(task, len(ids))

    def _delete(
        self, name: str, ids: list[int], delete: Callable[[Session, list[int]], int], doomed: set[int] | None
    ) -> None:
        if self._dry_run:
            self.counts[name] += len(ids)
            if doomed is not None:
                doomed.update(ids)
        elif ids:
            with self._database.write() as session:
                self.counts[name] += delete(session, ids)

    def _delete_sightings(self, session: Session, ids: list[int]) -> int:
        return retention.delete_old(session, ids, self._cutoff)
