"""Pictures for the pages: what is sent, what is noted, and what a file that breaks a decoder costs."""

import io
import json
import os
import shutil
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from sqlalchemy import select, update

from queries.pictures import Location
from shared.base import settings
from shared.base.errors import ImageError, OutOfReach, Unreadable, Unsuitable
from shared.base.settings import Settings
from shared.database import AuditEntry, Database, Sighting, connect
from shared.imaging import Limits
from shared.imaging.viewing import view
from shared.ledger import register
from shared.models.published import Published
from shared.sources import build
from tests import dicom
from tests.models import make_linear_version
from tests.radiographs import radiograph
from tests.web_server import WebServer, serving
from web import pictures
from web.pictures import Allowance, Pictures

RAMP = np.tile(np.arange(100, 1124, dtype=np.uint16), (1024, 1))
"""Values from 100 to 1123, dark at the left."""


def png(number: int = 1) -> bytes:
    stream = io.BytesIO()
    radiograph(number).resize((400, 300)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def chosen(tmp_path: Path) -> Settings:
    (tmp_path / "ward").mkdir()
    return settings.load(tmp_path, sources={"ward": {"path": tmp_path / "ward"}})


def add(database: Database, chosen: Settings, name: str, content: bytes) -> int:
    """A file that was dropped; the number of its sighting."""
    (chosen.sources["ward"].path / name).write_bytes(content)
    found = build(chosen)["ward"].find(name)
    assert found is not None
    with database.write() as session:
        (number,) = register.register(session, "ward", "routine", [found], datetime.now(UTC))
    return number


@pytest.fixture(scope="module")
def shared_ward(tmp_path_factory: pytest.TempPathFactory, migrated_file: Path) -> Iterator[tuple[Settings, WebServer]]:
    """One server for all: its process takes a moment to start."""
    home = tmp_path_factory.mktemp("home")
    (home / "ward").mkdir()
    shutil.copyfile(migrated_file, home / "pneumoscreen.db")
    chosen = settings.load(home, sources={"ward": {"path": home / "ward"}})
    database = connect(chosen.database)
    with serving(chosen, database) as server:
        yield chosen, server
    database.close()


@pytest.fixture
def server(shared_ward: tuple[Settings, WebServer]) -> WebServer:
    return shared_ward[1]


@pytest.fixture
def ward(shared_ward: tuple[Settings, WebServer]) -> Settings:
    return shared_ward[0]


# What a reader sees


def test_a_dicom_picture_keeps_its_grey_values_and_is_shown_by_its_window_first() -> None:
    elements = {"WindowCenter": 612, "WindowWidth": 400, "PixelSpacing": [0.2, 0.2]}
    shown = view(dicom.written(dicom.make(RAMP, **elements)), Limits())
    assert np.array_equal(shown.pixels, RAMP - 100)
    assert [(each.name, each.low, each.high) for each in shown.windows] == [
        ("dicom", 312, 712),
        ("full", 0, 1023),
        ("percentile", 10, 1013),
    ]
    assert (shown.bits, shown.spacing, shown.is_at_detector) == (10, 0.2, False)
    assert (shown.view, round(shown.age_years)) == ("AP", 4)


def test_a_picture_whose_low_values_are_white_is_sent_with_black_as_nought() -> None:
    elements = {"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": 612, "WindowWidth": 400}
    shown = view(dicom.written(dicom.make(RAMP, **elements)), Limits())
    assert np.array_equal(shown.pixels, 1123 - RAMP)
    assert (shown.windows[0].low, shown.windows[0].high) == (1123 - 812, 1123 - 412)


def test_rescaled_fractions_fill_all_sixteen_bits() -> None:
    shown = view(dicom.written(dicom.make(RAMP, RescaleSlope=0.01, RescaleIntercept=-5)), Limits())
    assert (int(shown.pixels.min()), int(shown.pixels.max()), shown.bits) == (0, 65535, 16)


DEEP = np.tile(np.arange(20_000, 20_000 + 1024, dtype=np.uint16), (600, 1))
"""A radiograph's 10 bits in the middle of 16: its highest byte takes five values."""


def saved(values: np.ndarray, format: str, **more: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, format, **more)
    return stream.getvalue()


def tiff(values: np.ndarray, **more: object) -> bytes:
    tifffile = pytest.importorskip("tifffile")
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, **more)
    return stream.getvalue()


