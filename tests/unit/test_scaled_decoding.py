"""Scaling while decoding moves the network's answer no more than it does for JPEG files, which were always scaled."""

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.imaging import Limits, arrange, decode, dicom
from shared.models import registry
from tests.dicom import compressed, make, written
from tests.plan import short

DATA = Path(os.environ.get("XRAY_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "kermany" / "full"
MAX_MOVE, MEDIAN_MOVE = 0.29, 0.1
"""Of a logit: what JPEG's scaled decoding moved by when it was measured, on 120 full-size X-rays."""
LOSSLESS = {
    "uncompressed": None,
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG lossless": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
}


@pytest.fixture(scope="module")
def loaded() -> registry.Loaded:
    return registry.load_bundled("auto")


@pytest.mark.skipif(not DATA.is_dir(), reason="the full-size X-rays are not beside this checkout")
@pytest.mark.parametrize("syntax", short(["uncompressed"], LOSSLESS))
def test_the_answer_moves_no_more_than_with_jpeg(syntax: str, loaded: registry.Loaded, tmp_path: Path) -> None:
    moves = []
    for file in sorted(DATA.rglob("*.jpeg"))[::12]:
        grey = np.asarray(decode(file.read_bytes(), (9999, 9999), Limits())).astype(np.uint16) << 4
        dataset = make(grey, WindowCenter=2048, WindowWidth=4096)
        uid = LOSSLESS[syntax]
        data = written(dataset) if uid is None else compressed(dataset, uid, tmp_path)
        size = loaded.manifest.preprocessing
        scaled, full = (dicom.decode(data, each, Limits()) for each in ((size.width, size.height), (9999, 9999)))
        moves.append(abs(logit(loaded, scaled) - logit(loaded, full)))
    assert max(moves) <= MAX_MOVE
    assert float(np.median(moves)) <= MEDIAN_MOVE


@pytest.mark.skipif(not DATA.is_dir(), reason="the full-size X-rays are not beside this checkout")
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_nor_does_it_with_16_bits_in_a_plain_picture(kind: str, loaded: registry.Loaded) -> None:
    moves = []
    for file in sorted(DATA.rglob("*.jpeg"))[::12]:
        grey = np.asarray(decode(file.read_bytes(), (9999, 9999), Limits())).astype(np.uint16) << 8
        data = BytesIO()
        Image.fromarray(grey).save(data, kind)
        size = loaded.manifest.preprocessing
        scaled, full = (decode(data.getvalue(), each, Limits()) for each in ((size.width, size.height), (9999, 9999)))
        moves.append(abs(logit(loaded, scaled) - logit(loaded, full)))
    assert max(moves) <= MAX_MOVE
    assert float(np.median(moves)) <= MEDIAN_MOVE


def logit(loaded: registry.Loaded, picture: Image.Image) -> float:
    return float(loaded.network.logits(arrange(picture, loaded.manifest.preprocessing)[np.newaxis])[0])
