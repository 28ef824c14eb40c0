"""Rows of the views `results` and `results_history`, filtered. Only the views are read: readers may see no table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import SecretStr
from sqlalchemy import ColumnElement, Select, Table, false, or_, select
from sqlalchemy.orm import Session

from queries import worklist
from shared import sources
from shared.base.errors import InvalidRequest, WorkFailed
from shared.base.settings import Settings
from shared.database.views import RESULTS, RESULTS_HISTORY
from shared.ledger import lookup
from shared.ledger.lookup import Key
from shared.ledger.register import as_text

STATES = ("waiting", "done", "quarantined")
LABELS = ("NORMAL", "PNEUMONIA")
CHUNK = 1000
"""Rows that are fetched at a time, so that an export of millions needs little memory."""

Row = dict[str, Any]
AnyColumn = ColumnElement[Any]


@dataclass(frozen=True)
class Filters:
    """What is asked for; what is None or empty does not restrict. `names` are paths, numbers or SHA-256s."""

    names: Sequence[str] = ()
    state: str | None = None
    label: str | None = None
    path: str | None = None
    source: str | None = None
    model: str | None = None
    since: datetime | None = None
    accession: str | None = None
    study_uid: str | None = None
    patient_key: str | None = None
    history: bool = False
    repaired: bool = False
    to_review: bool = False
    blind: bool = False


@dataclass(frozen=True)
class Listing:
    """`rows` are read while they are taken: only within the session."""

    columns: Sequence[AnyColumn]
    rows: Iterator[Row]


def find(session: Session, settings: Settings, filters: Filters, now: datetime, limit: int | None = None) -> Listing:
    """Raises InvalidRequest for filters that make no sense, WorkFailed for a name that no image has."""
    _check(filters)
    view = RESULTS_HISTORY if filters.history else RESULTS
    _check_source(session, settings, filters.source)
    query = statement(settings, filters, now, limit, list(_named(session, view, filters.names)))
    result = session.execute(query.execution_options(yield_per=CHUNK))
    return Listing(list(query.selected_columns), (dict(row) for row in result.mappings()))


def statement(
    settings: Settings,
    filters: Filters,
    now: datetime,
    limit: int | None = None,
    named: Sequence[ColumnElement[bool]] = (),
) -> Select[Any]:
    """The query; the names have been looked up before."""
    view = RESULTS_HISTORY if filters.history else RESULTS
    conditions = [*_conditions(view, filters), *named]
    if filters.to_review:
        tells_answer = filters.label is not None
        return worklist.query(settings, conditions, limit, now, is_blind=filters.blind, tells_answer=tells_answer)
    return select(*view.columns).where(*conditions).order_by(view.c.sighting_id.desc()).limit(limit)


def key_of_patient(secret: SecretStr | None, patient_id: str, issuer: str | None) -> str:
    """Hashes the id as the worker does; the id itself goes nowhere. Raises InvalidRequest without the secret."""
    if secret is None:
        raise InvalidRequest(
            "--patient needs the setting patient_secret: results hold patients by a hash under that secret alone. "
            "Without it, use --study-uid or --accession."
        )
    from shared.imaging.identifiers import patient_key  # brings decoders, which no other question needs

    return patient_key(patient_id, issuer, secret)


def _check(filters: Filters) -> None:
    if filters.to_review and filters.history:
        raise InvalidRequest("--to-review looks at the newest results: it does not go with --history.")
    if filters.blind and not filters.to_review:
        raise InvalidRequest("--blind leaves the model's answers out of a reading list: it goes with --to-review.")
    _one_of(filters.state, "--state", (*STATES, "superseded") if filters.history else STATES)
    _one_of(filters.label and filters.label.upper(), "--label", LABELS)


def _one_of(value: str | None, option: str, allowed: Sequence[str]) -> None:
    if value and value not in allowed:
        raise InvalidRequest(f"{option} must be one of {', '.join(allowed)}, not {value!r}.")


def _check_source(session: Session, settings: Settings, source: str | None) -> None:
    """Raises InvalidRequest for a source that the settings do not name and that no row tells of."""
    configured = sources.build(settings)
    if source is None or source in configured:
        return
    known = sorted({*configured, *lookup.known_sources(session, RESULTS)})
    if source not in known:
        raise InvalidRequest(f"There is no source named {source!r}; there are: {', '.join(known)}.")


def _conditions(view: Table, filters: Filters) -> Iterator[ColumnElement[bool]]:
    equal = {
        "state": filters.state,
        "label": filters.label and filters.label.upper(),
        "source": filters.source,
        "model_version": filters.model,
        "accession_number": filters.accession,
        "study_uid": filters.study_uid,
        "patient_key": filters.patient_key,
    }
    yield from (view.c[column] == value for column, value in equal.items() if value)
    if filters.path:
        forms = lookup.forms_of({as_text(filters.path)[0]})
        yield or_(*(view.c.path.contains(form, autoescape=True) for form in sorted(forms)))
    if filters.repaired:
        yield view.c.decoded_with.is_not(None)
    if filters.since:
        yield view.c.seen_at >= filters.since


def _named(session: Session, view: Table, names: Sequence[str]) -> Iterator[ColumnElement[bool]]:
    """At most one condition, for the rows that any of the names means. Raises WorkFailed for a name that means none."""
    if not names:
        return
    meanings = lookup.sightings(session, names, table=view)
    if missing := [name for name in names if name not in meanings]:
        raise WorkFailed(lookup.no_image(missing[0]))
    texts = {key: {as_text(name)[0] for name in names if meanings[name].key is key} for key in Key}
    matches: list[ColumnElement[bool]] = [false()]
    if texts[Key.PATH]:
        matches += lookup.bearing(texts[Key.PATH], lookup.known_sources(session, view), view)
    matches.append(view.c.sighting_id.in_([int(number) for number in texts[Key.SIGHTING]]))
    matches.append(view.c.sha256.in_([content.lower() for content in texts[Key.CONTENT]]))
    yield or_(*matches)
