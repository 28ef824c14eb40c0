"""The sources for which no node listens, so that what is sent to them is refused."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from queries.sources import SourceOverview
from queries.starting import age_of_up
from shared.base.settings import Settings

KIND = "dicom"


def needs(settings: Settings, overviews: Sequence[SourceOverview], now: datetime) -> Iterator[str]:
    """One sentence for all of them; none while `up` starts."""
    if age_of_up(settings, now) is not None:
        return
    names = [
        source.name
        for source in overviews
        if source.kind == KIND and not any(one.is_fresh(now) for one in source.statements)
    ]
    if names:
        what = f"the source {names[0]}" if len(names) == 1 else f"the sources {', '.join(names)}"
        yield (
            f"no node receives for {what}: senders cannot connect, and keep their images. "
            "`pneumoscreen up` or `pneumoscreen node` starts one"
        )
