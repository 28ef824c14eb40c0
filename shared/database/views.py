"""The views that people query: their current text, and a typed table of each for queries of ours.

Migrations that change what a view reads drop the views first; `Database.upgrade` makes them anew from this text when it
has migrated. `docs/results.md` explains the columns.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)

from shared.database.tables import Instant

_LAST_WORD = """(SELECT w.label FROM reviews w
        WHERE (w.sha256 = p.sha256 AND w.label <> 'NOT_READABLE')
           OR (w.sighting_id = s.id AND w.label = 'NOT_READABLE')
        ORDER BY w.created_at DESC, w.id DESC LIMIT 1)"""
"""The last word of a person: on the pixels, which follows the content, or that this very image is not readable."""

_COLUMNS = f"""s.id AS sighting_id,
    s.source AS source,
    s.source AS root,
    s.path AS path,
    s.origin AS origin,
    s.state AS state,
    s.resolution AS resolution,
    r.label AS label,
    r.probability AS probability,
    r.threshold AS threshold,
    p.model_version AS model_version,
    r.unfamiliar AS unfamiliar,
    s.reason AS reason,
    s.sha256 AS sha256,
    CASE {_LAST_WORD} WHEN 'NORMAL' THEN 'NORMAL' WHEN 'PNEUMONIA' THEN 'PNEUMONIA' END AS reviewed_label,
    {_LAST_WORD} AS reviewed_word,
    s.size AS size,
    s.seen_at AS seen_at,
    s.finished_at AS finished_at,
    p.created_at AS predicted_at,
    p.unfamiliar_score AS unfamiliar_score,
    p.outside_population AS outside_population,
    d.study_uid AS study_uid,
    d.sop_instance_uid AS sop_instance_uid,
    d.accession_number AS accession_number,
    d.patient_key AS patient_key,
    s.lane AS lane,
    p.logit AS logit,
    p.decoder_revision AS decoder_revision,
    p.decoded_with AS decoded_with,
    CASE WHEN p.decoder_revision > 0 THEN p.decoded_with IS NOT NULL END AS repaired,
    r.override AS override"""

_HISTORY = f"""
CREATE VIEW results_history AS
SELECT
    {_COLUMNS},
    CASE WHEN p.id = s.prediction_id THEN 1 ELSE 0 END AS is_result
FROM sightings s
LEFT JOIN screenings r ON r.sighting_id = s.id
LEFT JOIN predictions p ON p.id = r.prediction_id
LEFT JOIN dicom_headers d ON d.sha256 = s.sha256
"""  # noqa: S608 - our own text

_RESULTS = f"""
CREATE VIEW results AS
SELECT
    {_COLUMNS}
FROM sightings s
LEFT JOIN screenings r ON r.sighting_id = s.id AND r.prediction_id = s.prediction_id
LEFT JOIN predictions p ON p.id = r.prediction_id
LEFT JOIN dicom_headers d ON d.sha256 = s.sha256
WHERE s.state <> 'superseded'
  AND NOT EXISTS (
    SELECT 1 FROM sightings newer
    WHERE newer.source = s.source AND newer.path = s.path AND newer.id > s.id AND newer.state <> 'superseded'
  )
"""  # noqa: S608 - our own text


def drop(connection: Connection) -> None:
    for view in ("results", "results_history"):
        connection.execute(text(f"DROP VIEW IF EXISTS {view}"))


def create(connection: Connection) -> None:
    for statement in (_HISTORY, _RESULTS):
        connection.execute(text(statement))


_metadata = MetaData()  # of its own: views are no tables that a migration makes


def _view(name: str, *more: "Column[object]") -> Table:
    return Table(
        name,
        _metadata,
        Column("sighting_id", BigInteger),
        Column("source", Text),
        Column("root", Text),
        Column("path", Text),
        Column("origin", Text),
        Column("state", Text),
        Column("resolution", Text),
        Column("label", Text),
        Column("probability", Double),
        Column("threshold", Double),
        Column("model_version", Text),
        Column("unfamiliar", Boolean),
        Column("reason", Text),
        Column("sha256", Text),
        Column("reviewed_label", Text),
        Column("reviewed_word", Text),
        Column("size", BigInteger),
        Column("seen_at", Instant),
        Column("finished_at", Instant),
        Column("predicted_at", Instant),
        Column("unfamiliar_score", Double),
        Column("outside_population", Boolean),
        Column("study_uid", Text),
        Column("sop_instance_uid", Text),
        Column("accession_number", Text),
        Column("patient_key", Text),
        Column("lane", Text),
        Column("logit", Double),
        Column("decoder_revision", BigInteger),
        Column("decoded_with", Text),
        Column("repaired", Boolean),
        Column("override", Text),
        *more,
    )


RESULTS = _view("results")
"""The newest sighting of each path, with the prediction that it points to."""
RESULTS_HISTORY = _view("results_history", Column("is_result", Integer))
"""Every sighting with everything that was ever said of it."""
