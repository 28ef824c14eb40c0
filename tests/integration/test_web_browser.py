"""The door in a real browser: log-in, one-time link, log-out, roles, headers that a browser heeds, accessibility."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from actions import accounts
from shared.base import settings
from shared.database import Database, Role
from tests.browser import axe_violations, browser, console_errors, log_in, wait_for
from tests.web_server import PASSWORD, WebServer, add_account, serving

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture
def server(database: Database, tmp_path: Path) -> Iterator[WebServer]:
    with serving(settings.load(tmp_path), database) as server:
        yield server


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as opened:
        yield opened


@pytest.fixture(autouse=True)
def _nobody_is_logged_in(chromium: Any) -> None:
    chromium.get("about:blank")
    chromium.execute_cdp_cmd("Network.clearBrowserCookies", {})
    chromium.get_log("browser")


def test_a_new_reader_chooses_a_password_by_the_link_works_and_logs_out(chromium: Any, server: WebServer) -> None:
    with server.database.write() as session:
        link = accounts.add(session, "Dr. Okafor", Role.READER, "admin", datetime.now(UTC))
    chromium.get(server.url + link.path)
    assert "Dr. Okafor" in chromium.find_element("css selector", "main").text
    chromium.find_element("id", "password").send_keys(PASSWORD)
    chromium.find_element("id", "again").send_keys(PASSWORD)
    chromium.find_element("css selector", "main button").click()
    wait_for(chromium, lambda driver: driver.current_url.endswith("/worklist"), "not logged in by the link")
    chromium.get(server.url + "/account")
    assert (
        "Screening aid, not a diagnosis. Not a diagnostic display." in chromium.find_element("tag name", "header").text
    )
    assert chromium.execute_script("return document.cookie") == ""  # no script can read the session
    chromium.find_element("css selector", "header form button").click()
    wait_for(chromium, lambda driver: "/login" in driver.current_url, "not logged out")
    chromium.get(server.url + "/account")
    assert "/login?next=/account" in chromium.current_url
    chromium.get(server.url + link.path)
    wait_for(chromium, lambda driver: "This link is over" in driver.page_source, "the link works again")


def test_a_wrong_password_and_an_unknown_name_are_answered_alike_and_the_right_one_leads_back(
    chromium: Any, server: WebServer
) -> None:
    add_account(server.database, "Dr. Okafor")
    answers = []
    for name, password in (("Dr. Okafor", "not the password"), ("nobody", "not the password")):
        log_in(chromium, server.url, name, password)
        answers.append(chromium.find_element("css selector", "main").text)
    assert answers[0] == answers[1]
    chromium.get_log("browser")
    chromium.get(server.url + "/account")
    chromium.find_element("name", "name").send_keys("dr. okafor")
    chromium.find_element("name", "password").send_keys(PASSWORD)
    chromium.find_element("css selector", "main button").click()
    wait_for(chromium, lambda driver: driver.current_url.endswith("/account"), "the log-in did not lead back")
    assert console_errors(chromium) == []


def test_a_page_of_another_site_neither_shows_ours_in_a_frame_nor_sends_our_forms(
    chromium: Any, server: WebServer, tmp_path: Path
) -> None:
    add_account(server.database, "Dr. Okafor")
    log_in(chromium, server.url, "Dr. Okafor", PASSWORD)
    other = tmp_path / "other.html"
    other.write_text(
        f'<iframe src="{server.url}/account"></iframe>'
        f'<form method="post" action="{server.url}/account/sessions/end-others"><button>x</button></form>'
    )
    chromium.get(other.as_uri())
    assert any(
        "frame-ancestors" in error or "X-Frame-Options" in error or "Refused" in error or "violates" in error
        for error in console_errors(chromium)
    )
    chromium.find_element("css selector", "button").click()
    wait_for(chromium, lambda driver: "Another site sent this request" in driver.page_source, "it was not refused")


def test_the_pages_of_an_account_are_accessible_and_use_nothing_that_the_policy_refuses(
    chromium: Any, server: WebServer
) -> None:
    add_account(server.database, "boss", Role.ADMIN)
    chromium.get(server.url + "/login")
    found = axe_violations(chromium)
    log_in(chromium, server.url, "boss", PASSWORD)
    for path in ("/account", "/accounts", "/images/1/nothing"):
        chromium.get(server.url + path)
        found += axe_violations(chromium)
    assert found == []
    assert [error for error in console_errors(chromium) if "404" not in error] == []
