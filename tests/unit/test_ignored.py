import pytest

from shared.base.source_settings import IGNORED_BY_DEFAULT
from shared.sources.ignored import IgnoreRule

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
