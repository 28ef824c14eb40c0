"""The reading room's pages and its API by HTTP: what they hide, who may, and that no address names a patient."""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from actions import sessions
from queries.accounts import Account
from shared.base.settings import Settings
from shared.database import Database, Review, Role, Screening
from tests.reading_room import Specimen, home_of, screen, screen_anew
from tests.web_server import WebServer, add_account, serving

SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
"""What rests on SQL is tested on both databases by the unit tests."""
ASSISTED = {"reading": "assisted", "second_reading_share": 0.0}


@pytest.fixture
def settings(tmp_path: Path, database: Database) -> Settings:
    return home_of(tmp_path, second_reading_share=0.0, viewer_url="https://pacs.example/?acc={accession_number}")


@pytest.fixture
def server(settings: Settings, database: Database) -> Iterator[WebServer]:
    with serving(settings, database) as server:
        yield server


@pytest.fixture
def image(settings: Settings, database: Database) -> int:
    return screen(database, settings, [Specimen(probability=0.93, accession="A/1 &x", outside=True)])[0]


def word(number: int, page: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"label": "NORMAL", "submission": f"word-on-{number}", "prediction": page["prediction"], **more}


def reviews(database: Database) -> list[Review]:
    with database.read() as session:
        return list(session.scalars(select(Review).order_by(Review.id)))


@SQLITE
def test_before_the_word_no_page_tells_what_the_model_says(server: WebServer, image: int) -> None:
    client = server.logged_in("Dr A")
    for address in (
        f"/read/{image}",
        f"/read/{image}/panel",
        "/worklist",
        "/worklist/rows",
        "/batch",
        "/overview#disagreements",
    ):
        text = client.get(address).text
        assert "0.93" not in text and "93 %" not in text and 'id="answer"' not in text, address
        assert "positive</td>" not in text, address
    assert client.get(f"/read/{image}/map").json() == {"refusal": "The map comes after your word."}
    assert client.get("/worklist?label=PNEUMONIA").text.count("data-sighting") == 0
    answer = client.post(f"/read/{image}/word", data=word(image, client.get(f"/read/{image}/panel").json())).json()
    assert answer["model"] == "PNEUMONIA" and answer["stays"] and 'id="answer"' in answer["panel"]
    assert 'id="answer"' not in server.logged_in("Dr B").get(f"/read/{image}").text


@pytest.mark.parametrize("reading", ["blind", "assisted"])
def test_a_result_of_a_later_version_stands_beside_the_one_before_where_both_may_be_seen(
    tmp_path: Path, database: Database, reading: str
) -> None:
    settings = home_of(tmp_path, reading=reading, second_reading_share=0.0)
    with serving(settings, database) as server:
        client = server.logged_in("Dr A")
        (image,) = screen(database, settings, [Specimen(probability=0.93)])
        opened = client.get(f"/read/{image}/panel").json()
        screen_anew(database, image, "v2", 0.04)
        assert client.post(f"/read/{image}/word", data=word(image, opened)).status_code == 409
        again = client.get(f"/read/{image}/panel").json()
        assert ('id="previous"' in again["panel"]) is (reading == "assisted")
        assert client.post(f"/read/{image}/word", data=word(image, again)).status_code == 200
        saved = client.get(f"/read/{image}/panel").json()["panel"]
        assert "v1" in saved and "v2" in saved and 'id="changed"' not in saved
        screen_anew(database, image, "v3", 0.93)
        later = client.get(f"/read/{image}/panel").json()["panel"]
        assert 'id="changed"' in later and "v3" in later and "v2" in later and "v1" not in later
        assert 'id="previous"' not in server.logged_in("Dr B").get(f"/read/{image}").text or reading == "assisted"
        program = api(server, database, "Dr C")
        told = program.get(f"/api/v1/images/{image}").json()
        assert (told["previous"] is None) is (reading == "blind")
        assert told["previous"] is None or (told["previous"]["version"], told["previous"]["probability"]) == (
            "v2",
            None,
        )


@SQLITE
def test_a_percentage_is_shown_once_the_source_has_an_operating_point_of_its_own(
    server: WebServer, image: int, database: Database
) -> None:
    client = server.logged_in("Dr A")
    client.post(f"/read/{image}/word", data=word(image, client.get(f"/read/{image}/panel").json()))
    before = client.get(f"/read/{image}/panel").json()["panel"]
    assert "No percentage" in before and "93 %" not in before
    with database.write() as session:
        session.execute(update(Screening).values(operating_point_id=7))
    panel = client.get(f"/read/{image}/panel").json()["panel"]
    assert "93 %" in panel and "50 %" in panel and "No percentage" not in panel
    assert 'class="near" x="90.0"' in panel and 'class="threshold" x1="110.0"' in panel, "the band around the threshold"


