"""Who gets in to the pages, who does not, and what each may see: with a real server and both databases."""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text, update
from starlette.routing import Mount, Route

from actions import accounts, passwords, sessions
from queries.accounts import IDLE, LONGEST, find_account, find_session
from shared.base import settings
from shared.base.errors import InvalidRequest, WorkFailed
from shared.database import AccountRow, AuditEntry, Database, LoginAttempt, OneTimeLink, Role, WebSession
from tests.web_server import PASSWORD, WebServer, add_account, serving

BOTH_DATABASES = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
ONE_DATABASE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
WRONG = "that is not the password"
HERE = "192.0.2.7"


@pytest.fixture
def server(database: Database, tmp_path: Path) -> Iterator[WebServer]:
    with serving(settings.load(tmp_path), database) as server:
        yield server


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.web_server import CHEAP

    monkeypatch.setattr(passwords, "HASHER", CHEAP)
    monkeypatch.setattr(passwords, "_nobody", [])


def post_login(client: httpx.Client, name: str, password: str) -> httpx.Response:
    return client.post("/login", data={"name": name, "password": password})


def audited(database: Database) -> list[tuple[str, str]]:
    with database.read() as session:
        return [(row.actor, row.action) for row in session.scalars(select(AuditEntry).order_by(AuditEntry.id))]


# Every route


def guard_of(route: Route) -> Any:
    """What the route asks for before its handler is called; each has one."""
    return vars(route.endpoint)["guard"]


@ONE_DATABASE
def test_no_route_but_the_door_itself_answers_somebody_who_is_not_logged_in(server: WebServer) -> None:
    client, open_routes = server.client(), set()
    for route in server.app.routes:
        if isinstance(route, Mount):
            continue
        assert isinstance(route, Route)
        guard = guard_of(route)
        if guard.role is None:
            open_routes.add(route.path)
            continue
        path = re.sub(r"\{\w+(:int)?\}", "1", route.path)
        for method in (route.methods or set()) - {"HEAD"}:
            response = client.request(method, path)
            is_led_to_login = response.status_code == 303 and response.headers["location"].startswith("/login")
            assert is_led_to_login or response.status_code == 401, f"{method} {path}: {response.status_code}"
    assert open_routes == {"/login", "/link/{token}", "/health", "/api/v1/openapi.json"}


@ONE_DATABASE
def test_no_route_changes_anything_without_the_session_s_token_or_at_the_word_of_another_site(
    server: WebServer,
) -> None:
    client = server.logged_in("reader")
    token = client.headers.pop("X-CSRF-Token")
    for route in server.app.routes:
        if not isinstance(route, Route) or guard_of(route).is_api or guard_of(route).role is None:
            continue
        path = re.sub(r"\{\w+(:int)?\}", "1", route.path)
        for method in (route.methods or set()) - {"GET", "HEAD"}:
            assert client.request(method, path).status_code == 403, f"{method} {path} without a token"
            there = {"Sec-Fetch-Site": "cross-site", "X-CSRF-Token": token}
            assert client.request(method, path, headers=there).status_code == 403, f"{method} {path} from elsewhere"


@ONE_DATABASE
def test_a_reader_and_a_senior_do_not_see_an_admin_s_pages(server: WebServer) -> None:
    add_account(server.database, "senior", Role.SENIOR)
    add_account(server.database, "boss", Role.ADMIN)
    answers = {name: server.logged_in(name).get("/accounts").status_code for name in ("reader", "senior", "boss")}
    assert answers == {"reader": 403, "senior": 403, "boss": 200}


@ONE_DATABASE
def test_an_old_browser_is_known_by_its_origin_and_a_request_without_either_is_refused(server: WebServer) -> None:
    client = server.logged_in("reader")
    del client.headers["Sec-Fetch-Site"]
    path = "/account/sessions/end-others"
    assert client.post(path).status_code == 403
    assert client.post(path, headers={"Origin": "https://evil.example"}).status_code == 403
    assert client.post(path, headers={"Origin": "null"}).status_code == 403
    assert client.post(path, headers={"Origin": server.url}).status_code == 303


@ONE_DATABASE
def test_every_answer_tells_the_browser_what_it_must_not_do(server: WebServer) -> None:
    client = server.logged_in("reader")
    for path in ("/account", "/login", "/nothing", "/images/1/pixels", "/api/v1/me"):
        headers = client.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "server" not in headers