def grey_and_alpha(values: np.ndarray) -> bytes:
    """A PNG of 16 bits of grey and 16 of alpha, which Pillow does not write."""
    import struct
    import zlib

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = values.shape
    samples = np.dstack((values, np.full_like(values, 65535))).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    head = struct.pack(">IIBBBBB", width, height, 16, 4, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: saved(DEEP, "PNG"), DEEP - 20_000),
        (lambda: grey_and_alpha(DEEP), DEEP - 20_000),
        (lambda: saved(DEEP, "JPEG2000", irreversible=False), DEEP - 20_000),
        (lambda: tiff(DEEP), DEEP - 20_000),
        (lambda: tiff(DEEP, photometric="miniswhite"), 21_023 - DEEP),
        (lambda: tiff(DEEP.astype(">u2"), byteorder=">"), DEEP - 20_000),
        (lambda: tiff(DEEP.astype(np.int16)), DEEP - 20_000),
        (lambda: tiff(DEEP.astype(np.uint32)), DEEP - 20_000),
        (lambda: tiff(DEEP.astype(np.float32)), DEEP - 20_000),
        (lambda: tiff(np.dstack([DEEP] * 3), photometric="rgb"), DEEP - 20_000),
    ],
    ids=["png", "png-alpha", "jpeg2000", "tiff", "tiff-white", "tiff-big", "tiff-signed", "tiff-32", "float", "colour"],
)
def test_a_picture_of_more_than_8_bits_reaches_the_reader_with_all_of_them(
    make: Callable[[], bytes], expected: np.ndarray
) -> None:
    shown = view(make(), Limits())
    assert np.abs(shown.pixels.astype(int) - expected).max() <= 1, "colours are weighted, and their sum is rounded"
    assert (shown.bits, {window.name for window in shown.windows}) == (10, {"full", "percentile"})


def test_a_tiff_of_12_packed_bits_keeps_them() -> None:
    pytest.importorskip("imagecodecs", reason="tifffile unpacks 12 bits by it")
    shown = view(tiff(DEEP - 19_000, bitspersample=12, photometric="minisblack"), Limits())
    assert np.array_equal(shown.pixels, DEEP - 20_000)


def test_what_spans_more_than_16_bits_fills_them_and_letters_at_the_top_leave_the_rest_visible() -> None:
    wide = np.tile(np.arange(1024, dtype=np.uint32) * 100_000, (600, 1))
    shown = view(tiff(wide), Limits())
    assert (int(shown.pixels.max()), shown.bits) == (65535, 16)
    assert len(np.unique(shown.pixels)) == 1024
    lettered = DEEP.copy()
    lettered[:5, :100] = 65535
    first = view(saved(lettered, "PNG"), Limits()).windows[0]
    assert (first.name, first.high < 1100) == ("percentile", True)


def test_a_deep_picture_that_is_large_is_scaled_down_with_all_its_bits() -> None:
    large = np.tile(np.arange(3000, dtype=np.uint16), (2000, 1))
    small = view(saved(large, "PNG"), Limits(), 1000)
    assert (small.pixels.shape, small.full) == ((667, 1000), (3000, 2000))
    assert len(np.unique(small.pixels)) > 900


def test_a_large_picture_is_sent_smaller_first_with_the_spacing_of_what_is_sent() -> None:
    large = np.tile(np.arange(3000, dtype=np.uint16), (2000, 1))
    data = dicom.written(dicom.make(large, ImagerPixelSpacing=[0.15, 0.15]))
    small, full = view(data, Limits(), 1000), view(data, Limits())
    assert (small.pixels.shape, full.pixels.shape) == ((667, 1000), (2000, 3000))
    assert small.full == full.full == (3000, 2000)
    assert (round(small.spacing, 3), round(full.spacing, 3), full.is_at_detector) == (0.45, 0.15, True)


def test_pixels_that_are_not_square_and_plain_pictures_have_no_ruler() -> None:
    assert view(dicom.written(dicom.make(RAMP, PixelSpacing=[0.2, 0.3])), Limits()).spacing is None
    assert view(dicom.written(dicom.make(RAMP, PixelSpacing=[0, 0])), Limits()).spacing is None
    assert view(png(), Limits()).spacing is None


