"""The evidence map: how much each cell of the picture moved a network's logit, which is the map's mean plus a bias.

A map has shape (rows, columns), dtype float32, without bounds: above 0 a cell speaks for PNEUMONIA, below 0 against.
It says what moved the score, not where disease is: a network may look at what goes along with disease.
"""

import struct
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from shared.models.manifest import Manifest

CAPTION = "What moved this score, not where the disease is"
MIDDLE = (1 / 8, 13 / 16, 1 / 8, 7 / 8)
"""Top, bottom, left and right of the part where lungs lie, as shares of the picture that the network sees."""
RIM = 1 / 8
"""Width of the rim at each side, as a share of the picture."""
MEASURED = "evidence"
"""Of a manifest's `metrics`: what `models measure evidence` measures of a version's maps."""

_HEAD = struct.Struct("<BBf")
_ORANGE, _BLUE, _GREY = (213, 94, 0), (0, 114, 178), (70, 70, 70)
_BAR, _GAP, _TEXT = 24, 24, 64

Map = NDArray[np.float32]


def is_measured(manifest: Manifest) -> bool:
    """Whether the card says what the version's maps are worth; one of which that is not known is shown to no reader."""
    return MEASURED in manifest.metrics


@cache
def rim_weights(rows: int, columns: int) -> NDArray[np.float64]:
    """Which share of each cell lies in the rim, shape (rows, columns); their mean, 0.44, is what chance gives."""

    def inside(count: int) -> NDArray[np.float64]:
        edges = np.linspace(0.0, 1.0, count + 1).clip(RIM, 1 - RIM)
        return np.diff(edges) * count

    return np.asarray(1.0 - np.outer(inside(rows), inside(columns)), dtype=np.float64)


def rim_share(evidence: Map) -> float | None:
    """The share of what speaks for PNEUMONIA that lies in the rim, 0 to 1; None where nothing does."""
    positive = np.maximum(evidence, 0.0)
    total = float(positive.sum())
    return float((positive * rim_weights(*evidence.shape)).sum()) / total if total > 0 else None


def pack(evidence: Map) -> bytes:
    """A map in 6 bytes and one for each cell: rows, columns, the largest value, and each as a part of it in 127ths."""
    largest = float(np.abs(evidence).max())
    parts = np.rint(evidence / largest * 127) if largest > 0 else np.zeros_like(evidence)
    return _HEAD.pack(*evidence.shape, largest) + parts.astype(np.int8).tobytes()


def unpack(stored: bytes) -> Map:
    """The map that `pack` stored, off by 1/254 of its largest value at most; raises ValueError for other bytes."""
    if len(stored) < _HEAD.size:
        raise ValueError("the stored map is cut off")
    rows, columns, largest = _HEAD.unpack_from(stored)
    parts = np.frombuffer(stored, np.int8, offset=_HEAD.size)
    if len(parts) != rows * columns:
        raise ValueError(f"the stored map has {len(parts)} cells, not {rows} x {columns}")
    return parts.reshape(rows, columns).astype(np.float32) * np.float32(largest / 127)


def colours(evidence: Map, largest: float) -> NDArray[np.uint8]:
    """Each cell's colour and opacity, shape (rows, columns, 4): orange for PNEUMONIA, blue against, clear at 0."""
    strength = np.clip(np.abs(evidence) / largest if largest > 0 else np.zeros_like(evidence), 0.0, 1.0)
    hue = np.where((evidence > 0)[..., np.newaxis], _ORANGE, _BLUE)
    return np.concatenate([hue, np.rint(strength * 170)[..., np.newaxis]], axis=2).astype(np.uint8)


def draw(picture: Image.Image, evidence: Map, title: str, side: int = 512) -> Image.Image:
    """Picture, and picture under its map, side by side, with scale, title and caption; RGB.

    The map's cells are drawn as they are, over all of the picture, which the network sees squeezed to a square.
    """
    width, height = side, round(side * picture.height / picture.width)
    plain = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    largest = float(np.abs(evidence).max())
    cells = Image.fromarray(colours(evidence, largest), "RGBA").resize((width, height), Image.Resampling.NEAREST)
    covered = Image.alpha_composite(plain.convert("RGBA"), cells).convert("RGB")
    canvas = Image.new("RGB", (2 * width + _BAR + 3 * _GAP + 90, height + 2 * _TEXT), (16, 16, 16))
    canvas.paste(plain, (_GAP, _TEXT))
    canvas.paste(covered, (width + _GAP + 4, _TEXT))
    text, font = ImageDraw.Draw(canvas), ImageFont.load_default(18)
    text.text((_GAP, 20), title, (235, 235, 235), font)
    text.text((_GAP, height + _TEXT + 20), f"{CAPTION}.", (235, 235, 235), font)
    left = 2 * width + 2 * _GAP
    scale = np.linspace(largest, -largest, height, dtype=np.float32)[:, np.newaxis]
    bar = Image.new("RGBA", (_BAR, height), (*_GREY, 255))
    bar.alpha_composite(Image.fromarray(colours(scale, largest), "RGBA").resize((_BAR, height)))
    canvas.paste(bar.convert("RGB"), (left, _TEXT))
    small = ImageFont.load_default(14)
    for place, number in ((0.0, largest), (0.5, 0.0), (1.0, -largest)):
        text.text((left + _BAR + 6, _TEXT + place * (height - 16)), f"{number:+.1f}", (235, 235, 235), small)
    text.text((left, _TEXT - 20), "for", (235, 235, 235), small)
    text.text((left, _TEXT + height + 4), "against", (235, 235, 235), small)
    return canvas