def test_no_page_asks_another_host_for_anything() -> None:
    folder = Path(__file__).parents[2] / "web"
    for file in [*(folder / "templates").glob("*.html"), *(folder / "static").glob("*.css")]:
        content = file.read_text()
        assert not re.findall(r"""(?:src|href|action)\s*=\s*["']?(?:https?:)?//|url\(|@import""", content), file.name
        assert "<script>" not in content, file.name
        assert not re.search(r"\sstyle\s*=|\son\w+\s*=", content), file.name


def test_every_text_of_the_pages_stands_in_one_file() -> None:
    names_of_keys, markup = {"OK", "Esc", "Enter"}, re.compile(r"\{%.*?%\}|\{\{.*?\}\}|<[^>]*>|&#?\w+;", re.DOTALL)
    for file in (Path(__file__).parents[2] / "web" / "templates").glob("*.html"):
        body = re.sub(r"\{% block body_class %\}.*?\{% endblock %\}", "", file.read_text())
        assert set(re.findall(r"[A-Za-z]{2,}", markup.sub(" ", body))) <= names_of_keys, file.name


def test_the_vendored_library_is_the_one_whose_checksum_stands_beside_it() -> None:
    import hashlib

    folder = Path(__file__).parents[2] / "web" / "static" / "htmx"
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert "Zero-Clause BSD" in (folder / "LICENSE").read_text()


# Logging in


@BOTH_DATABASES
def test_who_logs_in_gets_a_cookie_that_no_script_and_no_other_site_uses_and_sql_holds_its_hash_alone(
    server: WebServer,
) -> None:
    add_account(server.database, "Dr. Okafor")
    client = server.client()
    response = post_login(client, "  dr.  OKAFOR ", PASSWORD)
    assert (response.status_code, response.headers["location"]) == (303, "/")
    cookie = response.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Dr. Okafor" in client.get("/account").text
    token = client.cookies["pneumoscreen"]
    with server.database.read() as session:
        (row,) = session.scalars(select(WebSession))
        assert token not in (row.token_sha256, row.csrf_token)
        assert session.scalar(select(AccountRow.password_hash)).startswith("$argon2id$")
    assert ("Dr. Okafor", "log in") in audited(server.database)
    client.headers["X-CSRF-Token"] = re.search('name="csrf" content="([^"]+)"', client.get("/account").text)[1]
    assert client.post("/logout").status_code == 303
    client.cookies.set("pneumoscreen", token)
    assert client.get("/account").status_code == 303  # the session is over, not only the cookie gone


@ONE_DATABASE
def test_a_reader_who_is_locked_out_gets_the_same_answer_as_one_who_does_not_exist(server: WebServer) -> None:
    add_account(server.database, "Dr. Okafor")
    with server.database.write() as session:
        accounts.disable(session, "Dr. Okafor", "admin", datetime.now(UTC))
    add_account(server.database, "Dr. Weiss")
    client, pages = server.client(), set()
    for name in ("Dr. Okafor", "nobody", "Dr. Weiss"):
        response = post_login(client, name, WRONG)
        pages.add((response.status_code, response.text))
    for _ in range(sessions.MAX_OF_NAME):
        response = post_login(client, "Dr. Weiss", WRONG)
    locked = post_login(client, "Dr. Weiss", PASSWORD)  # it is right, and too late
    pages |= {(response.status_code, response.text), (locked.status_code, locked.text)}
    assert len(pages) == 1
    assert next(iter(pages))[0] == 401


def test_an_unknown_name_costs_as_many_checks_of_a_password_as_a_known_one(
    database: Database, monkeypatch: pytest.MonkeyPatch, cheap: None
) -> None:
    add_account(database, "Dr. Okafor")
    asked = []
    monkeypatch.setattr(passwords, "is_right", lambda hashed, password: asked.append(hashed) or False)
    for name in ("Dr. Okafor", "nobody"):
        sessions.log_in(database, name, WRONG, HERE, NOW)
    assert len(asked) == 2
    assert asked[1] is None
    monkeypatch.undo()
    monkeypatch.setattr(passwords, "_nobody", [])
    checked = []
    monkeypatch.setattr(passwords, "HASHER", Counting(checked))
    assert not passwords.is_right(None, WRONG)
    assert checked == ["hash", "verify"]