def test_pixels_are_sent_raw_with_what_a_browser_needs_to_show_them_and_each_is_an_audit_row(
    server: WebServer, ward: Settings
) -> None:
    number = add(
        server.database,
        ward,
        "Mustermann^Erika.dcm",
        dicom.written(dicom.make(RAMP, WindowCenter=612, WindowWidth=400)),
    )
    client = server.logged_in("Dr. Okafor")
    answer = client.get(f"/images/{number}/pixels")
    pixels = np.frombuffer(answer.content, "<u2").reshape(
        int(answer.headers["X-Height"]), int(answer.headers["X-Width"])
    )
    assert np.array_equal(pixels, RAMP - 100)
    assert json.loads(answer.headers["X-Windows"])[0] == {"name": "dicom", "low": 312, "high": 712}
    assert "X-Pixel-Spacing" not in answer.headers
    about = json.loads(answer.headers["X-About"])
    assert (about["view"], round(about["age_years"])) == ("AP", 4)
    assert not [value for value in answer.headers.values() if "Mustermann" in value or dicom.PATIENT in value]
    client.get(f"/images/{number}/pixels?size=full&ahead=1")
    assert client.get(f"/images/{number}/pixels?size=1").status_code == 400
    with server.database.read() as session:
        rows = session.scalars(select(AuditEntry).where(AuditEntry.action == "open picture")).all()
    assert [(row.actor, row.detail) for row in rows] == [
        ("Dr. Okafor", f"sighting {number}: 2048"),
        ("Dr. Okafor", f"sighting {number}: full, ahead"),
    ]


def test_a_thumbnail_is_small_and_the_model_s_view_is_what_the_network_was_shown(
    server: WebServer, ward: Settings
) -> None:
    number = add(server.database, ward, f"{uuid.uuid4()}.png", png())
    client = server.logged_in("Dr. Okafor")
    picture = Image.open(io.BytesIO(client.get(f"/images/{number}/thumbnail").content))
    assert (picture.size, picture.mode) == ((160, 120), "L")
    assert client.get(f"/images/{number}/model-view").status_code == 422  # no version has screened it
    assert client.get("/images/999/pixels").status_code == 404


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("text.png", b"no picture at all", "not an image in a format that is read"),
        ("cut.png", png()[:200], "cut off"),
        ("bomb.png", None, "more than the limit"),
    ],
)
def test_a_file_that_is_no_picture_is_said_to_be_none(
    server: WebServer, ward: Settings, name: str, content: bytes | None, reason: str
) -> None:
    if content is None:
        stream = io.BytesIO()
        Image.new("1", (12_000, 9_000)).save(stream, "PNG")
        content = stream.getvalue()
    number = add(server.database, ward, name, content)
    answer = server.logged_in("reader").get(f"/images/{number}/pixels", headers={"Accept": "application/json"})
    assert answer.status_code == 422
    assert reason in answer.json()["detail"]


def test_a_file_that_changed_since_it_was_screened_is_not_shown_as_what_was(server: WebServer, ward: Settings) -> None:
    number = add(server.database, ward, f"{uuid.uuid4()}.png", png())
    with server.database.write() as session:
        session.execute(update(Sighting).where(Sighting.id == number).values(sha256="0" * 64))
    answer = server.logged_in("reader").get(f"/images/{number}/pixels", headers={"Accept": "application/json"})
    assert answer.status_code == 422
    assert "no longer the one that was screened" in answer.json()["detail"]


# What a bad one costs


def where(chosen: Settings, name: str, content: bytes) -> Location:
    (chosen.sources["ward"].path / name).write_bytes(content)
    found = build(chosen)["ward"].find(name)
    assert found is not None
    return Location(7, "ward", name, found.revision, None, None)


@pytest.fixture
def one_process(chosen: Settings) -> Iterator[Pictures]:
    asked = Pictures(chosen, processes=1)
    yield asked
    asked.close()


def children(before: Collection[psutil.Process] = ()) -> list[psutil.Process]:
    found = [one for one in psutil.Process().children() if one not in before and one.status() != psutil.STATUS_ZOMBIE]
    return [one for one in found if "web.picture_process" in " ".join(one.cmdline())]