@SQLITE
def test_what_comes_next_is_a_readers_own_before_it_is_opened(
    server: WebServer, settings: Settings, database: Database
) -> None:
    """After a word, after an image was given back, and at the list's button."""
    images = screen(database, settings, [Specimen(f"normal-0{n}.jpeg", probability=0.1) for n in range(1, 7)])
    first, second = server.logged_in("Dr A"), server.logged_in("Dr B")

    def start(client: httpx.Client) -> int:
        return int(client.get("/read/next", follow_redirects=False).headers["location"].rpartition("/")[2])

    a, b = start(first), start(second)
    assert (a, b) == (images[0], images[1])
    said = word(a, first.get(f"/read/{a}/panel").json())
    after_word = first.post(f"/read/{a}/word", data=said).json()["next"]
    after_skip = second.post(f"/read/{b}/skip").json()["next"]
    assert (after_word[0], after_skip[0]) == (images[2], images[3])
    assert start(server.logged_in("Dr C")) == b, "it was given back"
    read = second.get("/read/next?state=mine&reader=Dr+A", follow_redirects=False).headers["location"]
    assert read.startswith(f"/read/{a}?"), "what was read is looked up, not shared out"


@SQLITE
def test_the_sites_own_viewer_is_linked_without_a_referrer(server: WebServer, image: int) -> None:
    page = server.logged_in("Dr A").get(f"/read/{image}").text
    assert 'href="https://pacs.example/?acc=A%2F1%20%26x" target="_blank" rel="noreferrer noopener"' in page
    assert "outside the ages" in page


@SQLITE
def test_what_makes_no_sense_is_refused_and_what_is_not_there_is_not_found(server: WebServer, image: int) -> None:
    client = server.logged_in("Dr A")
    for address in "/worklist?state=none", "/worklist?after=x", "/worklist?since=yesterday", "/worklist?lane=fast":
        assert client.get(address).status_code == 400, address
    assert client.get("/read/99999").status_code == 404
    assert client.post(f"/read/{image}/word", data={"label": "HEALTHY"}).status_code == 400
    assert client.post(f"/read/{image}/word", data={"label": "NORMAL", "submission": "short"}).status_code == 400
    changed = client.post(
        f"/read/{image}/word", data={"label": "NORMAL", "submission": "long enough", "prediction": "77"}
    )
    assert changed.status_code == 409 and changed.json()["changed"]


