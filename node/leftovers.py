"""Files without a row: a node was killed between giving a file its name and committing the row, or SQL was away."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice

from node import header, lanes
from node.file_meta import FileMeta
from shared.base.dicom_settings import DicomSettings
from shared.base.found import MAX_ROWS, Found
from shared.base.lanes import Lane
from shared.database import Database
from shared.ledger.register import register, unknown
from shared.sources.dicom import DicomSource
from shared.sources.folder.sweep import sweep


def register_leftovers(source: DicomSource, chosen: DicomSettings, database: Database) -> int:
    """Register the files of a source that no row tells of; returns how many there were.

    Raises what a database that is away raises; a file that is gone meanwhile is passed over.
    """
    count = 0
    files = (found for found, _ in sweep(source.root))
    while part := list(islice(files, MAX_ROWS)):
        with database.read() as session:
            new = unknown(session, source.name, part)
        count += _register(source, chosen, database, new)
    return count


def _register(source: DicomSource, chosen: DicomSettings, database: Database, files: Sequence[Found]) -> int:
    by_lane: dict[Lane, list[Found]] = defaultdict(list)
    for found in files:
        by_lane[_lane(source, chosen, found.path)].append(found)
    count = 0
    for lane, images in by_lane.items():
        with database.write() as session:
            count += len(register(session, source.name, lane, images, datetime.now(UTC)))
    return count


def _lane(source: DicomSource, chosen: DicomSettings, path: str) -> Lane:
    """As when it came: the file says who sent it."""
    try:
        with (source.root / path).open("rb") as file:
            meta, start = FileMeta.decode(file)
            file.seek(start)
            body = file.read(header.HEAD)
    except (OSError, ValueError):
        return chosen.lane
    return lanes.choose(chosen, meta.calling_title, header.read(memoryview(body), meta.syntax))