class Counting:
    def __init__(self, checked: list[str]) -> None:
        self._checked = checked

    def hash(self, password: str) -> str:
        from tests.web_server import CHEAP

        self._checked.append("hash")
        return CHEAP.hash(password)

    def verify(self, hashed: str, password: str) -> bool:
        from tests.web_server import CHEAP

        self._checked.append("verify")
        return CHEAP.verify(hashed, password)


@BOTH_DATABASES
def test_five_failures_lock_a_name_for_a_quarter_of_an_hour_and_a_success_before_them_does_not_count(
    database: Database, cheap: None
) -> None:
    add_account(database, "Dr. Okafor")
    for number in range(sessions.MAX_OF_NAME - 1):
        assert sessions.log_in(database, "Dr. Okafor", WRONG, HERE, NOW) is None, number
    assert sessions.log_in(database, "Dr. Okafor", PASSWORD, HERE, NOW)
    for _ in range(sessions.MAX_OF_NAME):
        assert sessions.log_in(database, "Dr. Okafor", WRONG, HERE, NOW) is None
    assert sessions.log_in(database, "Dr. Okafor", PASSWORD, "192.0.2.99", NOW) is None
    assert sessions.log_in(database, "DR. OKAFOR", PASSWORD, HERE, NOW + timedelta(minutes=14)) is None
    assert sessions.log_in(database, "Dr. Okafor", PASSWORD, HERE, NOW + timedelta(minutes=31))


def test_an_address_that_fails_with_many_names_is_locked_out_and_another_one_is_not(
    database: Database, cheap: None
) -> None:
    add_account(database, "Dr. Okafor")
    for number in range(sessions.MAX_OF_ADDRESS):
        sessions.log_in(database, f"name {number}", WRONG, HERE, NOW)
    assert sessions.log_in(database, "Dr. Okafor", PASSWORD, HERE, NOW) is None
    assert sessions.log_in(database, "Dr. Okafor", PASSWORD, "192.0.2.8", NOW)


def test_what_was_typed_as_a_name_is_kept_nowhere(database: Database, cheap: None) -> None:
    sessions.log_in(database, "my secret password", WRONG, HERE, NOW)
    with database.read() as session:
        (row,) = session.scalars(select(LoginAttempt))
        assert not row.succeeded
        for table in ("login_attempts", "audit_log", "accounts", "web_sessions"):
            assert "secret" not in str(session.execute(text(f"SELECT * FROM {table}")).all())


# Sessions


@BOTH_DATABASES
def test_a_session_ends_when_nobody_used_it_for_a_quarter_of_an_hour_and_after_half_a_day_anyway(
    database: Database, cheap: None
) -> None:
    add_account(database, "Dr. Okafor")
    opened = sessions.log_in(database, "Dr. Okafor", PASSWORD, HERE, NOW)

    def at(moment: datetime) -> object:
        with database.read() as session:
            return find_session(session, opened.token, moment)

    assert at(NOW + IDLE - timedelta(seconds=1))
    assert at(NOW + IDLE) is None
    moment = NOW
    while moment < NOW + LONGEST - timedelta(minutes=10):
        moment += timedelta(minutes=10)
        sessions.touch(database, at(moment), moment)
    assert at(NOW + LONGEST - timedelta(seconds=1))
    assert at(NOW + LONGEST) is None


@ONE_DATABASE
def test_what_a_page_asks_for_by_itself_keeps_nobody_logged_in(server: WebServer) -> None:
    client = server.logged_in("reader")
    long_ago = datetime.now(UTC) - timedelta(minutes=10)
    with server.database.write() as session:
        session.execute(update(WebSession).values(seen_at=long_ago))
    client.get("/images/1/thumbnail")
    with server.database.read() as session:
        assert session.scalar(select(WebSession.seen_at)) == long_ago
    client.get("/account")
    with server.database.read() as session:
        assert session.scalar(select(WebSession.seen_at)) > long_ago


