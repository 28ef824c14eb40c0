"""The views that people query, in SQL that SQLite and PostgreSQL both read. A migration creates them.

A released migration never changes: a change of a view is a new constant here and a new migration that replaces it.
"""

COLUMNS = """s.id AS sighting_id,
    s.root AS root,
    s.path AS path,
    s.origin AS origin,
    s.state AS state,
    p.label AS label,
    p.probability AS probability,
    p.threshold AS threshold,
    p.model_version AS model_version,
    p.unfamiliar AS unfamiliar,
    s.reason AS reason,
    s.sha256 AS sha256,
    (SELECT r.label FROM reviews r WHERE r.sha256 = s.sha256 ORDER BY r.id DESC LIMIT 1) AS reviewed_label,
    s.size AS size,
    s.seen_at AS seen_at,
    s.finished_at AS finished_at,
    p.created_at AS predicted_at"""

HISTORY = f"""
CREATE VIEW results_history AS
SELECT
    {COLUMNS},
    CASE WHEN p.id = s.prediction_id THEN 1 ELSE 0 END AS is_result
FROM sightings s
LEFT JOIN predictions p ON p.sha256 = s.sha256
"""  # noqa: S608 - our own text

RESULTS = f"""
CREATE VIEW results AS
SELECT
    {COLUMNS}
FROM sightings s
LEFT JOIN predictions p ON p.id = s.prediction_id
WHERE s.state <> 'superseded'
  AND NOT EXISTS (
    SELECT 1 FROM sightings newer
    WHERE newer.root = s.root AND newer.path = s.path AND newer.id > s.id AND newer.state <> 'superseded'
  )
"""  # noqa: S608 - our own text
