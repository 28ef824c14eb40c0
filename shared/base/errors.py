"""Every error that Pneumoscreen raises on purpose.

    PneumoscreenError
    ├── WrongSettings       the settings make no sense                          exit code 2
    ├── ServiceUnavailable  broker, database or workers are out of reach         exit code 3
    │   └── DiskLow         too little disk space is left
    ├── InvalidRequest      the request makes no sense                          exit code 2, HTTP 400
    ├── WorkFailed          the work was tried and failed, or needs a person     exit code 1
    │   └── BrokenModel     a model version is missing, damaged or not loadable
    ├── DeliveryError       something did not leave the house
    │   ├── Away            the destination is out of reach: everything for it waits
    │   ├── Deferred        it is there, and refuses this for now: retried, for days
    │   └── Rejected        a permanent failure: a person decides
    ├── MalformedMessage    a message in the queue is not one of ours
    │   └── NewerMessage    it is ours, from a newer producer
    └── ImageError          one image could not be screened
        ├── Unreadable      a permanent failure: never retried
        │   ├── Unsuitable  a valid file of something that is not screened
        │   └── Removed     there is no file any more
        ├── Unfinished      the file may still be being copied: retried
        ├── Changed         the file is no longer the one that was registered
        └── OutOfReach      a transient failure (share, permission, disk): retried

A message says what happened, to which file or service, and what to do next.
"""

from typing import Any


class PneumoscreenError(Exception):
    exit_code = 1


class WrongSettings(PneumoscreenError):
    exit_code = 2


class InvalidRequest(PneumoscreenError):
    exit_code = 2


class ServiceUnavailable(PneumoscreenError):
    exit_code = 3


class DiskLow(ServiceUnavailable):
    pass


class WorkFailed(PneumoscreenError):
    pass


class BrokenModel(WorkFailed):
    pass


class DeliveryError(PneumoscreenError):
    """Its text is the problem that people read in `outbox list` and `status`."""


class Away(DeliveryError):
    """The destination is out of reach, or lets nobody in: no object is to blame."""


class BrokeOff(Away):
    """The destination was there, and broke off or failed over an object: either may be to blame, so others go first."""


class Deferred(DeliveryError):
    pass


class Rejected(DeliveryError):
    pass


class MalformedMessage(PneumoscreenError):
    pass


class NewerMessage(MalformedMessage):
    def __init__(self, reason: str, body: dict[str, Any]) -> None:
        super().__init__(reason)
        self.body = body


class ImageError(PneumoscreenError):
    """Its text is the reason that people read in `results.reason` or in `status`."""


class Unreadable(ImageError):
    pass


class Unsuitable(Unreadable):
    pass


class Removed(Unreadable):
    """True of a file that was never read, and of one that is retried after somebody deleted it."""

    REASON = "the file is gone: it was removed from its source"

    def __init__(self) -> None:
        super().__init__(self.REASON)


class Unfinished(ImageError):
    pass


class Changed(ImageError):
    def __init__(self, revision: str, size: int, hint: str | None = None) -> None:
        super().__init__("the image changed since it was registered")
        self.revision, self.size, self.hint = revision, size, hint


class OutOfReach(ImageError):
    pass
