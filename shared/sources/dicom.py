"""The source that receives: files that a node took by DICOM, in a folder of our own."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from shared.base.filesystem import MARKER
from shared.sources.owned import OwnedFolder

if TYPE_CHECKING:
    from shared.base.dicom_settings import DicomSettings
    from shared.base.settings import Settings


def from_settings(name: str, chosen: "DicomSettings", settings: "Settings") -> "DicomSource":
    from shared.base.source_settings import received

    is_at_home = chosen.path == received(settings.home, name)
    return DicomSource(name, chosen.path, chosen.lane, marker=MARKER, is_at_home=is_at_home)


@dataclass(frozen=True)
class DicomSource(OwnedFolder):
    """Nobody watches it: the node registers what it takes. `node.storing` says how its files are called."""

    is_at_home: bool = True

    kind: ClassVar[str] = "dicom"

    def prepare(self) -> None:
        """Make the folder in the home. Another one is never made: it may be the mount point of a share that is away."""
        if self.is_at_home:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.root / MARKER).touch()
