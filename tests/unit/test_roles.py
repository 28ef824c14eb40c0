"""What the three roles of docs/roles.sql can do on a real PostgreSQL, and what each cannot."""

import json
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from actions import promotion
from actions.installation import install_bundled
from cli import main
from cli.dismiss import dismiss
from cli.retry import retry
from cli.review import review
from cli.status import status
from producer.service import Producer
from queries.rights import is_of_a_service, missing_rights
from shared.base.decoder import DECODER_REVISION
from shared.base.filesystem import MARKER
from shared.base.lanes import Lane
from shared.base.settings import load
from shared.base.source_settings import FolderSettings
from shared.database import Database, DeadLetter, JobState, Role, Worker, connect
from shared.ledger import outbox, recover, rescreening, send, work
from shared.ledger.rescreening import Selection
from shared.ledger.work import MAX_ATTEMPTS, Identifiers, Quarantined, Screened, Superseded
from shared.sources.folder.facts import Facts
from tests.conftest import Databases
from tests.models import go_live, make_linear_version
from tests.points import add_point, draw_with_words
from tests.unit.outbox_steps import done, make, pacs, sent, take, wanted
from tests.unit.steps import NOW, after, claim, drop, file, finish, in_hand, rows, screened, send_all
from tests.unit.test_producer_pause import run, settings, states
from tests.unit.test_screening import png
from tests.web_server import PASSWORD, add_account, serving
from worker.process import WorkerProcess
from worker.screening import screen_message

DOCS = Path(__file__).parents[2] / "docs"
SCRIPT = DOCS / "roles.sql"
FOR_READERS = (DOCS / "results.md").read_text().partition("## Queries of the tables")[0]
QUERIES = re.findall(r"```sql\n(.*?)```", FOR_READERS, re.DOTALL)

RELATIONS = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')"


