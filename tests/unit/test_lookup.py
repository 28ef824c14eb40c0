"""Which image a person means by a name, for every command alike; and which sighting of a path is the newest."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from queries.results import Filters, find
from shared.base.errors import WorkFailed
from shared.base.settings import load
from shared.database import Database, Sighting
from shared.ledger import latest, lookup
from shared.ledger.register import register
from shared.ledger.work import Quarantined, Superseded
from tests.unit.steps import NOW, after, claim, drop, file, finish, in_hand, rows, screened, send_all


def meant(database: Database, name: str) -> list[str]:
    with database.read() as session:
        return [image.name for image in lookup.images(session, name)]


def drop_into(database: Database, source: str, path: str, content: str | None = None, origin: str | None = None) -> int:
    with database.write() as session:
        (sighting,) = register(session, source, "routine", [file(path)], NOW, origin=origin)
    if content:
        finish(database, screened(claim(database, send_all(database))[0], content=content))
    return sighting


def test_every_way_of_naming_an_image_means_the_same_one(database: Database) -> None:
    number = drop_into(database, "ward", "7/a.png", "a")
    for name in ("7/a.png", "ward/7/a.png", str(number), "a" * 64, "A" * 64):
        assert meant(database, name) == ["ward/7/a.png"], name
    for name in ("a.png", "clinic/7/a.png", "77", f"0{number}", "9" * 30, "b" * 64, ""):
        with pytest.raises(WorkFailed, match="there is no image"):
            meant(database, name)


def test_copies_that_were_submitted_are_one_image_and_the_newest_counts(database: Database) -> None:
    drop_into(database, "submitted", "1/a.png", "a", "/archive/a.png")
    newest = drop_into(database, "submitted", "2/a.png", "b", "/archive/a.png")
    with database.read() as session:
        (image,) = lookup.images(session, "/archive/a.png")
    assert (image.id, image.sha256) == (newest, "b" * 64)


def test_a_path_of_two_images_is_refused_with_the_choices_and_a_content_means_both(database: Database) -> None:
    first, second = drop_into(database, "ward", "a.png", "a"), drop_into(database, "clinic", "a.png", "a")
    with pytest.raises(WorkFailed, match=rf"several images.* \({second} is clinic/a.png, {first} is ward/a.png\)"):
        meant(database, "a.png")
    assert sorted(meant(database, "a" * 64)) == ["clinic/a.png", "ward/a.png"]
    with database.read() as session:
        assert lookup.image(session, "a.png").id == second, "copies are one content"


def test_two_images_that_nobody_has_read_are_not_taken_for_copies(database: Database) -> None:
    drop_into(database, "ward", "a.png")
    drop_into(database, "clinic", "a.png")
    with database.read() as session, pytest.raises(WorkFailed, match="several images"):
        lookup.image(session, "a.png")


def test_a_path_counts_before_a_number_and_before_a_content(database: Database) -> None:
    first, numbered, hexadecimal = in_hand(database, "a.png", "1", "f" * 64)
    finish(database, screened(first, content="f"), screened(numbered, content="b"), screened(hexadecimal, content="c"))
    assert first.sighting == 1
    assert meant(database, "1") == ["ward/1"]
    assert meant(database, "f" * 64) == [f"ward/{'f' * 64}"]


def test_a_name_that_is_not_valid_utf_8_is_found_as_the_shell_gives_it(database: Database) -> None:
    drop_into(database, "ward", "inv\udcff.png")
    assert meant(database, "inv\udcff.png") == meant(database, "inv\\xff.png") == ["ward/inv\\xff.png"]


def test_the_newest_sighting_of_each_path_is_the_one_that_results_show(database: Database) -> None:
    (old,) = in_hand(database, file(size=1))
    finish(database, Quarantined(old, "blank"))
    (changed,) = in_hand(database, file(size=2))
    finish(database, Superseded(changed, file(size=3), after(2)))
    drop(database, "b.png")
    with database.read() as session:
        chosen = set(session.scalars(select(Sighting.id).where(latest.is_newest())))
        newest = latest.newest(session, "ward", "a.png")
    assert chosen == {row["sighting_id"] for row in rows(database)}
    assert newest is not None
    assert newest.id in chosen


COMPOSED, DECOMPOSED = "M\u00fcller/Th\u00f6rax.png", "Mu\u0308ller/Tho\u0308rax.png"


@pytest.mark.parametrize(("stored", "given"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_a_name_is_found_in_either_form_of_its_accents(database: Database, stored: str, given: str) -> None:
    number = drop_into(database, "ward", stored, "a")
    drop_into(database, "submitted", "1/a.png", "b", origin=f"/archive/{stored}")
    assert meant(database, given) == meant(database, f"ward/{given}") == [f"ward/{stored}"]
    assert meant(database, f"/archive/{given}") == [f"submitted//archive/{stored}"]
    with database.read() as session:
        for filters in (Filters(path=given.partition("/")[0]), Filters(names=[given])):
            listing = find(session, load(Path("/nowhere")), filters, datetime.now(UTC))
            assert [row["sighting_id"] for row in listing.rows] == [number]


def test_of_two_files_whose_names_look_alike_the_one_that_was_given_is_meant(database: Database) -> None:
    for path, content in ((COMPOSED, "a"), (DECOMPOSED, "b")):
        drop_into(database, "ward", path, content)
    assert [meant(database, name) for name in (COMPOSED, DECOMPOSED)] == [[f"ward/{COMPOSED}"], [f"ward/{DECOMPOSED}"]]
