"""Which rights a role lacks that the services need: what `docs/roles.sql` grants, checked in the database itself.

Producers and workers have one role, the web service has another.
"""

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.base.errors import ServiceUnavailable
from shared.database.tables import Base, Job

REVIEWER = "pneumoscreen_reviewer"
"""The web service's role."""
OF_ACCOUNTS = ("accounts", "web_sessions", "login_attempts", "one_time_links", "api_tokens")
"""Tables that are nobody's business but the web service's and the owner's."""
OF_REPORTS = ("outbox", "outbox_marks", "destination_states", "installation")
"""Tables of what leaves the house, which the web service has no business with."""
VIEWS = ("results", "results_history", "accuracy", "worklist", "alembic_version")
WRITES = {
    "INSERT": (
        *("sightings", "predictions", "screenings", "dicom_headers", "reviews", "audit_log", "dead_letters"),
        *("workers", "broker_epoch", "source_states", "shadow_scores", "audit_samples", "draws", "draw_members"),
        *("drift_references", "drift_checks", "reading_list"),
        *OF_REPORTS,
    ),
    "UPDATE": (
        *("sightings", "workers", "broker_epoch", "source_states", "reading_list"),
        *("outbox_marks", "destination_states"),
    ),
    "DELETE": ("workers",),
}
"""By privilege, the tables in which producers and workers write."""
COUNTED = (
    *("sightings", "jobs", "predictions", "reviews", "audit_log", "dead_letters"),
    *("draws", "drift_references", "drift_checks", "shadow_scores", "outbox"),
)
"""Tables whose numbers come from a sequence, which needs a right of its own."""
OF_JOBS = tuple(column.name for column in Job.__table__.columns if column.name not in ("id", "override"))
"""The owner of the tables alone may write `override`."""
OF_REVIEWS = ("withdrawn_at", "withdrawn_by", "withdrawn_because", "disagreement")
"""A word itself is never changed."""
COLUMNS = {
    ("UPDATE", "predictions"): ("decoder_revision", "decoded_with"),
    ("UPDATE", "reviews"): OF_REVIEWS,
    ("UPDATE", "outbox"): ("state", "attempts", "lease_until", "not_before", "problem", "settled_at", "replaces"),
    ("UPDATE", "drift_references"): ("images", "since", "until", "sample"),
    ("INSERT", "jobs"): OF_JOBS,
    ("UPDATE", "jobs"): OF_JOBS,
}
"""Of which alone something is written."""

REVIEWER_WRITES = {
    "INSERT": (
        "reviews",
        "audit_log",
        "web_sessions",
        "login_attempts",
        "api_tokens",
        "reading_leases",
    ),
    "UPDATE": ("reading_leases",),
    "DELETE": ("web_sessions", "login_attempts", "reading_leases"),
}
REVIEWER_COUNTED = ("reviews", "audit_log", "web_sessions", "login_attempts", "api_tokens")
REVIEWER_COLUMNS = {
    ("UPDATE", "accounts"): ("password_hash", "password_at"),
    ("UPDATE", "web_sessions"): ("seen_at", "revoked_at"),
    ("UPDATE", "login_attempts"): ("succeeded",),
    ("UPDATE", "one_time_links"): ("used_at",),
    ("UPDATE", "api_tokens"): ("used_at", "revoked_at"),
    ("UPDATE", "reading_list"): ("waits_for", "readers"),
    ("UPDATE", "reviews"): OF_REVIEWS,
    ("UPDATE", "sightings"): ("hint",),  # PostgreSQL lets nobody hold a row who may change none of its columns
}


MAY_OVERRIDE = text("SELECT has_column_privilege(current_user, 'jobs', 'override', 'INSERT'), current_user")
QUERY = text("""
    SELECT privilege, name, part FROM unnest(
        CAST(:privileges AS text[]), CAST(:names AS text[]), CAST(:parts AS text[])
    ) AS wanted (privilege, name, part), coalesce(CAST(:role AS name), current_user) AS asked (role)
    WHERE CASE
        WHEN to_regclass(name) IS NULL THEN false
        WHEN part <> '' THEN EXISTS (
            SELECT FROM pg_attribute WHERE attrelid = to_regclass(name) AND attname = part AND NOT attisdropped
        ) AND NOT has_column_privilege(role, name, part, privilege)
        WHEN privilege = 'USAGE' THEN NOT has_sequence_privilege(role, name, privilege)
        ELSE NOT has_table_privilege(role, name, privilege)
    END ORDER BY name, privilege
""")


def missing_rights(session: Session, role: str | None = None) -> list[str]:
    """What a role (whoever asks, if None) may not do of what the services do, such as "INSERT on screenings".

    Of the role REVIEWER, what it may not do of what the web service does.

    Empty on SQLite, which knows no roles. Tables that are not there are passed over: that is the schema's affair.
    """
    if session.get_bind().dialect.name != "postgresql":
        return []
    asked = role or session.scalar(text("SELECT current_user"))
    privileges, names, parts = zip(*(_wanted_by_reviewer() if asked == REVIEWER else _wanted()), strict=True)
    lists = {"privileges": list(privileges), "names": list(names), "parts": list(parts)}
    rows = session.execute(QUERY, {**lists, "role": role})
    return [f"{privilege}{f' of {part}' if part else ''} on {name}" for privilege, name, part in rows]


def check_override(session: Session) -> None:
    """Raises ServiceUnavailable if this role may not have a version write results that is not in service.

    The owner of the tables may; SQLite knows no roles.
    """
    if session.get_bind().dialect.name != "postgresql":
        return
    may, role = session.execute(MAY_OVERRIDE).one()
    if not may:
        raise ServiceUnavailable(
            f"The database does not permit this to the role {role}: only the owner of the tables may have the answers "
            "of a version that is not in service become results. docs/roles.sql says what each role may do."
        )


def is_of_a_service(missing: list[str]) -> bool:
    """Whether a role that lacks this may write at all: one that only looks lacks nothing."""
    writes = [right for right in missing if not right.startswith("SELECT")]
    return len(writes) < sum(privilege != "SELECT" for privilege, _, _ in _wanted())


def _wanted() -> list[tuple[str, str, str]]:
    """Privilege, table or sequence, and the column where it is about one, else an empty text."""
    read = [name for name in sorted(Base.metadata.tables) if name not in OF_ACCOUNTS]
    wanted = [("SELECT", name, "") for name in (*read, *VIEWS)]
    wanted += [(privilege, name, "") for privilege, names in WRITES.items() for name in names]
    wanted += [(*right, column) for right, columns in COLUMNS.items() for column in columns]
    return [*wanted, *(("USAGE", f"{name}_id_seq", "") for name in COUNTED)]


def _wanted_by_reviewer() -> list[tuple[str, str, str]]:
    read = set(Base.metadata.tables) - set(OF_REPORTS)
    wanted = [("SELECT", name, "") for name in (*sorted(read), *VIEWS)]
    wanted += [(privilege, name, "") for privilege, names in REVIEWER_WRITES.items() for name in names]
    wanted += [(*right, column) for right, columns in REVIEWER_COLUMNS.items() for column in columns]
    return [*wanted, *(("USAGE", f"{name}_id_seq", "") for name in REVIEWER_COUNTED)]
