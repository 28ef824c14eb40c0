from shared.database import Database, Review
from shared.ledger.work import Quarantined, Superseded
from tests.unit.steps import NOW, after, claim, drop, file, finish, in_hand, rows, screened, send_all

COLUMNS = {
    "path",
    "state",
    "label",
    "probability",
    "threshold",
    "model_version",
    "unfamiliar",
    "reason",
    "sha256",
    "reviewed_label",
}


def review(database: Database, label: str, content: str = "a") -> None:
    with database.write() as session:
        session.add(Review(sha256=content * 64, label=label, reviewer="Dr. Okafor", created_at=NOW))


def test_results_have_the_columns_that_people_rely_on(database: Database) -> None:
    drop(database, "a.png")
    assert set(rows(database)[0]) >= COLUMNS
    assert set(rows(database, "results_history")[0]) >= COLUMNS


def test_an_image_that_waits_has_a_row_without_a_label(database: Database) -> None:
    drop(database, "a.png")
    (row,) = rows(database)
    assert (row["state"], row["label"], row["probability"], row["reason"]) == ("waiting", None, None, None)


def test_an_image_in_a_workers_hand_still_waits(database: Database) -> None:
    in_hand(database, "a.png")
    assert [row["state"] for row in rows(database)] == ["waiting"]


def test_results_show_the_newest_sighting_of_a_path_and_the_history_keeps_the_old(database: Database) -> None:
    (first,) = in_hand(database, file(size=1))
    finish(database, screened(first, 0.9, content="a"))
    (second,) = in_hand(database, file(size=2))
    assert [(row["size"], row["state"]) for row in rows(database)] == [(2, "waiting")]
    finish(database, screened(second, 0.1, content="b"))
    assert [(row["size"], row["label"]) for row in rows(database)] == [(2, "NORMAL")]
    history = [(row["size"], row["label"]) for row in rows(database, "results_history")]
    assert history == [(1, "PNEUMONIA"), (2, "NORMAL")]


def test_a_quarantined_image_whose_file_is_mended_is_reported_as_mended(database: Database) -> None:
    (broken,) = in_hand(database, file(size=1))
    finish(database, Quarantined(broken, "the image's data is damaged"))
    (mended,) = in_hand(database, file(size=2))
    finish(database, screened(mended))
    assert [(row["state"], row["reason"]) for row in rows(database)] == [("done", None)]


def test_results_never_show_what_was_superseded_and_the_history_does(database: Database) -> None:
    (claimed,) = in_hand(database, file(size=1))
    finish(database, Superseded(claimed, file(size=2), after(2)))
    assert [row["state"] for row in rows(database)] == ["waiting"]
    assert [row["state"] for row in rows(database, "results_history")] == ["superseded", "waiting"]


def test_each_state_that_results_show_is_one_of_three(database: Database) -> None:
    done, bad, changed = in_hand(database, "done.png", "bad.png", "changed.png")
    finish(database, screened(done), Quarantined(bad, "blank"), Superseded(changed, file(size=2), after(2)))
    assert {row["state"] for row in rows(database)} == {"done", "quarantined", "waiting"}


def test_the_reviewed_label_is_the_last_word_on_a_content_under_every_name(database: Database) -> None:
    first, copy, other = in_hand(database, "a.png", "copy.png", "other.png")
    finish(database, screened(first), screened(copy), screened(other, content="b"))
    assert {row["reviewed_label"] for row in rows(database)} == {None}
    review(database, "PNEUMONIA")
    review(database, "NORMAL")
    found = {row["path"]: (row["label"], row["reviewed_label"]) for row in rows(database)}
    assert found == {
        "a.png": ("PNEUMONIA", "NORMAL"),
        "copy.png": ("PNEUMONIA", "NORMAL"),
        "other.png": ("PNEUMONIA", None),
    }


def test_a_sighting_s_history_is_what_was_said_of_it_and_not_of_another_one_of_its_content(database: Database) -> None:
    (first,) = in_hand(database, file("a.png"))
    finish(database, screened(first, 0.9, version="v1"))
    (copy,) = in_hand(database, file("copy.png"))
    finish(database, screened(copy, 0.2, version="v2"))
    found = {row["path"]: (row["model_version"], row["label"]) for row in rows(database)}
    assert found == {"a.png": ("v1", "PNEUMONIA"), "copy.png": ("v2", "NORMAL")}
    history = {(row["path"], row["model_version"], row["is_result"]) for row in rows(database, "results_history")}
    assert history == {("a.png", "v1", 1), ("copy.png", "v2", 1)}


def test_the_same_path_in_two_folders_has_two_rows(database: Database) -> None:
    from shared.ledger.register import register

    drop(database, file())
    with database.write() as session:
        register(session, "clinic", "routine", [file()], NOW)
    assert {(row["root"], row["path"]) for row in rows(database)} == {("ward", "a.png"), ("clinic", "a.png")}


def test_an_image_that_is_retried_waits_and_then_shows_its_new_result(database: Database) -> None:
    from shared.ledger.register import retry

    (claimed,) = in_hand(database, "a.png")
    finish(database, Quarantined(claimed, "blank", "a" * 64))
    with database.write() as session:
        retry(session, [claimed.sighting], NOW)
    assert [row["state"] for row in rows(database)] == ["waiting"]
    finish(database, screened(*claim(database, send_all(database))))
    assert [(row["state"], row["reason"]) for row in rows(database)] == [("done", None)]
