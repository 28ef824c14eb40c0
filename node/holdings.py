"""Whether an object is safe with us: its file is there, and a row of the ledger tells of it."""

from sqlalchemy import select

from node import file_meta
from node.commitment import Reference
from node.naming import path_of
from node.statuses import Status
from shared.database import Database, Sighting
from shared.sources.dicom import DicomSource


class Holdings:
    def __init__(self, source: DicomSource, database: Database) -> None:
        self._source, self._database = source, database

    def failure(self, reference: Reference) -> Status | None:
        """Why it is not; None if it is. Raises what a folder or a database that is away raises: asked again later."""
        path = path_of(reference.sop_instance)
        try:
            meta = file_meta.read(self._source.root / path)
        except FileNotFoundError:
            if not self._source.is_in_reach():
                raise
            return Status.NO_SUCH_INSTANCE
        if meta is None:
            return Status.NO_SUCH_INSTANCE
        if meta.sop_class != reference.sop_class:
            return Status.CLASS_INSTANCE_CONFLICT
        row = select(Sighting.id).where(Sighting.source == self._source.name, Sighting.path == path).limit(1)
        with self._database.read() as session:
            return None if session.scalar(row) is not None else Status.NO_SUCH_INSTANCE