def test_a_process_that_dies_or_hangs_costs_one_request_and_is_replaced(
    chosen: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    failures: list[None] = []
    before = children()
    asked = Pictures(chosen, processes=1, seconds=60, on_failure=lambda: failures.append(None))
    location = where(chosen, "a.png", png())
    try:
        assert asked.pixels(location, None).about["width"] == 400
        (process,) = children(before)
        process.kill()
        with pytest.raises(Unreadable, match="broke on this image"):
            asked.pixels(location, None)
        assert asked.pixels(location, None).about["width"] == 400
        (process,) = children(before)
        os.kill(process.pid, signal.SIGSTOP)
        asked._seconds = 0.2
        with pytest.raises(OutOfReach, match="could not be decoded within"):
            asked.pixels(location, None)
        asked._seconds = 60
        assert asked.pixels(location, None).about["width"] == 400
        assert not process.is_running()
    finally:
        asked.close()
    assert len(failures) == 2
    assert "sighting 7" in caplog.text
    assert "a.png" not in caplog.text
    assert children(before) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds these limits")
@pytest.mark.parametrize(
    ("allowance", "reason"),
    [
        (Allowance(memory=512 * 1024**2), "more memory to decode than one picture may have"),
        (Allowance(cpu_seconds=1), "more time of processors to decode than one picture may have"),
    ],
    ids=["memory", "time"],
)
def test_a_picture_that_wants_more_memory_or_time_than_one_may_have_is_refused_and_the_next_one_shown(
    chosen: Settings, allowance: Allowance, reason: str
) -> None:
    """Few bytes, and no more pixels than are allowed, but a gigabyte and seconds to decode."""
    asked = Pictures(chosen, processes=1, seconds=600, allowance=allowance)
    hostile = saved(np.tile(np.arange(9000, dtype=np.uint16), (9000, 1)), "PNG", compress_level=1)
    try:
        with pytest.raises(Unsuitable, match=reason):
            asked.pixels(where(chosen, "hostile.png", hostile), None)
        assert asked.pixels(where(chosen, "a.png", png()), None).about["width"] == 400
    finally:
        asked.close()


def test_a_process_that_decodes_knows_no_password(
    chosen: Settings, one_process: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNEUMOSCREEN_DATABASE_URL", "postgresql+psycopg://me:geheim@db/x")
    before = children()
    one_process.warm_up()
    (process,) = children(before)
    assert not [name for name in process.environ() if name.startswith("PNEUMOSCREEN_")]
    assert "geheim" not in str((process.environ(), process.cmdline()))
    assert not set(pictures.GIVEN) & {
        "database_url",
        "broker_url",
        "patient_secret",
        "admin_database_url",
        "stow_database_url",
    }


def test_a_source_that_this_host_does_not_have_is_said_to_be_missing(chosen: Settings, one_process: Pictures) -> None:
    location = where(chosen, "a.png", png())
    with pytest.raises(OutOfReach, match="not configured on this host"):
        one_process.pixels(replace(location, source="elsewhere"), None)


def test_thumbnails_leave_a_process_to_whoever_opens_a_picture(chosen: Settings) -> None:
    asked = Pictures(chosen, processes=2)
    location = where(chosen, "a.png", png())
    try:
        with asked._held(asked._free) as slot:  # a thumbnail that takes long
            assert asked._thumbnails.acquire(timeout=1)
            late: list[bytes] = []
            waiting = threading.Thread(target=lambda: late.append(asked.thumbnail(location)))
            waiting.start()
            assert asked.pixels(location, None).about["width"] == 400
            assert late == []
            asked._thumbnails.release()
            waiting.join(30)
            assert len(late) == 1
            assert slot.held is None
    finally:
        asked.close()


def test_the_model_s_view_and_the_map_come_from_the_version_s_own_preprocessing(
    chosen: Settings, one_process: Pictures
) -> None:
    folder = make_linear_version(chosen.models, "linear-1")
    from shared.models import manifest

    digest = manifest.sha256((folder / manifest.NAME).read_bytes())
    location = replace(where(chosen, "a.png", png()), version=Published("linear-1", digest))
    wanted = manifest.read(folder, digest).preprocessing
    shown = Image.open(io.BytesIO(one_process.model_view(location)))
    assert shown.size == (wanted.width, wanted.height)
    drawn = one_process.evidence(location)
    assert drawn is not None
    assert drawn.values.shape == (8, 8)
    with pytest.raises(ImageError):
        one_process.model_view(replace(location, version=Published("linear-1", "0" * 64)))


def test_an_end_while_a_picture_is_decoded_leaves_no_process_behind(chosen: Settings) -> None:
    before = children()
    asked = Pictures(chosen, processes=1)
    asked.warm_up()
    asked.close()
    deadline = time.monotonic() + 20
    while children(before):
        assert time.monotonic() < deadline
        time.sleep(0.05)
