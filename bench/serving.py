"""A model server with a client: LitServe, set up as its pages on batching and on faster serving advise.

The client posts the files' bytes from the same machine, many at a time, and writes the answers into a SQLite table.
"""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from bench.limit import BATCH
from bench.rows import CORES
from bench.servers import calm_port
from bench.system import IDLE_SECONDS, START_SECONDS, steady
from shared.base.errors import WorkFailed
from shared.base.settings import EngineName

STOP_SECONDS = 30
Row = tuple[str, float, str, float]


def measure(
    files: Path,
    work: Path,
    workers: int = max(1, CORES // 2),
    api_servers: int = max(1, CORES // 2),
    batch: int = BATCH,
    batch_timeout: float = 0.1,
    in_flight: int = 2 * BATCH * CORES,
    fast_queue: bool = False,
    engine: EngineName = "auto",
) -> dict[str, float]:
    """`in_flight` requests are open at any time: a full batch in each worker, and another that waits for it."""
    work.mkdir(parents=True)
    paths = sorted(files.iterdir())
    port = calm_port()
    options = {
        "port": port,
        "workers": workers,
        "api_servers": api_servers,
        "batch": batch,
        "batch_timeout": batch_timeout,
        "fast_queue": fast_queue,
        "engine": engine,
        "timeout": IDLE_SECONDS,
    }
    command = [sys.executable, "-m", "bench.serving_server", json.dumps(options)]
    output = work / "server.out"
    with output.open("w") as stream:
        server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        with closing(sqlite3.connect(work / "results.db", isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE results (path TEXT, probability REAL, label TEXT, finished_at REAL)")
            try:
                asyncio.run(_screen_all(paths, f"http://127.0.0.1:{port}", in_flight, server, connection))
            except (ConnectionError, TimeoutError) as error:
                raise WorkFailed(f"LitServe does not answer, {error}: {output.read_text()[-2000:]}") from error
            rows = connection.execute("SELECT finished_at FROM results ORDER BY finished_at").fetchall()
    finally:
        _stop(server)
    if len(rows) != len(paths):
        raise WorkFailed(f"LitServe answered for {len(rows)} of {len(paths)} images.")
    return {"images_per_second": steady([row[0] for row in rows])}


async def _screen_all(
    paths: list[Path],
    url: str,
    in_flight: int,
    server: "subprocess.Popen[bytes]",
    connection: sqlite3.Connection,
) -> None:
    import aiohttp  # type: ignore[import-not-found]

    rows: list[Row] = []
    connector = aiohttp.TCPConnector(limit=in_flight)
    timeout = aiohttp.ClientTimeout(total=IDLE_SECONDS)
    async with aiohttp.ClientSession(url, connector=connector, timeout=timeout) as session:
        await _wait_until_ready(session, server)
        waiting = iter(paths)
        try:
            await asyncio.gather(*(_screen(session, waiting, rows, connection) for _ in range(in_flight)))
        except aiohttp.ClientError as error:
            raise ConnectionError(repr(error)) from error
    _write(connection, rows)


async def _wait_until_ready(session: Any, server: "subprocess.Popen[bytes]") -> None:
    """Its port is open before it accepts anything, so a request may wait, too."""
    import aiohttp

    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(aiohttp.ClientError, TimeoutError):
            async with session.get("/health", timeout=aiohttp.ClientTimeout(total=5)) as answer:
                if answer.status == 200:
                    return
        await asyncio.sleep(0.2)
    raise TimeoutError("it did not start")


async def _screen(session: Any, waiting: Iterator[Path], rows: list[Row], connection: sqlite3.Connection) -> None:
    """One request after the other, until none is left."""
    for path in waiting:
        data = path.read_bytes()
        headers = {"Content-Type": "application/octet-stream"}
        async with session.post("/predict", data=data, headers=headers) as answer:
            if answer.status != 200:
                raise WorkFailed(f"LitServe answered {answer.status} for {path.name}: {await answer.text()}")
            result = await answer.json()
        rows.append((path.name, result["probability"], result["label"], time.time()))
        if len(rows) >= BATCH:
            _write(connection, rows)


def _write(connection: sqlite3.Connection, rows: list[Row]) -> None:
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO results VALUES (?, ?, ?, ?)", rows)
    connection.execute("COMMIT")
    rows.clear()


def _stop(server: "subprocess.Popen[bytes]") -> None:
    """Asked first; then whatever it started is ended, too."""
    server.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        server.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait(STOP_SECONDS)
    if server.stdin is not None:
        server.stdin.close()
