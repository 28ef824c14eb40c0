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
from shared.database.truth import BLIND, STANDING, counting_words

_HAS_WORD = """EXISTS (SELECT 1 FROM reviews w WHERE w.sha256 = s.sha256 AND w.withdrawn_at IS NULL)"""
"""Asked first: of what nobody has read, no rule needs to be worked out."""
_OF_IMAGE = counting_words("r.sha256 = s.sha256", "r.label")


def _counting(column: str) -> str:
    return f"CASE WHEN {_HAS_WORD} THEN (SELECT v.{column} FROM ({_OF_IMAGE}) v) END"  # noqa: S608 - our own text


def _last(column: str) -> str:
    """Of the last word: on the pixels, which follows the content, or that this very image is not readable."""
    return f"""(SELECT w.{column} FROM reviews w
        WHERE w.withdrawn_at IS NULL AND ((w.sha256 = s.sha256 AND w.label <> 'NOT_READABLE')
           OR (w.sighting_id = s.id AND w.label = 'NOT_READABLE'))
        ORDER BY CASE WHEN w.method = 'batch' THEN 1 ELSE 0 END, w.created_at DESC, w.id DESC LIMIT 1)"""  # noqa: S608


_WORD = f"coalesce({_counting('label')}, {_last('label')})"
"""The word that counts; where nobody names a class, the last that was said."""
_OTHER_RULE = f"""CASE
        WHEN {_last("method")} = 'batch' THEN 'batch'
        WHEN {_last("label")} IS NOT NULL THEN 'newest'
    END"""
_READING_STATE = f"""CASE coalesce({_counting("rule")}, '')
        WHEN 'senior' THEN 'decided'
        WHEN 'agreement' THEN 'agreed'
        WHEN 'single' THEN 'read'
        WHEN 'newest' THEN 'disputed'
        ELSE CASE {_last("label")}
            WHEN 'UNCLEAR' THEN 'unclear'
            WHEN 'NOT_READABLE' THEN 'not readable'
            WHEN 'NORMAL' THEN 'batch'
            WHEN 'PNEUMONIA' THEN 'batch'
            ELSE 'unread'
        END
    END"""

_AWAITS_BLIND_READING = f"""EXISTS (
        SELECT 1 FROM audit_samples a WHERE a.source = s.source AND a.sha256 = s.sha256
    ) AND NOT EXISTS (SELECT 1 FROM reviews r WHERE r.sha256 = s.sha256 AND {BLIND} AND {STANDING})"""  # noqa: S608
"""An audit sample on which nobody has given a blind word; one who could not tell has read it, too."""

_IS_PROVISIONAL = "(SELECT o.is_provisional FROM operating_points o WHERE o.id = r.operating_point_id)"
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
    CASE {_WORD} WHEN 'NORMAL' THEN 'NORMAL' WHEN 'PNEUMONIA' THEN 'PNEUMONIA' END AS reviewed_label,
    {_WORD} AS reviewed_word,
    coalesce({_counting("reader")}, {_last("reviewer")}) AS reviewed_by,
    coalesce({_counting("rule")}, {_OTHER_RULE}) AS reviewed_rule,
    {_READING_STATE} AS reading_state,
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
    {_AWAITS_BLIND_READING} AS awaits_blind_reading,
    r.operating_point_id AS operating_point,
    {_IS_PROVISIONAL} AS is_provisional"""

_HISTORY = f"""
CREATE VIEW results_history AS
SELECT
    {_COLUMNS},
    CASE WHEN p.id = s.prediction_id THEN s.override ELSE r.override END AS override,
    CASE WHEN p.id = s.prediction_id THEN 1 ELSE 0 END AS is_result
FROM sightings s
LEFT JOIN screenings r ON r.sighting_id = s.id
LEFT JOIN predictions p ON p.id = r.prediction_id
LEFT JOIN dicom_headers d ON d.sha256 = s.sha256
"""  # noqa: S608 - our own text

_RESULTS = f"""
CREATE VIEW results AS
SELECT
    {_COLUMNS},
    s.override AS override
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


UNKNOWN_VERSION = "unknown"
"""Of an audit sample whose prediction is gone."""
_SCREENED_BY = f"coalesce(p.model_version, '{UNKNOWN_VERSION}')"

_AUDIT_CELLS = f"""
    SELECT a.source, {_SCREENED_BY} AS model_version, a.label AS said,
        min(a.drawn_at) AS first_drawn_at,
        max(a.drawn_at) AS last_drawn_at,
        count(*) AS drawn,
        count(c.label) AS read,
        sum(CASE WHEN c.readers > 0 AND c.label IS NULL THEN 1 ELSE 0 END) AS undecided,
        sum(CASE WHEN c.label = 'PNEUMONIA' THEN 1 ELSE 0 END) AS ill,
        sum(1 / a.inclusion) AS weight,
        sum(CASE WHEN c.label IS NOT NULL THEN 1 / a.inclusion END) AS read_weight,
        sum(CASE WHEN c.label = 'PNEUMONIA' THEN 1 / a.inclusion ELSE 0 END) AS ill_weight
    FROM audit_samples a
    LEFT JOIN predictions p ON p.id = a.prediction_id AND p.sha256 = a.sha256
    LEFT JOIN ({counting_words(f"{BLIND} AND r.sha256 IN (SELECT sha256 FROM audit_samples)")}) c
        ON c.sha256 = a.sha256
    GROUP BY a.source, {_SCREENED_BY}, a.label"""  # noqa: S608 - our own text