@ONE_DATABASE
def test_a_reader_ends_other_sessions_and_changing_the_password_ends_them_too(server: WebServer) -> None:
    first, second, third = (server.logged_in("reader") for _ in range(3))
    with server.database.read() as session:
        number = session.scalars(select(WebSession.id).order_by(WebSession.id)).all()[1]
    assert first.post(f"/account/sessions/{number}/end").status_code == 303
    assert [client.get("/account").status_code for client in (first, second, third)] == [200, 303, 200]
    change = {"old": PASSWORD, "password": "another four word password", "again": "another four word password"}
    assert "Your password is changed" in first.post("/account/password", data=change).text
    assert [client.get("/account").status_code for client in (first, third)] == [200, 303]
    assert post_login(server.client(), "reader", PASSWORD).status_code == 401
    assert post_login(server.client(), "reader", "another four word password").status_code == 303
    assert ("reader", "change password") in audited(server.database)


@ONE_DATABASE
def test_nobody_ends_the_session_or_revokes_the_token_of_somebody_else(server: WebServer) -> None:
    victim, other = server.logged_in("victim"), server.logged_in("other")
    victim.post("/account/tokens", data={"name": "mine"})
    with server.database.read() as session:
        number = session.scalar(select(WebSession.id).order_by(WebSession.id).limit(1))
    assert other.post(f"/account/sessions/{number}/end").status_code == 400
    assert other.post("/account/tokens/1/revoke").status_code == 400
    assert victim.get("/account").status_code == 200


@pytest.mark.parametrize(
    "password", ["short", "aaaaaaaaaaaaaaaa", "readerreader", "x" * 300, "tab\tin the middle of it"]
)
def test_a_password_that_is_short_or_easily_guessed_is_refused_with_a_sentence(password: str) -> None:
    with pytest.raises(InvalidRequest, match="password"):
        passwords.check_new(password, "reader")


# One-time links and accounts


@BOTH_DATABASES
def test_a_one_time_link_works_once_ends_older_sessions_and_lifts_the_lock(database: Database, cheap: None) -> None:
    add_account(database, "Dr. Okafor")
    before = sessions.log_in(database, "Dr. Okafor", PASSWORD, HERE, NOW)
    for _ in range(sessions.MAX_OF_NAME):
        sessions.log_in(database, "Dr. Okafor", WRONG, HERE, NOW)
    with database.write() as session:
        old, link = (accounts.reset(session, "dr. okafor", "admin", NOW) for _ in range(2))
    with pytest.raises(InvalidRequest, match="too old"):
        sessions.use_link(database, old.token, "a password of four words", HERE, NOW)  # the newer one took its place
    assert sessions.use_link(database, link.token, "a password of four words", HERE, NOW).account.name == "Dr. Okafor"
    with pytest.raises(InvalidRequest, match="was used"):
        sessions.use_link(database, link.token, "a third password of them", HERE, NOW)
    with database.read() as session:
        assert find_session(session, before.token, NOW) is None
        assert link.token not in str(session.execute(select(OneTimeLink.token_sha256)).all())
    assert sessions.log_in(database, "Dr. Okafor", "a password of four words", HERE, NOW)


def test_a_link_is_over_after_three_days(database: Database, cheap: None) -> None:
    with database.write() as session:
        link = accounts.add(session, "Dr. Okafor", Role.READER, "admin", NOW)
    with pytest.raises(InvalidRequest, match="too old"):
        sessions.use_link(database, link.token, "a password of four words", HERE, NOW + accounts.LINK_HOLDS)


