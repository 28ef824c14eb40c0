"""Answers C-STORE by what the receiver says."""

from collections.abc import Callable
from typing import cast

from pydicom.dataset import Dataset
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event

from node.file_meta import FileMeta
from node.receiving import Receiver

MAX_COMMENT = 64
"""Characters of an Error Comment (0000,0902)."""


def handler(receiver: Receiver) -> Callable[[Event], Dataset]:
    """Answers requests; never raises: pynetdicom would blame the object (0xC211)."""

    def handle(event: Event) -> Dataset:
        request = cast(C_STORE, event.request)
        body = None if request.DataSet is None else request.DataSet.getbuffer()
        meta = FileMeta(
            str(request.AffectedSOPClassUID),
            str(request.AffectedSOPInstanceUID),
            str(event.context.transfer_syntax),
            event.assoc.requestor.ae_title.strip(),
        )
        taken = receiver.take(meta, body)
        answer = Dataset()
        answer.Status = int(taken.status)
        if taken.comment:
            answer.ErrorComment = taken.comment[:MAX_COMMENT]
        return answer

    return handle
