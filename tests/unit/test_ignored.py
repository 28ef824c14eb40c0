import pytest

from shared.base.source_settings import IGNORED_BY_DEFAULT
from shared.sources.ignored import IgnoreRule, is_unfinished

is_ignored = IgnoreRule(IGNORED_BY_DEFAULT)


@pytest.mark.parametrize(
    "name",
    [
        "a.part",
        "a.PART",
        "a.png.part",
        "a.png.filepart",
        "a.partial",
        "a.tmp",
        "a.temp",
        "a.crdownload",
        "a.png~",
        ".a.png.swp",
        ".a.png",
        ".pneumoscreen-root",
        ".~tmp~/a.png",
        "ward/.hidden/a.png",
        "ward/a.tmp",
        "Thumbs.db",
        "ward/desktop.ini",
    ],
)
def test_temporary_hidden_and_system_names_are_ignored(name: str) -> None:
    assert is_ignored(name)


@pytest.mark.parametrize(
    "name",
    ["a.png", "A.JPEG", "no-suffix", "part", "tmp/a.png", "a.part/b.png", "a.tmp.png", "v1.2/x.y.jpg", "ü 🩻.png"],
)
def test_other_names_are_somebodys_images(name: str) -> None:
    assert not is_ignored(name)


@pytest.mark.parametrize(
    "path",
    [
        *("DICOMDIR", "ward/dicomdir", "report.PDF", "meta.xml", "index.html", "a.dcm.sha256", "._a.png", ".DS_Store"),
        *("@eaDir/a.png", "ward/#recycle/b.png", "$RECYCLE.BIN/c.png", "System Volume Information/d", "lost+found/e"),
    ],
)
def test_what_accompanies_images_and_what_systems_leave_is_ignored_by_default(path: str) -> None:
    assert is_ignored(path)


@pytest.mark.parametrize("path", ["IM000001", "DICOM/IM1", "pdf", "a.pdf.png", "reports/a.dcm", "eaDir/a.png"])
def test_an_image_is_not_ignored_for_a_name_that_resembles_one(path: str) -> None:
    assert not is_ignored(path)


@pytest.mark.parametrize(
    ("pattern", "path", "is_hit"),
    [
        ("*-preview.*", "ward/a-PREVIEW.png", True),
        ("*-preview.*", "a-preview", False),
        ("old*", "older/a.png", True),
        ("old/*", "old/a/b.png", True),
        ("old/*", "ward/old/a.png", False),
        ("/old/*", "old/a.png", True),
        ("[0-9]?.png", "12.png", True),
        ("[0-9]?.png", "123.png", False),
        ("Straße.png", "STRAßE.png", True),
    ],
)
def test_a_pattern_is_compared_with_each_name_or_if_it_has_a_slash_with_the_path(
    pattern: str, path: str, is_hit: bool
) -> None:
    assert IgnoreRule([pattern])(path) is is_hit


def test_temporary_and_hidden_names_are_ignored_whatever_the_patterns() -> None:
    rule = IgnoreRule([])
    assert rule("a.part") and rule(".hidden/a.png")
    assert not rule("report.pdf")
    assert is_unfinished("a.part") and not is_unfinished("report.pdf")
