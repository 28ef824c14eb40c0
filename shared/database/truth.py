"""Which word counts on a content, in SQL: the one rule of `shared/ledger/words.py` and of the view `accuracy`."""

STANDING = "r.sha256 IS NOT NULL AND r.withdrawn_at IS NULL AND (r.method IS NULL OR r.method <> 'batch')"
"""On a content, not taken back, and not given to many images at once: what any use asks of a word."""
BLIND = "r.is_blind"
"""Given without sight of the model's answer or another reader's word: what may calibrate, gate and count."""
DRAWN = f"{BLIND} AND r.draw_id IS NOT NULL"
"""Given on an image that a random draw had asked for."""
TRAINING = "(r.is_blind OR r.is_blind IS NULL) AND r.label <> 'NOT_READABLE'"
"""Blind ones, and all of older schemas. NOT_READABLE is a word on one sighting, not on its pixels."""


def counting_words(eligible: str) -> str:
    """A SELECT of `sha256`, `label` and `readers` from the reviews `r` that fulfil the condition `eligible`.

    Only STANDING ones are eligible. Each reader has one word on a content:
    their newest; if it is UNCLEAR, none. A senior's word counts (the newest of them), else the label that most readers
    give; where as many say the one as the other, the newest. `label` is NULL where nobody names a class. `readers`
    counts also those who could not tell.
    """
    return f"""
SELECT n.sha256 AS sha256,
    coalesce(
        max(CASE WHEN n.is_deciding = 1 AND n.place = 1 THEN n.label END),
        CASE
            WHEN sum(n.is_ill) > sum(n.is_well) THEN 'PNEUMONIA'
            WHEN sum(n.is_well) > sum(n.is_ill) THEN 'NORMAL'
        END,
        max(CASE WHEN n.is_ill + n.is_well = 1 AND n.turn_of_class = 1 THEN n.label END)
    ) AS label,
    count(*) AS readers
FROM (
    SELECT w.sha256, w.label, w.is_deciding,
        CASE WHEN w.label = 'PNEUMONIA' THEN 1 ELSE 0 END AS is_ill,
        CASE WHEN w.label = 'NORMAL' THEN 1 ELSE 0 END AS is_well,
        row_number() OVER (PARTITION BY w.sha256, w.is_deciding ORDER BY w.created_at DESC, w.id DESC) AS place,
        row_number() OVER (
            PARTITION BY w.sha256, CASE WHEN w.label IN ('NORMAL', 'PNEUMONIA') THEN 1 ELSE 0 END
            ORDER BY w.created_at DESC, w.id DESC
        ) AS turn_of_class
    FROM (
        SELECT r.id, r.sha256, r.label, r.created_at,
            CASE WHEN r.is_senior AND r.label IN ('NORMAL', 'PNEUMONIA') THEN 1 ELSE 0 END AS is_deciding,
            row_number() OVER (PARTITION BY r.sha256, r.reviewer ORDER BY r.created_at DESC, r.id DESC) AS turn
        FROM reviews r
        WHERE {STANDING} AND {eligible}
    ) w
    WHERE w.turn = 1
) n
GROUP BY n.sha256"""  # noqa: S608 - our own text
