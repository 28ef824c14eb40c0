"""Which word counts on a content, in SQL: the one rule of the views, the page, the trainer, draws and accuracy."""

STANDING = "r.sha256 IS NOT NULL AND r.withdrawn_at IS NULL AND (r.method IS NULL OR r.method <> 'batch')"
"""On a content, not taken back, and not given to many images at once: what any use asks of a word."""
BLIND = "r.is_blind"
"""Given without sight of the model's answer or another reader's word: what may calibrate, gate and count."""
DRAWN = f"{BLIND} AND r.draw_id IS NOT NULL"
"""Given on an image that a random draw had asked for."""
TRAINING = "(r.is_blind OR r.is_blind IS NULL) AND r.label <> 'NOT_READABLE'"
"""Blind ones, and all of older schemas. NOT_READABLE is a word on one sighting, not on its pixels."""
WITHOUT_OTHER_FINDINGS = "CASE WHEN r.other_finding THEN 'UNCLEAR' ELSE r.label END"
"""Who saw something else has read the image, but names no class that a model could learn or be held to."""


def counting_words(eligible: str, label: str = WITHOUT_OTHER_FINDINGS) -> str:
    """A SELECT of `sha256`, `label`, `readers`, `rule` and `reader` from the reviews `r` that fulfil `eligible`.

    Only STANDING ones are eligible. Each reader has one word on a content:
    their newest; if it is UNCLEAR, none. A senior's word counts (the newest of them), else the label that most readers
    give; where as many say the one as the other, the newest. `label` is NULL where nobody names a class. `readers`
    counts also those who could not tell. `rule` is `senior`, `agreement` (of two at least), `single`, or `newest`
    where they contradict each other; `reader` is who gave the word that counts, the last of several.
    """
    return f"""
SELECT c.sha256 AS sha256, c.label AS label, c.readers AS readers,
    CASE
        WHEN c.seniors > 0 THEN 'senior'
        WHEN c.ill <> c.well AND (c.ill > 1 OR c.well > 1) THEN 'agreement'
        WHEN c.ill <> c.well THEN 'single'
        WHEN c.ill > 0 THEN 'newest'
    END AS rule,
    CASE
        WHEN c.seniors > 0 THEN c.senior
        WHEN c.label = 'PNEUMONIA' THEN c.ill_reader
        WHEN c.label = 'NORMAL' THEN c.well_reader
    END AS reader
FROM (
    SELECT n.sha256 AS sha256,
        coalesce(
            max(CASE WHEN n.is_deciding = 1 AND n.place = 1 THEN n.label END),
            CASE
                WHEN sum(n.is_ill) > sum(n.is_well) THEN 'PNEUMONIA'
                WHEN sum(n.is_well) > sum(n.is_ill) THEN 'NORMAL'
            END,
            max(CASE WHEN n.is_ill + n.is_well = 1 AND n.turn_of_class = 1 THEN n.label END)
        ) AS label,
        count(*) AS readers,
        sum(n.is_deciding) AS seniors,
        sum(n.is_ill) AS ill,
        sum(n.is_well) AS well,
        max(CASE WHEN n.is_deciding = 1 AND n.place = 1 THEN n.reviewer END) AS senior,
        max(CASE WHEN n.is_ill = 1 AND n.turn_of_label = 1 THEN n.reviewer END) AS ill_reader,
        max(CASE WHEN n.is_well = 1 AND n.turn_of_label = 1 THEN n.reviewer END) AS well_reader
    FROM (
        SELECT w.sha256, w.label, w.reviewer, w.is_deciding,
            CASE WHEN w.label = 'PNEUMONIA' THEN 1 ELSE 0 END AS is_ill,
            CASE WHEN w.label = 'NORMAL' THEN 1 ELSE 0 END AS is_well,
            row_number() OVER (PARTITION BY w.sha256, w.is_deciding ORDER BY w.created_at DESC, w.id DESC) AS place,
            row_number() OVER (PARTITION BY w.sha256, w.label ORDER BY w.created_at DESC, w.id DESC) AS turn_of_label,
            row_number() OVER (
                PARTITION BY w.sha256, CASE WHEN w.label IN ('NORMAL', 'PNEUMONIA') THEN 1 ELSE 0 END
                ORDER BY w.created_at DESC, w.id DESC
            ) AS turn_of_class
        FROM (
            SELECT t.id, t.sha256, t.label, t.reviewer, t.created_at,
                CASE WHEN t.is_senior AND t.label IN ('NORMAL', 'PNEUMONIA') THEN 1 ELSE 0 END AS is_deciding
            FROM (
                SELECT r.id, r.sha256, {label} AS label, r.reviewer, r.created_at, r.is_senior,
                    row_number() OVER (PARTITION BY r.sha256, r.reviewer ORDER BY r.created_at DESC, r.id DESC) AS turn
                FROM reviews r
                WHERE {STANDING} AND {eligible}
            ) t
            WHERE t.turn = 1
        ) w
    ) n
    GROUP BY n.sha256
) c"""  # noqa: S608 - our own text