@SQLITE
def test_nothing_changes_without_the_sessions_token_or_from_another_site(
    server: WebServer, image: int, database: Database
) -> None:
    client = server.logged_in("Dr A")
    said = word(image, client.get(f"/read/{image}/panel").json())
    paths = (
        f"/read/{image}/word",
        f"/read/{image}/skip",
        f"/read/{image}/lease",
        "/words/last/undo",
        "/batch",
        "/worklist/search",
    )
    for path in paths:
        assert client.post(path, data=said, headers={"X-CSRF-Token": "wrong"}).status_code == 403, path
        assert client.post(path, data=said, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403, path
        assert server.client().post(path, data=said).status_code in (303, 401), path
    assert reviews(database) == []


@SQLITE
def test_the_reviewer_is_the_session_never_a_typed_name(server: WebServer, image: int, database: Database) -> None:
    client = server.logged_in("Dr A")
    said = word(image, client.get(f"/read/{image}/panel").json(), reviewer="Dr Z", by="Dr Z", is_senior="1")
    client.post(f"/read/{image}/word", data=said)
    assert [(row.reviewer, row.is_senior) for row in reviews(database)] == [("Dr A", False)]


def test_undo_is_a_click_since_the_log_in_and_another_readers_word_is_not_mine(
    server: WebServer, image: int, database: Database
) -> None:
    client, other = server.logged_in("Dr A"), server.logged_in("Dr B")
    answer = client.post(f"/read/{image}/word", data=word(image, client.get(f"/read/{image}/panel").json())).json()
    assert other.post(f"/words/{answer['review']}/undo").status_code == 409
    assert client.post(f"/words/{answer['review']}/undo").json() == {"sighting": image}
    assert client.post("/words/last/undo").status_code == 409
    with database.write() as session:
        row = session.scalars(select(Review)).one()
        row.withdrawn_at, row.created_at = None, datetime.now(UTC) - timedelta(hours=20)
    assert client.post("/words/last/undo").status_code == 400
    assert client.post("/words/last/undo", data={"reason": "the wrong key"}).status_code == 200


@SQLITE
def test_a_search_leaves_what_was_typed_out_of_address_and_log(
    server: WebServer, image: int, caplog: pytest.LogCaptureFixture
) -> None:
    client = server.logged_in("Dr A")
    with caplog.at_level("DEBUG"):
        found = client.post("/worklist/search", data={"text": "A/1 &x"})
        assert found.status_code == 303
        address = found.headers["location"]
        assert f'data-sighting="{image}"' in client.get(address).text
    assert "A/1" not in address and "A/1" not in caplog.text
    assert "over" in server.logged_in("Dr B").get(address).text, "a search is its reader's own"


@SQLITE
def test_how_it_goes_has_a_table_and_a_csv_for_each_chart(server: WebServer, image: int) -> None:
    client = server.logged_in("Dr A")
    page = client.get("/overview").text
    from queries.overview import SECTIONS

    for name in SECTIONS:
        assert f'id="{name}"' in page
        answer = client.get(f"/overview/{name}.csv")
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/csv")
        assert next(csv.reader(io.StringIO(answer.text)))
    from tests.unit.test_charts import CHARTED

    for part in page.split("<section ")[1:]:
        name = part.partition('"')[2].partition('"')[0]
        assert ("<svg" in part) <= (name in CHARTED)
        assert "<svg" in part or name not in ("images", "lanes", "positives"), "what there is to draw is drawn"
    assert client.get("/overview/none.csv").status_code == 404
    assert "calibrate draw" not in page, "that is an admin's"
    add_account(server.database, "boss", Role.ADMIN)
    assert "pneumoscreen calibrate draw" in server.logged_in("boss").get("/overview").text
    assert client.get("/versions/none/card").status_code == 404


def test_a_cell_of_a_csv_is_no_formula() -> None:
    from web.pages_overview import _safe

    assert [_safe(cell) for cell in ("=1+1", "@x", "plain", 3, None)] == ["'=1+1", "'@x", "plain", 3, None]


def api(server: WebServer, database: Database, name: str, role: Role = Role.READER) -> httpx.Client:
    account = Account(add_account(database, name, role), name, role)
    with database.write() as session:
        token = sessions.make_token(session, account, "a test", datetime.now(UTC)).token
    return server.client(Authorization=f"Bearer {token}")


def test_a_program_reads_the_list_says_a_word_and_takes_it_back(
    server: WebServer, image: int, database: Database
) -> None:
    client = api(server, database, "robot")
    (row,) = client.get("/api/v1/images").json()["images"]
    assert (row["sighting"], row["why"], row["label"], row["accession_number"]) == (image, None, None, "A/1 &x")
    shown = client.get(f"/api/v1/images/{image}").json()
    assert shown["answer"] is None and shown["is_blind"] and "sha256" not in shown
    assert client.post(f"/api/v1/images/{image}/lease").json()["is_mine"]
    said = word(image, shown)
    first, again = (client.post(f"/api/v1/images/{image}/word", json=said) for _ in range(2))
    assert first.status_code == 201 and first.json()["review"] == again.json()["review"]
    assert first.json()["answer"]["label"] == "PNEUMONIA" and first.json()["answer"]["probability"] is None
    number = first.json()["review"]
    assert client.post(f"/api/v1/words/{number}/disagreement", json={"why": "film"}).status_code == 200
    assert client.post(f"/api/v1/words/{number}/undo", json={}).status_code == 400, "a program gives its reason"
    assert client.post(f"/api/v1/words/{number}/undo", json={"reason": "a test"}).json() == {"sighting": image}
    assert client.get("/api/v1/images/99999").status_code == 404
    assert client.post(f"/api/v1/images/{image}/word", json=[1]).status_code == 400
    assert server.client().get("/api/v1/images").status_code == 401
    assert len(reviews(database)) == 1


@SQLITE
def test_the_api_is_described(server: WebServer) -> None:
    paths = server.client().get("/api/v1/openapi.json").json()["paths"]
    assert {
        "/api/v1/images",
        "/api/v1/images/{sighting}",
        "/api/v1/images/{sighting}/word",
        "/api/v1/words/{review}/undo",
    } <= set(paths)


@SQLITE
@pytest.mark.parametrize(
    ("more", "sentence"),
    [({"unfamiliar": True}, "unlike what the model knows"), ({}, "does not say how far its map can be believed")],
)
def test_a_map_is_refused_with_its_reason(
    tmp_path: Path, database: Database, more: dict[str, Any], sentence: str
) -> None:
    settings = home_of(tmp_path, **ASSISTED)
    (number,) = screen(database, settings, [Specimen(probability=0.9, **more)])
    with serving(settings, database) as server:
        assert sentence in server.logged_in("Dr A").get(f"/read/{number}/map").json()["refusal"]


@SQLITE
def test_without_the_database_the_word_is_not_taken_and_the_page_says_so(
    server: WebServer, image: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import OperationalError

    client = server.logged_in("Dr A")
    said = word(image, client.get(f"/read/{image}/panel").json())

    def away() -> Any:
        raise OperationalError("SELECT 1", {}, Exception("the server closed the connection unexpectedly"))

    monkeypatch.setattr(server.app.state.database, "write", away)
    answer = client.post(f"/read/{image}/word", data=said, headers={"Accept": "application/json"})
    assert answer.status_code == 503 and "not saved yet" in answer.json()["detail"]
