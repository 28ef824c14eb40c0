"""Rows of results as files: CSV, JSON, and Parquet with a fixed schema."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Boolean, Double, Integer

from cli.console import out
from queries.results import Listing
from shared.base.errors import InvalidRequest
from shared.database.tables import Instant

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP = 50_000
"""Rows that are held in memory at a time."""

Row = dict[str, Any]


def write_csv(listing: Listing) -> None:
    writer = csv.DictWriter(sys.stdout, _names(listing))
    writer.writeheader()
    for row in listing.rows:
        writer.writerow({name: int(value) if isinstance(value, bool) else value for name, value in row.items()})


def write_json(listing: Listing) -> None:
    out.file.write("[")
    for number, row in enumerate(listing.rows):
        out.file.write((",\n " if number else "\n ") + json.dumps(row, default=str, ensure_ascii=False))
    out.file.write("\n]\n")


def write_parquet(listing: Listing) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InvalidRequest(
            "--format parquet needs the package pyarrow: pip install 'pneumoscreen[parquet]'."
        ) from error
    if sys.stdout.isatty():
        raise InvalidRequest(
            "Parquet is binary: send it to a file, as in `results --format parquet > results.parquet`."
        )
    schema = _schema(listing)
    with pq.ParquetWriter(sys.stdout.buffer, schema) as writer:
        for rows in _groups(listing.rows):
            writer.write_table(pa.Table.from_pylist(rows, schema))


def _schema(listing: Listing) -> "pa.Schema":
    """From the views' types and not from the rows, so that an export with an empty column has the same schema."""
    import pyarrow as pa

    def arrow(kind: object) -> "pa.DataType":
        match kind:
            case Instant():
                return pa.timestamp("us", "UTC")
            case Boolean():
                return pa.bool_()
            case Double():
                return pa.float64()
            case BigInteger() | Integer():
                return pa.int64()
            case _:
                return pa.string()

    return pa.schema((column.name, arrow(column.type)) for column in listing.columns)


def _groups(rows: Iterable[Row]) -> Iterator[Sequence[Row]]:
    remaining = iter(rows)
    while group := list(islice(remaining, ROW_GROUP)):
        yield group


def _names(listing: Listing) -> list[str]:
    return [column.name for column in listing.columns]
