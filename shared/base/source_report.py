"""What a producer says of a source that it watches: how, and what it cannot see or leaves out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class WatchedBy(StrEnum):
    EVENTS = "events"  # the file system reports new files; sweeps find what it missed
    POLLING = "polling"  # sweeps alone
    NETWORK = "network"  # a node receives what is sent
    NOTHING = "nothing"  # the source is away


@dataclass(frozen=True)
class SourceReport:
    """Plain values alone, so that it can be sent as JSON (`dataclasses.asdict`).

    Counts are those of the last whole sweep. Names are relative to the source, as text that can be shown; `.` is the
    source itself.
    """

    watched_by: WatchedBy
    problem: str | None = None  # needs a person: why the source is away, or cannot tell missing files from a lost share
    remark: str | None = None  # it works, but less well than it might: why it is polled where events were expected
    files: int | None = None  # regular files, without the ignored ones; None before the first whole sweep
    unreadable: int = 0  # folders that could not be listed
    unreadable_names: tuple[str, ...] = ()  # the first of them
    links: int = 0  # links that are not followed: to folders, to files outside the source, and broken ones
    links_names: tuple[str, ...] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)  # files and folders, by the pattern that leaves them out
    hung: int = 0  # helper processes that a call on the source holds
    swept_at: float | None = None  # when the last whole sweep ended, in seconds since 1970


def report_of(row: Mapping[str, Any]) -> SourceReport:
    """What `dataclasses.asdict` made of one, and JSON carried."""
    names = {name: tuple(row[name]) for name in ("unreadable_names", "links_names")}
    return SourceReport(**{**row, "watched_by": WatchedBy(row["watched_by"]), **names})
