import pytest

from shared.base.source_settings import IGNORED_BY_DEFAULT
from shared.sources.ignored import UNFINISHED, IgnoreRule, is_unfinished

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
        *("#snapshot/a.png", "__MACOSX/._a.png", "a.dcm.md5", "a.dcm.lock", "LOCKFILE", "a.dcm.sfv", "autorun.inf"),
        *("ward/@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", "a.png@SynoEAStream", "@sharebin/a.png", "@Recycle/a.png"),
        *(".@__thumb/a.png", ".streams/a", ".recycle/a.png", ".snapshot/hourly.0/a.png", "~snapshot/a.png"),
        *("@GMT-2026.01.31-08.00.00/a.png", ".zfs/snapshot/a.png", ".deleted/a.png", ".TemporaryItems/a.png"),
        *("a.png:Zone.Identifier", "a.png\uf03aZone.Identifier", "~$report.docx", "RECYCLER/a.png", ".Trash-1000/a"),
        *(".stversions/a.png", ".stfolder/x", ".syncthing.a.png.tmp", ".sync_1.db", "a.png.ocTransferId1.part"),
        *(".rsync-partial/a.png", ".a.png.Xy12Ab", "a.png.f8a1c2.partial", "a.png.download", "a.png.!sync", ".nfs0001"),
    ],
)
def test_what_accompanies_images_and_what_systems_leave_is_ignored_by_default(path: str) -> None:
    assert is_ignored(path)


@pytest.mark.parametrize(
    "path",
    [
        *("IM000001", "DICOM/IM1", "pdf", "a.pdf.png", "reports/a.dcm", "eaDir/a.png", "a.dat", "a.bak", "a.dcm.gz"),
        *("a.sync-conflict-20260131-080000-ABCDEFG.png", "a (conflicted copy 2026-01-31).png", "recycle/a.png", "a."),
        *("1.2.840.113619.2.5", "VERSION1", "snapshot/a.png", "Trash/a.png", "~a.png", "a.lock.png", "xml", "0001.v2"),
    ],
)
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


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("a.part", UNFINISHED),
        (".hidden/report.pdf", UNFINISHED),
        ("ward/report.PDF", "*.pdf"),
        ("ward/dicomdir", "DICOMDIR"),
        ("@eaDir/a.png/b.jpg", "@eaDir"),
        ("ward/a.tar.gz", "*.TAR.gz"),
        ("12.png", "[0-9]?.png"),
        ("old/a/b.png", "/Old/*"),
        ("a.png@SynoResource", "*@SynoResource"),
    ],
)
def test_a_rule_says_which_pattern_matched_as_it_was_written(path: str, pattern: str) -> None:
    rule = IgnoreRule([*IGNORED_BY_DEFAULT, "*.TAR.gz", "[0-9]?.png", "/Old/*"])
    assert rule(path)
    assert rule.pattern(path) == pattern


def test_temporary_and_hidden_names_are_ignored_whatever_the_patterns() -> None:
    rule = IgnoreRule([])
    assert rule("a.part") and rule(".hidden/a.png")
    assert not rule("report.pdf")
    assert is_unfinished("a.part") and not is_unfinished("report.pdf")