def apply(database: Database) -> None:
    url = database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    done = subprocess.run(["psql", "--no-psqlrc", "--quiet", "--file", SCRIPT, url], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr


@pytest.fixture(scope="module")
def databases(databases: Databases) -> Databases:
    """Databases to which the script was applied twice."""

    def apply_twice(database: Database) -> None:
        for _ in range(2):
            apply(database)

    return databases.after(apply_twice)


@pytest.fixture
def owner(database: Database, tmp_path: Path) -> Database:
    """A database with a live version in it."""
    go_live(database, make_linear_version(tmp_path / "models", "v1"))
    return database


def connected(owner: Database, role: str) -> Database:
    return connect(owner.engine.url.set(username=role).render_as_string(hide_password=False))


@pytest.fixture
def worker(owner: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    database = connected(owner, "pneumoscreen_worker")
    monkeypatch.setenv("PNEUMOSCREEN_DATABASE_URL", database.engine.url.render_as_string(hide_password=False))
    yield database
    database.close()


@pytest.fixture
def reader(owner: Database) -> Iterator[Database]:
    database = connected(owner, "pneumoscreen_reader")
    yield database
    database.close()


postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@postgresql
def test_the_services_role_runs_the_whole_life_of_an_image(worker: Database, tmp_path: Path, redis_url: str) -> None:
    worker.check()
    done, bad, changed, lost = in_hand(worker, "a", "b", "c", "d")
    kept = Identifiers("1.2.3", "1.2.3.4", "A-1", "k" * 64)
    result = Screened(done, "a" * 64, "v1", 0.9, 0.5, "PNEUMONIA", False, kept)
    finish(worker, result, Quarantined(bad, "blank"), Superseded(changed, file("c", size=2), after(2)))
    with worker.write() as session:
        assert recover.recover_claimed(session, after(3600), 60.0) == (1, 0)
        recover.recover_all_sent(session, None, "epoch")
        recover.recover_all_sent(session, "epoch", "another")
    message = send_all(worker, Lane.SUSPECT, after(3600))
    with worker.write() as session:
        send.take_back(session, message)
    message = send_all(worker, Lane.SUSPECT, after(3600))
    with worker.write() as session:
        assert recover.recover_sent(session, after(7200), 120) == 1
        work.renew(session, message, NOW, 60)
        session.add(DeadLetter(body="{}", reason="not one of ours", received_at=NOW))
    process = WorkerProcess(load(tmp_path))  # writes its heartbeat
    process.stop()
    process.database.close()
    review(load(tmp_path), "a", "NORMAL", "Dr. Okafor", None, None)
    dismiss(load(tmp_path), ["b"], None, "Dr. Okafor", "a letter")
    retry(load(tmp_path), ["b"], None, False)
    with pytest.raises(Exception, match="1"):  # typer's exit: no worker is alive by now
        status(load(tmp_path, broker_url=redis_url))
    assert {row["path"]: row["state"] for row in rows(worker)} == {
        "a": "done",
        "b": "waiting",
        "c": "waiting",
        "d": "waiting",
    }
    assert lost.path == "d"


@postgresql
def test_the_services_role_has_results_of_an_older_decoder_read_again(worker: Database) -> None:
    (claimed,) = in_hand(worker, "a")
    finish(worker, replace(screened(claimed), decoder_revision=0))
    with worker.write() as session:
        rescreening.rescreen_part(session, Selection(decoded_before=DECODER_REVISION, if_differs=True), after(1), 0)
    (again,) = claim(worker, send_all(worker, Lane.BACKGROUND, after(2)))
    finish(worker, replace(screened(again), decoded_with="a window is not used"))
    (row,) = rows(worker, "results_history")
    assert (row["decoder_revision"], row["decoded_with"]) == (DECODER_REVISION, "a window is not used")


def grant(owner: Database, statement: str) -> None:
    with owner.write() as session:
        session.execute(text(statement))


@postgresql
def test_a_right_that_the_worker_lacks_puts_images_off_until_it_is_granted(
    owner: Database,
    worker: Database,
    tmp_path: Path,
    redis_url: str,
    run_command: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As after an upgrade whose tables nobody has granted yet."""
    grant(owner, "REVOKE INSERT ON screenings FROM pneumoscreen_worker")
    monkeypatch.setenv("PNEUMOSCREEN_BROKER_URL", redis_url)
    monkeypatch.setenv("COLUMNS", "400")
    (tmp_path / "ward").mkdir()
    (tmp_path / "ward" / MARKER).touch()
    process = WorkerProcess(load(tmp_path, sources={"ward": FolderSettings(path=tmp_path / "ward")}))
    try:
        image = tmp_path / "ward" / "a.png"
        image.write_bytes(png())
        drop(owner, Facts.of(image.stat()).found("a.png"), now=datetime.now(UTC))
        now = datetime.now(UTC)
        for _ in range(2 * MAX_ATTEMPTS):
            now += timedelta(minutes=10)
            assert screen_message(process, send_all(worker, now=now).encode()) == "1 images: 1 put off"
        code, screen, _ = run_command("status", "--home", tmp_path)
        assert code == 1
        assert (
            "Needs a person: the database does not permit its role all that the services do (INSERT on screenings): "
            "`docs/roles.sql` grants it" in screen
        )
        refused = "the database refuses: permission denied for table screenings: `docs/roles.sql` grants it"
        assert refused in screen
        apply(owner)
        done = screen_message(process, send_all(worker, now=now + timedelta(minutes=10)).encode())
        assert done == "1 images: 1 done"
    finally:
        process.stop()
        process.database.close()


@postgresql
def test_a_worker_that_may_not_even_take_a_job_says_so_and_blames_no_image(
    owner: Database, worker: Database, tmp_path: Path
) -> None:
    process = WorkerProcess(load(tmp_path))
    try:
        drop(owner, "a.png")
        message = send_all(owner)
        grant(owner, "REVOKE UPDATE ON jobs FROM pneumoscreen_worker")
        with pytest.raises(ProgrammingError, match="permission denied for table jobs"):
            screen_message(process, message.encode())
        process._report(NOW)
        with owner.read() as session:
            error = session.query(Worker).one().error
        assert error == "the database refuses: permission denied for table jobs: `docs/roles.sql` grants it"
        assert rows(owner)[0]["state"] == "waiting"
    finally:
        process.stop()
        process.database.close()


@postgresql
def test_a_producer_that_lacks_a_right_does_not_end_and_does_all_else(
    owner: Database, worker: Database, tmp_path: Path, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    grant(owner, "REVOKE INSERT ON sightings, source_states FROM pneumoscreen_worker")
    producer = Producer(settings(tmp_path, redis_url, 0))
    (tmp_path / "ward" / "a.png").write_bytes(png())
    run(producer, lambda: "permission denied for table sightings: `docs/roles.sql` grants it" in caplog.text, 60)
    assert rows(owner) == []
    grant(owner, "GRANT INSERT ON sightings TO pneumoscreen_worker")
    run(Producer(settings(tmp_path, redis_url, 0)), lambda: states(owner) == {JobState.SENT: 1}, 60)
    assert states(owner) == {JobState.SENT: 1}, "although nothing can be said of its source"
    assert "permission denied for table source_states" in caplog.text


RIGHTS = [
    ("INSERT", "screenings", "INSERT on screenings"),
    ("SELECT", "reviews", "SELECT on reviews"),
    ("UPDATE (decoded_with)", "predictions", "UPDATE of decoded_with on predictions"),
    ("USAGE", "SEQUENCE jobs_id_seq", "USAGE on jobs_id_seq"),
]


@postgresql
@pytest.mark.parametrize(("right", "table", "said"), RIGHTS)
def test_what_a_role_lacks_is_named(owner: Database, worker: Database, right: str, table: str, said: str) -> None:
    with worker.read() as session:
        assert missing_rights(session) == []
    grant(owner, f"REVOKE {right} ON {table} FROM pneumoscreen_worker")
    with worker.read() as session:
        assert missing_rights(session) == [said]
    with owner.read() as session:
        assert missing_rights(session, "pneumoscreen_worker") == [said]
        reader = missing_rights(session, "pneumoscreen_reader")
        assert not is_of_a_service(reader)
        assert missing_rights(session) == []


FORBIDDEN = [
    "DELETE FROM sightings",
    "DELETE FROM jobs",
    "DELETE FROM predictions",
    "UPDATE predictions SET logit = 0",
    "UPDATE screenings SET probability = 0",
    "DELETE FROM screenings",
    "UPDATE reviews SET label = 'NORMAL'",
    "DELETE FROM reviews",
    "UPDATE dicom_headers SET study_uid = NULL",
    "DELETE FROM dicom_headers",
    "UPDATE audit_log SET actor = 'nobody'",
    "DELETE FROM audit_log",
    "DELETE FROM dead_letters",
    "INSERT INTO promotions (version, promoted_by, promoted_at) VALUES ('v1', 'me', now())",
    "INSERT INTO model_versions (version, manifest_sha256, created_at) VALUES ('v2', 'x', now())",
    "UPDATE model_versions SET manifest_sha256 = 'x'",
    "UPDATE jobs SET override = 'me: a study'",
    "INSERT INTO jobs (sighting_id, lane, state, attempt, deaths, created_at, override) "
    "VALUES (1, 'routine', 'unsent', 0, 0, now(), 'me: a study')",
    "INSERT INTO shadow_runs (model_version, source, share, started_by, started_at) "
    "VALUES ('v1', 'ward', 1, 'me', now())",
    "INSERT INTO operating_points (source, model_version, threshold) VALUES ('ward', 'v1', 0.5)",
    "UPDATE operating_points SET applied_by = 'me', applied_at = now()",
    "DELETE FROM operating_points",
    "UPDATE draws SET seed = 1",
    "UPDATE draw_members SET inclusion = 1",
    "DELETE FROM draw_members",
    "UPDATE audit_samples SET inclusion = 1",
    "DELETE FROM audit_samples",
    "UPDATE shadow_scores SET label = 'NORMAL'",
    "UPDATE shadow_runs SET share = 1",
    "UPDATE drift_checks SET source = 'icu'",
    "DELETE FROM drift_references",
    "UPDATE version_notes SET note = 'bad'",
    "INSERT INTO version_notes (version, author, note, created_at) VALUES ('v1', 'me', 'good', now())",
    "UPDATE outbox SET facts = '{}'",
    "UPDATE outbox SET destination = 'another'",
    "DELETE FROM outbox",
    "UPDATE installation SET identity = ''",
    "UPDATE alembic_version SET version_num = 'x'",
    "TRUNCATE sightings CASCADE",
    "DROP TABLE jobs",
    "CREATE TABLE mine (id int)",
    "CREATE ROLE another",
]


@postgresql
def test_services_start_under_a_role_that_may_not_install_a_candidate(worker: Database, tmp_path: Path) -> None:
    installation = install_bundled(worker, tmp_path / "models", NOW)
    assert (installation.live, installation.candidate) == ("v1", None)
    assert installation.problem is not None
    assert "may not publish versions" in installation.problem


@postgresql
def test_the_services_role_can_do_all_that_a_courier_does(worker: Database) -> None:
    destinations = wanted(pacs=pacs())
    done(worker, "a")
    assert make(worker, destinations) == 1
    (taken,) = take(worker)
    with worker.write() as session:
        outbox.note_away(session, "pacs", NOW, "no answer")
        outbox.put_back(session, taken, NOW, None)
    assert len(sent(worker, now=after(5))) == 1


@postgresql
@pytest.mark.parametrize("statement", FORBIDDEN)
def test_the_services_role_changes_no_result_and_promotes_no_model(worker: Database, statement: str) -> None:
    with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"), worker.write() as session:
        session.execute(text(statement))


def command(
    database: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object
) -> tuple[int, str, str]:
    """What `pneumoscreen` does in this process for whoever opened the database."""
    monkeypatch.setenv("PNEUMOSCREEN_DATABASE_URL", database.engine.url.render_as_string(hide_password=False))
    monkeypatch.setattr(sys, "argv", ["pneumoscreen", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main.main()
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out, printed.err


@postgresql
@pytest.mark.parametrize(
    "options", [[], ["a"], ["1"], ["a" * 64, "--history"], ["--source", "ward"], ["--to-review"], ["--label", "normal"]]
)
def test_the_readers_role_can_ask_for_results(
    owner: Database,
    reader: Database,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
) -> None:
    finish(owner, screened(*in_hand(owner, "a")))
    code, out, errors = command(
        reader, capsys, monkeypatch, "results", *options, "--format", "json", "--home", tmp_path
    )
    assert (code, errors) == (0, "")
    assert [row["path"] for row in json.loads(out)] == ([] if "normal" in options else ["a"])


@postgresql
@pytest.mark.parametrize(
    ("role", "arguments", "lacks"),
    [
        (
            "pneumoscreen_worker",
            ["models", "promote", "v2", "--by", "me", "--reason", "test"],
            "permission denied for table model_versions",
        ),
        ("pneumoscreen_worker", ["rescreen", "--model", "v2", "--by", "me", "--reason", "test"], "only the owner"),
        (
            "pneumoscreen_worker",
            ["calibrate", "apply", "1", "--by", "me", "--reason", "test"],
            "permission denied for table model_versions",
        ),
        (
            "pneumoscreen_worker",
            ["calibrate", "fit", "--source", "ward"],
            "permission denied for table operating_points",
        ),
        ("pneumoscreen_reader", ["review", "a", "NORMAL", "--by", "me"], "permission denied for table sightings"),
        ("pneumoscreen_reader", ["status"], "permission denied for table"),
    ],
)
def test_a_role_without_the_right_is_told_so_in_one_sentence(
    owner: Database,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    role: str,
    arguments: list[str],
    lacks: str,
) -> None:
    promotion.publish(owner, tmp_path / "models", make_linear_version(tmp_path, "v2"), NOW, "me")
    add_point(owner, is_applied=False)
    draw_with_words(owner, [1.0, -1.0, 2.0, -2.0], ["PNEUMONIA", "NORMAL"] * 2)
    (tmp_path / "pneumoscreen.toml").write_text(f'[sources.ward]\npath = "{tmp_path / "ward"}"\n')
    database = connected(owner, role)
    code, _, errors = command(database, capsys, monkeypatch, *arguments, "--home", tmp_path)
    database.close()
    line = " ".join(errors.split())  # as wide as the terminal is
    assert code == 3
    assert f"the role {role}: {lacks}" in line
    assert "docs/roles.sql" in line


@postgresql
def test_whoever_asks_for_results_sees_times_in_utc(owner: Database, reader: Database) -> None:
    url = reader.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    command = ["psql", "--no-psqlrc", "--tuples-only", "--no-align", "--command", "SHOW timezone", url]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "UTC"
    with owner.read() as session:  # and so do the commands, whichever role they use
        assert session.scalar(text("SHOW timezone")) == "UTC"


@postgresql
def test_the_services_role_records_many_reviews(worker: Database, tmp_path: Path) -> None:
    (claimed,) = in_hand(worker, "a.png")
    finish(worker, screened(claimed))
    file = tmp_path / "words.csv"
    file.write_text("path,label,by\na.png,NORMAL,Dr. Okafor\n")
    review(load(tmp_path), None, None, None, None, file)
    assert [row["reviewed_label"] for row in rows(worker)] == ["NORMAL"]


@postgresql
def test_the_owner_needs_no_right_to_create_roles_once_they_exist(owner: Database) -> None:
    name = f"plain_owner_{uuid.uuid4().hex}"
    database = owner.engine.url.database
    with owner.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE ROLE {name} LOGIN"))
        connection.execute(text(f"ALTER DATABASE {database} OWNER TO {name}"))
        for relation in connection.scalars(text(RELATIONS)).all():
            connection.execute(text(f"ALTER TABLE {relation} OWNER TO {name}"))  # of views too
    plain = connected(owner, name)
    apply(plain)
    plain.close()


@postgresql
def test_the_script_takes_back_what_was_granted_too_much(owner: Database) -> None:
    with owner.write() as session:
        session.execute(
            text("GRANT ALL ON predictions, reviews TO pneumoscreen_worker, pneumoscreen_reviewer, pneumoscreen_reader")
        )
    apply(owner)
    query = (
        "SELECT has_table_privilege(:role, 'predictions', 'UPDATE'), has_table_privilege(:role, 'reviews', 'DELETE')"
    )
    with owner.read() as session:
        for role in ("pneumoscreen_worker", "pneumoscreen_reviewer", "pneumoscreen_reader"):
            assert session.execute(text(query), {"role": role}).one() == (False, False)


@postgresql
def test_the_readers_role_reads_the_views(owner: Database, reader: Database) -> None:
    (claimed,) = in_hand(owner, "a")
    finish(owner, screened(claimed))
    with reader.read() as session:
        for view in ("results", "results_history"):
            assert session.execute(text(f"SELECT path, label FROM {view}")).all() == [("a", "PNEUMONIA")]


@postgresql
@pytest.mark.parametrize("query", QUERIES)
def test_the_readers_role_can_ask_the_queries_of_the_documents(reader: Database, query: str) -> None:
    with reader.read() as session:
        session.execute(text(query)).all()


TABLES = (
    *("sightings", "jobs", "predictions", "screenings", "dicom_headers"),
    *("reviews", "audit_log", "workers", "dead_letters"),
    *("draws", "draw_members", "audit_samples", "operating_points"),
    *("shadow_runs", "shadow_scores", "drift_references", "drift_checks", "version_notes"),
)


@postgresql
@pytest.mark.parametrize("table", [*TABLES, "model_versions", "promotions", "broker_epoch"])
def test_the_readers_role_reads_no_table(reader: Database, table: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"), reader.read() as session:
        session.execute(text(f"SELECT * FROM {table}"))


@postgresql
@pytest.mark.parametrize(
    "statement", [*FORBIDDEN, "INSERT INTO reviews SELECT * FROM reviews", "CREATE TEMP TABLE t (i int)"]
)
def test_the_readers_role_writes_nothing(reader: Database, statement: str) -> None:
    allowed = r"permission denied|must be owner|read-only transaction"
    with pytest.raises(DBAPIError, match=allowed), reader.write() as session:
        session.execute(text(statement))


@postgresql
def test_the_readers_role_writes_nothing_even_after_it_switched_read_only_off(reader: Database) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"), reader.write() as session:
        session.connection().exec_driver_sql("SET TRANSACTION READ WRITE; DELETE FROM reviews")


@postgresql
@pytest.mark.parametrize("table", ["accounts", "web_sessions", "login_attempts", "one_time_links", "api_tokens"])
def test_neither_the_services_nor_the_readers_role_sees_who_may_log_in(
    worker: Database, reader: Database, table: str
) -> None:
    for database in (worker, reader):
        with pytest.raises(ProgrammingError, match="permission denied"), database.read() as session:
            session.execute(text(f"SELECT * FROM {table}"))


@pytest.fixture
def reviewer(owner: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    database = connected(owner, "pneumoscreen_reviewer")
    monkeypatch.setenv("PNEUMOSCREEN_DATABASE_URL", database.engine.url.render_as_string(hide_password=False))
    yield database
    database.close()


FORBIDDEN_TO_THE_PAGES = [statement for statement in FORBIDDEN if not statement.startswith("CREATE TEMP")] + [
    "UPDATE accounts SET role = 'admin'",
    "UPDATE accounts SET disabled_at = NULL",
    "INSERT INTO accounts (name, name_key, role, created_at, created_by) VALUES ('x', 'x', 'admin', now(), 'x')",
    "DELETE FROM accounts",
    "INSERT INTO one_time_links (token_sha256, account_id, purpose, created_at, created_by, expires_at) "
    "VALUES ('x', 1, 'reset', now(), 'x', now())",
    "DELETE FROM one_time_links",
    "UPDATE web_sessions SET account_id = 1",
    "DELETE FROM api_tokens",
    "UPDATE sightings SET state = 'done'",
    "INSERT INTO predictions (sha256, model_version, created_at) VALUES ('x', 'v1', now())",
    "INSERT INTO draws (source, model_version, seed, until, created_by, created_at) "
    "VALUES ('ward', 'v1', 1, now(), 'x', now())",
]


@postgresql
@pytest.mark.parametrize("statement", FORBIDDEN_TO_THE_PAGES)
def test_the_web_service_s_role_changes_no_result_no_account_and_no_sample(reviewer: Database, statement: str) -> None:
    with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"), reviewer.write() as session:
        session.execute(text(statement))


@postgresql
def test_the_web_service_s_role_lets_people_in_and_an_admin_s_connection_does_the_rest(
    owner: Database, reviewer: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_account(owner, "boss", Role.ADMIN)
    with reviewer.read() as session:
        assert missing_rights(session) == []
    with serving(load(tmp_path), reviewer) as server:
        client = server.client()
        assert client.post("/login", data={"name": "boss", "password": PASSWORD}).status_code == 303
        client = server.logged_in("boss")
        page = client.get("/accounts").text
        assert "pneumoscreen users add" in page  # it names the command, since it may not
        assert client.post("/accounts/add", data={"name": "Dr. Okafor", "role": "reader"}).status_code == 400
        change = {"old": PASSWORD, "password": "another four word password", "again": "another four word password"}
        assert client.post("/account/password", data=change).status_code == 200
        assert client.post("/account/tokens", data={"name": "front end"}).status_code == 200
        assert client.post("/account/tokens/1/revoke").status_code == 303
        assert client.post("/logout").status_code == 303
    url = owner.engine.url.render_as_string(hide_password=False)
    with serving(load(tmp_path, admin_database_url=url), reviewer) as server:
        client = server.logged_in("boss")
        page = client.post("/accounts/add", data={"name": "Dr. Okafor", "role": "reader"}).text
        link = re.search(r"/link/[\w-]+", page)[0]
        assert server.client().post(link, data={"password": PASSWORD, "again": PASSWORD}).status_code == 303


@postgresql
def test_the_script_names_every_table_and_view(owner: Database) -> None:
    """A new table is closed to the services until somebody decides; this makes sure that somebody does."""
    words = set(re.findall(r"\w+", re.sub("--.*", "", SCRIPT.read_text())))
    with owner.read() as session:
        assert set(session.scalars(text(RELATIONS))) <= words
