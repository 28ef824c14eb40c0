"""What an image costs the ledger beside more and more rows of earlier images: registered, sent, claimed, finished."""

import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text

from bench import servers
from shared import database
from shared.base.found import Found
from shared.base.lanes import Lane
from shared.database import Database
from shared.ledger import send, work
from shared.ledger.register import MAX_ROWS, register
from shared.ledger.work import Screened
from shared.models.manifest import sha256

ROWS = (0, 10_000, 100_000, 1_000_000)
IMAGES, MESSAGE, BATCH, LEASE = 4000, 128, 32, 60.0
NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n < :last)",
    "postgresql": "WITH numbers(n) AS (SELECT generate_series(cast(:first AS bigint), cast(:last AS bigint)))",
}
DIGEST = {"sqlite": "lower(hex(randomblob(32)))", "postgresql": "md5(random()::text) || md5(random()::text)"}
FILL = (
    """INSERT INTO predictions (id, sha256, model_version, decoder_revision, logit, unfamiliar_score, created_at)
    {numbers} SELECT 1 - n, {digest}, 'earlier', 1, 0.0, 1.0, '2026-01-01 00:00:00.000000' FROM numbers""",
    """INSERT INTO sightings (id, source, path, size, revision, lane, state, sha256, prediction_id, seen_at,
    finished_at) SELECT id, 'earlier', 'ward/' || -id || '.jpeg', 400000, '400000\\:' || -id, 'routine',
    'done', sha256, id, created_at, created_at FROM predictions WHERE id BETWEEN 1 - :last AND 1 - :first""",
    """INSERT INTO screenings (sighting_id, prediction_id, probability, threshold, label, unfamiliar, created_at)
    SELECT id, id, 0.5, 0.5, 'PNEUMONIA', false, created_at FROM predictions
    WHERE id BETWEEN 1 - :last AND 1 - :first""",
    """INSERT INTO jobs (id, sighting_id, lane, state, attempt, created_at, sent_at, deaths) SELECT id, id,
    'routine', 'finished', 1, created_at, created_at, 0 FROM predictions WHERE id BETWEEN 1 - :last AND 1 - :first""",
)


def measure(files: Path, work: Path, server: str | None = None) -> dict[str, float]:
    """Milliseconds per image by number of rows; on PostgreSQL with `server`, the path of a redis-server."""
    with ExitStack() as stack:
        url = f"sqlite:///{work / 'growth.db'}"
        work.mkdir(parents=True)
        if server is not None:
            url = servers.started(stack, server).database_url
        figures = {}
        for before, rows in zip((0, *ROWS), ROWS, strict=False):
            fill(url, rows, before)
            with_database = database.connect(url)
            _screen(with_database, f"warm-{rows}", 512)
            began = time.perf_counter()
            _screen(with_database, f"drop-{rows}", IMAGES)
            figures[f"ms_per_image_at_{rows}"] = 1000 * (time.perf_counter() - began) / IMAGES
            with_database.close()
    return figures


def fill(url: str, rows: int, before: int = 0) -> None:
    """Bring a database to so many rows of images that were screened long ago; `before` of them are there already.

    Their numbers are 0 and below: those above belong to what comes.
    """
    with_database = database.connect(url)
    with_database.upgrade()
    if rows == before:
        return with_database.close()
    dialect = with_database.engine.dialect.name
    with with_database.write() as session:
        for statement in FILL:
            sql = statement.format(numbers=NUMBERS[dialect], digest=DIGEST[dialect])
            session.execute(text(sql), {"first": before + 1, "last": rows})
    if dialect == "postgresql":
        with with_database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for tidying in ("VACUUM ANALYZE", "CHECKPOINT"):  # else it would do so amid the measurement
                connection.exec_driver_sql(tidying)
    with_database.close()


def _screen(with_database: Database, name: str, images: int) -> None:
    """What producer and worker write for so many images, with no file and no network between."""
    now = datetime.now(UTC)
    files = [Found(f"{name}/{n}.jpeg", f"400000:{n}", 400_000, f"0:{n}:{n}") for n in range(images)]
    for start in range(0, images, MAX_ROWS):
        with with_database.write() as session:
            register(session, "bench", Lane.ROUTINE, files[start : start + MAX_ROWS], now)
    while True:
        with with_database.write() as session:
            message = send.take(session, Lane.ROUTINE, MESSAGE, now)
        if message is None:
            return
        with with_database.write() as session:
            claimed = work.claim(session, message, now, LEASE)
        for start in range(0, len(claimed), BATCH):
            outcomes = [
                Screened(claim, sha256(claim.path.encode()), "bench", 0.5, 0.5, "PNEUMONIA")
                for claim in claimed[start : start + BATCH]
            ]
            with with_database.write() as session:
                work.finish(session, outcomes, now)