@ONE_DATABASE
def test_looking_at_a_link_uses_nothing_up_and_its_token_stands_in_no_log(
    server: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    with server.database.write() as session:
        link = accounts.add(session, "Dr. Okafor", Role.READER, "admin", datetime.now(UTC))
    client = server.client()
    with caplog.at_level("INFO"):
        assert client.get(link.path).status_code == client.get(link.path).status_code == 200
        both = {"password": PASSWORD, "again": "something else entirely"}
        assert client.post(link.path, data=both).status_code == 400
        assert client.post(link.path, data={"password": PASSWORD, "again": PASSWORD}).status_code == 303
        assert client.get("/account").status_code == 200
        assert server.client().get(link.path).status_code == 410
    ours = [record.getMessage() for record in caplog.records if record.name != "httpx"]
    assert not [line for line in ours if link.token in line]
    assert any("/link/{token}" in line for line in ours)


@ONE_DATABASE
def test_a_link_works_in_a_browser_where_somebody_else_is_logged_in_and_logs_them_out_there(server: WebServer) -> None:
    client = server.logged_in("reader")
    token, earlier = client.headers.pop("X-CSRF-Token"), dict(client.cookies)
    with server.database.write() as session:
        link = accounts.add(session, "Nurse Bea", Role.READER, "admin", datetime.now(UTC))
    page = client.get(link.path).text
    assert "Nurse Bea" in page and "logged in as reader" in page
    assert f'name="csrf" value="{token}"' in page
    fields = {"password": PASSWORD, "again": PASSWORD, "csrf": token}
    assert client.post(link.path, data=fields).status_code == 303
    assert "Nurse Bea" in client.get("/worklist").text
    other = server.client()
    other.cookies.update(earlier)
    assert other.get("/worklist").status_code == 303, "the session before it has ended"


@BOTH_DATABASES
def test_an_account_that_is_disabled_is_out_at_once_and_its_name_is_never_given_to_another(
    database: Database, cheap: None
) -> None:
    add_account(database, "Dr. Okafor")
    add_account(database, "boss", Role.ADMIN)
    opened = sessions.log_in(database, "Dr. Okafor", PASSWORD, HERE, NOW)
    with database.write() as session:
        accounts.disable(session, "Dr. Okafor", "boss", NOW)
        with pytest.raises(WorkFailed, match="never given to another"):
            accounts.add(session, "DR. OKAFOR", Role.READER, "boss", NOW)
        with pytest.raises(WorkFailed, match="only admin"):
            accounts.disable(session, "boss", "boss", NOW)
        with pytest.raises(WorkFailed, match="only admin"):
            accounts.set_role(session, "boss", Role.READER, "boss", NOW)
    with database.read() as session:
        assert find_session(session, opened.token, NOW) is None
    assert sessions.log_in(database, "Dr. Okafor", PASSWORD, HERE, NOW) is None
    assert ("boss", "disable account") in audited(database)


@ONE_DATABASE
@pytest.mark.parametrize("name", ["", "  ", "x" * 65, "line\nbreak\x00", "\u202eevil"])
def test_a_name_that_would_mislead_beside_a_word_is_refused(database: Database, name: str) -> None:
    with database.write() as session, pytest.raises(InvalidRequest, match="needs a name"):
        accounts.add(session, name, Role.READER, "boss", NOW)


@ONE_DATABASE
def test_an_admin_adds_resets_and_disables_on_the_page_and_each_deed_is_audited(server: WebServer) -> None:
    add_account(server.database, "boss", Role.ADMIN)
    client = server.logged_in("boss")
    page = client.post("/accounts/add", data={"name": "<b>Dr. New</b>", "role": "senior"}).text
    assert "&lt;b&gt;Dr. New&lt;/b&gt;" in page
    assert "<b>Dr. New" not in page
    path = re.search(r"(/link/[\w-]+)", page)[1]
    assert server.client().post(path, data={"password": PASSWORD, "again": PASSWORD}).status_code == 303
    assert "/link/" in client.post("/accounts/reset", data={"name": "<b>Dr. New</b>"}).text
    assert client.post("/accounts/role", data={"name": "<b>Dr. New</b>", "role": "king"}).status_code == 400
    assert client.post("/accounts/disable", data={"name": "<b>Dr. New</b>"}).status_code == 303
    with server.database.read() as session:
        assert find_account(session, "<b>Dr. New</b>").disabled_at
    deeds = {action for actor, action in audited(server.database) if actor == "boss"}
    assert {"add account", "reset password", "disable account"} <= deeds


# Programs


@BOTH_DATABASES
def test_a_program_shows_a_token_which_is_told_once_and_may_be_revoked(server: WebServer) -> None:
    client = server.logged_in("reader")
    page = client.post("/account/tokens", data={"name": "our front end"}).text
    token = re.search(r"pns_[\w-]+", page)[0]
    assert token not in client.get("/account").text
    program = server.client(Authorization=f"Bearer {token}")
    del program.headers["Sec-Fetch-Site"]
    assert program.get("/api/v1/me").json() == {"name": "reader", "role": "reader"}
    assert program.get("/account").status_code == 303  # a token opens no page
    assert client.get("/api/v1/me").status_code == 401  # and a cookie no API
    assert client.post("/account/tokens/1/revoke").status_code == 303
    answer = program.get("/api/v1/me")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["error"] == "Log in first"


@ONE_DATABASE
def test_the_description_of_the_api_names_every_route_of_it(server: WebServer) -> None:
    described = server.client().get("/api/v1/openapi.json").json()
    paths = {route.path.replace(":int}", "}") for route in server.app.routes if route.path.startswith("/api/")}
    assert set(described["paths"]) == paths
    assert described["openapi"] == "3.1.0"
    for operations in described["paths"].values():
        for operation in operations.values():
            assert operation["summary"]


# Proxies, names, limits


@ONE_DATABASE
def test_a_trusted_proxy_logs_people_in_and_nobody_else_can_say_that_he_is_one(
    database: Database, tmp_path: Path
) -> None:
    header = {"X-Remote-User": "dr. okafor"}
    add_account(database, "Dr. Okafor")
    with serving(
        settings.load(tmp_path, proxy_user_header="X-Remote-User", trusted_proxy=["10.0.0.0/8"]), database
    ) as server:
        assert server.client(**header).get("/account").status_code == 303  # we are no proxy of theirs
    chosen = settings.load(tmp_path, proxy_user_header="X-Remote-User", trusted_proxy=["127.0.0.1"])
    with serving(chosen, database) as server:
        client = server.client(**{**header, "X-Forwarded-For": "203.0.113.5, 192.0.2.7", "X-Forwarded-Proto": "https"})
        response = client.get("/account")
        assert response.status_code == 200
        assert "192.0.2.7" in response.text
        assert response.headers["set-cookie"].startswith("__Host-pneumoscreen=")
        assert "Secure" in response.headers["set-cookie"]
        client.cookies.set("__Host-pneumoscreen", re.search("pneumoscreen=([^;]+)", response.headers["set-cookie"])[1])
        assert client.get("/account", headers={"X-Remote-User": "nobody"}).status_code == 403
        del client.headers["X-Remote-User"]
        assert client.get("/account").status_code == 303  # the proxy has logged him out


@ONE_DATABASE
def test_on_loopback_the_service_is_known_by_this_machine_s_own_names_alone(server: WebServer) -> None:
    client = server.client()
    assert client.get("/login", headers={"Host": "evil.example"}).status_code == 421
    assert client.get("/login", headers={"Host": f"localhost:{server.port}"}).status_code == 200


@ONE_DATABASE
def test_an_unknown_error_leaves_its_place_in_the_log_and_nothing_of_its_message(
    server: WebServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, file = server.logged_in("reader"), "/data/Mustermann^Erika.dcm"

    def fail(*_: object) -> None:
        raise OSError(file)

    monkeypatch.setattr("web.pages_account.list_sessions", fail)
    page = client.get("/account")
    assert page.status_code == 500
    assert "Something went wrong here" in page.text
    assert "OSError" in caplog.text
    assert "pages_account.py" in caplog.text
    assert "Mustermann" not in caplog.text + page.text


@ONE_DATABASE
def test_a_body_that_is_too_long_is_not_read_to_its_end(server: WebServer) -> None:
    assert server.client().post("/login", data={"name": "x" * 300_000}).status_code == 413


@ONE_DATABASE
@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_a_log_in_leads_to_no_other_site(server: WebServer, target: str) -> None:
    add_account(server.database, "reader")
    response = server.client().post("/login", data={"name": "reader", "password": PASSWORD, "next": target})
    assert response.headers["location"] == "/"


@ONE_DATABASE
def test_a_page_says_that_the_database_is_away_and_works_again_when_it_is_back(
    server: WebServer, tmp_path: Path, database: Database
) -> None:
    client = server.logged_in("reader")
    file = tmp_path / "pneumoscreen.db"
    server.app.state.database.close()
    database.close()
    for name in ("pneumoscreen.db", "pneumoscreen.db-wal", "pneumoscreen.db-shm"):
        if (tmp_path / name).exists():
            (tmp_path / name).rename(tmp_path / f"away-{name}")
    file.mkdir()
    page = client.get("/account")
    assert page.status_code == 503
    assert "The database is out of reach" in page.text
    answer = client.get("/account", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    file.rmdir()
    for away in tmp_path.glob("away-*"):
        away.rename(tmp_path / away.name.removeprefix("away-"))
    deadline = time.monotonic() + 20
    while client.get("/account").status_code != 200:
        assert time.monotonic() < deadline