"""By source, version and what the system said: how many audit samples there are, and what those read weigh."""

_ACCURACY = f"""
CREATE VIEW accuracy AS
SELECT e.source, e.model_version, e.first_drawn_at, e.last_drawn_at, e.drawn, e.read, e.undecided,
    e.drawn - e.read - e.undecided AS unread,
    e.found, e.missed,
    CASE WHEN e.knows_misses = 1 AND e.knows_alarms = 1
        THEN e.ill_called_ill / nullif(e.ill_called_ill + e.ill_called_well, 0)
    END AS recall,
    CASE WHEN e.knows_misses = 1 AND e.knows_alarms = 1
        THEN (e.well - e.ill_called_well) / nullif(e.well - e.ill_called_well + e.called_ill - e.ill_called_ill, 0)
    END AS specificity,
    CASE WHEN e.knows_misses = 1 AND e.knows_alarms = 1
        THEN 1000 * e.ill_called_well / (e.well + e.called_ill)
    END AS misses_per_1000
FROM (
    SELECT source, model_version,
        min(first_drawn_at) AS first_drawn_at,
        max(last_drawn_at) AS last_drawn_at,
        CAST(sum(drawn) AS bigint) AS drawn,
        CAST(sum(read) AS bigint) AS read,
        CAST(sum(undecided) AS bigint) AS undecided,
        CAST(sum(CASE WHEN said = 'PNEUMONIA' THEN ill ELSE 0 END) AS bigint) AS found,
        CAST(sum(CASE WHEN said = 'NORMAL' THEN ill ELSE 0 END) AS bigint) AS missed,
        sum(CASE WHEN said = 'NORMAL' THEN weight ELSE 0 END) AS well,
        sum(CASE WHEN said = 'PNEUMONIA' THEN weight ELSE 0 END) AS called_ill,
        sum(CASE WHEN said = 'PNEUMONIA' AND read > 0 THEN ill_weight * weight / read_weight ELSE 0 END)
            AS ill_called_ill,
        sum(CASE WHEN said = 'NORMAL' AND read > 0 THEN ill_weight * weight / read_weight ELSE 0 END)
            AS ill_called_well,
        max(CASE WHEN said = 'NORMAL' AND read > 0 THEN 1 ELSE 0 END) AS knows_misses,
        max(CASE WHEN said = 'PNEUMONIA' AND read > 0 THEN 1 ELSE 0 END) AS knows_alarms
    FROM ({_AUDIT_CELLS}
    ) cells GROUP BY source, model_version
) e
"""  # noqa: S608 - our own text
"""Point estimates: an image that was read stands for those that were not drawn, and for those that nobody has read."""


_WORKLIST = """
CREATE VIEW worklist AS
SELECT l.sighting_id AS sighting_id, l.need AS need, l.place AS place, l.waits_for AS waits_for,
    EXISTS (SELECT 1 FROM audit_samples a WHERE a.sha256 = l.sha256)
        OR EXISTS (SELECT 1 FROM draw_members m WHERE m.sha256 = l.sha256) AS is_drawn
FROM reading_list l
"""
"""Where each screened image stands on the reading list, and whether a random draw asks for it."""

VIEWS = ("accuracy", "results", "results_history", "worklist")


def drop(connection: Connection) -> None:
    for view in VIEWS:
        connection.execute(text(f"DROP VIEW IF EXISTS {view}"))


def create(connection: Connection) -> None:
    for statement in (_HISTORY, _RESULTS, _ACCURACY, _WORKLIST):
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
        Column("reviewed_by", Text),
        Column("reviewed_rule", Text),
        Column("reading_state", Text),
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
        Column("awaits_blind_reading", Boolean),
        Column("operating_point", BigInteger),
        Column("is_provisional", Boolean),
        Column("override", Text),
        *more,
    )


RESULTS = _view("results")
"""The newest sighting of each path, with the prediction that it points to."""
RESULTS_HISTORY = _view("results_history", Column("is_result", Integer))
"""Every sighting with everything that was ever said of it."""
WORKLIST = Table(
    "worklist",
    _metadata,
    Column("sighting_id", BigInteger),
    Column("need", Integer),
    Column("place", Double),
    Column("waits_for", Text),
    Column("is_drawn", Boolean),
)
"""The order in which images are read: `need`, then `place`."""
