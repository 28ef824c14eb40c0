"""Files that people submit with `screen PATH` and that lie in no other source: copies in the home folder."""

import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from shared.base.filesystem import MARKER, sync
from shared.sources.owned import OwnedFolder

if TYPE_CHECKING:
    from shared.base.settings import Settings
    from shared.sources.protocol import Source

NAME = "submitted"


def from_settings(settings: "Settings") -> "SubmittedSource":
    from shared.base.source_settings import IGNORED_BY_DEFAULT  # brings pydantic, which a helper process starts without

    is_alone = settings.database.startswith("sqlite")  # a database in a file serves this host alone
    # With several hosts, each has a folder of this name: its marker stands only where files were taken in.
    marker = "" if is_alone else MARKER
    return SubmittedSource(NAME, settings.home / NAME, ignore=IGNORED_BY_DEFAULT, marker=marker)


@dataclass(frozen=True)
class SubmittedSource(OwnedFolder):
    """Nobody watches it: whoever takes a file into it registers it."""

    kind: ClassVar[str] = NAME

    def take(self, file: Path) -> str:
        """Copy a file aside, then rename: in a folder of its own each keeps its name and never meets another's.

        Raises OSError, and leaves nothing behind then.
        """
        folder = self.root / datetime.now(UTC).strftime("%Y-%m-%d") / uuid.uuid4().hex[:12]
        folder.mkdir(parents=True)
        (self.root / MARKER).touch()  # tells a copy that somebody deleted from a disk that is away
        aside = folder / ".copy.part"
        try:
            shutil.copyfile(file, aside)
            sync(aside)
            aside.rename(folder / file.name)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return str((folder / file.name).relative_to(self.root))


def of(sources: "Mapping[str, Source]") -> SubmittedSource:
    """The one among all sources that takes files in."""
    source = sources[NAME]
    assert isinstance(source, SubmittedSource)
    return source
