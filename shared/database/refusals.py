"""What a database says when it does not do its work, and what to do about it. None of it is an image's fault.

One table for PostgreSQL, which gives codes (SQLSTATE), and for SQLite, which gives sentences.
"""

from dataclasses import dataclass

from sqlalchemy.exc import (
    DatabaseError,
    DataError,
    DBAPIError,
    InterfaceError,
    InternalError,
    OperationalError,
    TimeoutError,
)

SOME = 5
"""Times that a transaction is tried again, in half a minute, before what it was for is put off."""
REFUSES = "the database refuses: "
"""Begins each sentence that needs a person at once."""
OUT_OF_REACH = (DatabaseError, InterfaceError, TimeoutError)
"""What is raised while the database cannot be worked with. A DataError among it speaks of a value: `find` tells."""


@dataclass(frozen=True)
class Cause:
    """Why a database does not do its work: the beginnings of codes, parts of sentences, and the way out.

    `tries` is how often the same transaction is tried again in place, with the work in hand; None is for ever, since
    nothing could be written meanwhile either. Where it is 0, only a person can mend it.
    """

    codes: tuple[str, ...]
    texts: tuple[str, ...]
    way_out: str | None
    tries: int | None = 0


CAUSES = (
    Cause(("42501",), (), "`docs/roles.sql` grants it"),
    Cause((), ("readonly database",), "may this user write to its file?"),
    Cause(
        ("42P01", "42703", "42883", "3F"),
        ("no such table", "no such column"),
        "its schema is another one: `pneumoscreen db upgrade`",
    ),
    Cause(("23505",), ("unique constraint",), None, SOME),  # another was faster
    Cause(("23",), ("constraint failed",), "its schema is another one: `pneumoscreen db upgrade`"),
    Cause(("XX001", "XX002"), ("malformed", "not a database"), "it is damaged: restore a backup"),
    Cause(("25006",), (), "it is a standby, or set to read only; database_url must lead to the primary", None),
    Cause(("26", "42P05", "34"), (), "a pooler in transaction mode? See PgBouncer in docs/operations.md", SOME),
    Cause(("53100", "58"), ("disk is full", "disk i/o error"), "look at its disk", None),
    Cause(("53200", "54"), ("out of memory",), "it lacks memory, or a setting is too low", SOME),
    Cause(("53",), (), "its max_connections is too low", None),
    Cause(("28", "3D"), (), "look at database_url and pg_hba.conf", None),
    Cause(("40", "55", "57014", "0A000", "25"), (), None, SOME),  # another was faster; too slow; the schema changed
    Cause(("08", "57"), ("locked", "unable to open"), None, None),
)
UNKNOWN, SILENT = Cause((), (), None), Cause((), (), None, None)
"""A refusal that the table does not name, and a server that did not answer."""
STALE = ("0A000", "25006", "26000", "42P05")
"""Codes after which a connection is not used again: it leads to a standby, or its prepared statements are not valid."""


@dataclass(frozen=True)
class Refusal:
    sentence: str
    tries: int | None


def find(error: BaseException | None) -> Refusal | None:
    """What the database refuses; None for an error that is none of its refusals, and may be of a value."""
    if isinstance(error, TimeoutError):
        return Refusal(f"the database is out of reach: {_text(error)}", SILENT.tries)
    if isinstance(error, DataError) or not isinstance(error, DatabaseError | InterfaceError):
        return None
    cause = _cause(error)
    what = REFUSES if cause.tries == 0 else "the database is out of reach: " if cause.tries is None else ""
    way_out = f": {cause.way_out}" if cause.way_out else ""
    return Refusal(f"{what or 'the database broke off: '}{_text(error.orig)}{way_out}", cause.tries)


def code(error: BaseException | None) -> str:
    """PostgreSQL's SQLSTATE; empty for SQLite, and where no server answered."""
    return getattr(error, "sqlstate", None) or ""


def _cause(error: DBAPIError) -> Cause:
    found, text = code(error.orig), str(error.orig).lower()
    for cause in CAUSES:
        if (found and found.startswith(cause.codes)) or (not found and any(part in text for part in cause.texts)):
            return cause
    # These kinds are of the server, or of the way to it; the others are of what was asked.
    return SILENT if isinstance(error, OperationalError | InterfaceError | InternalError) else UNKNOWN


def _text(error: BaseException | None) -> str:
    """The first line: the others repeat the statement."""
    return str(error).strip().splitlines()[0].rstrip(".:") if str(error).strip() else type(error).__name__
