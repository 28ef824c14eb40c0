"""What a database refuses: the sentences, the ways out, and that no image is to blame."""

from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from shared.base.host_failures import describe_host_failure
from shared.database import Database, connect, refusals
from shared.database.refusals import REFUSES, SOME


def refused(database: Database, *statements: str) -> refusals.Refusal | None:
    try:
        with database.write() as session:
            for statement in statements:
                session.execute(text(statement))
    except SQLAlchemyError as error:
        return refusals.find(error)
    raise AssertionError("it was not refused")


def raised(code: str) -> DBAPIError:
    """As SQLAlchemy raises what PostgreSQL answers with this code."""
    original = psycopg.errors.lookup(code)("so it is")
    error = DBAPIError.instance("SELECT 1", {}, original, psycopg.Error)
    assert isinstance(error, DBAPIError)
    return error


def test_a_table_of_another_schema_needs_a_person(database: Database) -> None:
    refusal = refused(database, "INSERT INTO tables_of_tomorrow (id) VALUES (1)")
    assert refusal is not None
    assert refusal.sentence.startswith(REFUSES)
    assert "tables_of_tomorrow" in refusal.sentence
    assert refusal.sentence.endswith("`pneumoscreen db upgrade`")


def test_a_row_that_breaks_a_rule_of_another_schema_needs_a_person(database: Database) -> None:
    refusal = refused(database, "INSERT INTO jobs (id) VALUES (1)")
    assert refusal is not None
    assert refusal.tries == 0


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_file_that_is_damaged_needs_a_person(database: Database) -> None:
    database.close()
    file = Path(database.engine.url.database or "")
    file.write_bytes(b"SQLite format 3\0" + b"\xff" * 8000)
    refusal = refused(connect(f"sqlite:///{file}"), "SELECT 1 FROM jobs")
    assert refusal is not None
    assert refusal.sentence.endswith("it is damaged: restore a backup")


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_transaction_that_may_only_read_waits_for_a_primary_on_another_connection(database: Database) -> None:
    with database.write() as session:
        before = session.scalar(text("SELECT pg_backend_pid()"))
    refusal = refused(database, "SET TRANSACTION READ ONLY", "DELETE FROM jobs")
    assert refusal is not None
    assert refusal.tries is None
    with database.write() as session:
        assert session.scalar(text("SELECT pg_backend_pid()")) != before


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_statement_that_takes_too_long_is_tried_again_some_times(database: Database) -> None:
    refusal = refused(database, "SET LOCAL statement_timeout = '10ms'", "SELECT pg_sleep(1)")
    assert refusal is not None
    assert refusal.tries == SOME


CODES = {
    "42501": 0,  # insufficient privilege
    "42P01": 0,  # undefined table
    "42703": 0,  # undefined column
    "23502": 0,  # not null
    "XX001": 0,  # data corrupted
    "42601": 0,  # syntax error: of an extension or a view of somebody's
    "0A000": SOME,  # cached plan
    "26000": SOME,  # prepared statement does not exist
    "23505": SOME,  # unique
    "40001": SOME,  # serialization
    "40P01": SOME,  # deadlock
    "55P03": SOME,  # lock not available
    "57014": SOME,  # query canceled
    "53200": SOME,  # out of memory
    "25P03": SOME,  # idle in transaction
    "25006": None,  # read only
    "53100": None,  # disk full
    "53300": None,  # too many connections
    "57P01": None,  # admin shutdown
    "57P03": None,  # cannot connect now
    "08006": None,  # connection failure
    "28P01": None,  # invalid password
    "3D000": None,  # no such database
    "XX000": None,  # internal error: a standby, a pooler
}


@pytest.mark.parametrize(("code", "tries"), CODES.items())
def test_whatever_a_server_answers_no_image_is_to_blame(code: str, tries: int | None) -> None:
    refusal = refusals.find(raised(code))
    assert refusal is not None
    assert (refusal.tries, "so it is" in refusal.sentence) == (tries, True)


@pytest.mark.parametrize("code", ["22001", "22021", "22003"])
def test_a_value_that_cannot_be_stored_is_no_refusal(code: str) -> None:
    assert refusals.find(raised(code)) is None


@pytest.mark.parametrize("error", [ValueError("no"), KeyError("no"), OSError("image file is truncated"), MemoryError()])
def test_what_may_be_a_files_own_fault_is_neither_a_refusal_nor_the_hosts(error: Exception) -> None:
    assert refusals.find(error) is None
    assert describe_host_failure(error) is None


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'tifffile'", name="tifffile"),
        ImportError("libopenjp2.so: cannot open shared object file"),
        OSError(24, "Too many open files"),
        OSError(28, "No space left on device"),
        RuntimeError("can't start new thread"),
    ],
)
def test_what_the_host_lacks_is_the_hosts_fault_also_where_a_library_wraps_it(error: Exception) -> None:
    assert describe_host_failure(error) is not None
    wrapped = ValueError("did not decode")
    wrapped.__cause__ = error
    assert describe_host_failure(wrapped) == describe_host_failure(error)
