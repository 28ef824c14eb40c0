"""Draws specimens beside their evidence maps, by the bundled version: the picture page of the docs."""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from shared.imaging import Limits, arrange, decode
from shared.models import evidence, registry

FOLDER = Path(__file__).parent
CHOSEN = ("pneumonia-01", "pneumonia-05", "pneumonia-09", "normal-01", "normal-08", "normal-13")
COLUMNS, SIDE = 2, 300


def draw() -> Image.Image:
    """A page of pairs, RGB."""
    loaded = registry.load_bundled("tensorflow")
    size = loaded.manifest.preprocessing
    pairs = []
    for name in CHOSEN:
        data = (FOLDER / f"{name}.jpeg").read_bytes()
        pixels = arrange(decode(data, (size.width, size.height), Limits()), size)
        logits, maps = loaded.network.answers(pixels[np.newaxis])
        assert maps is not None
        probability = loaded.manifest.calibration.probability(float(logits[0]))
        title = f"{name}: {loaded.manifest.label(probability)}, {probability:.3f}"
        pairs.append(evidence.draw(decode(data, (SIDE, SIDE), Limits()), maps[0], title, SIDE))
    width, height = max(pair.width for pair in pairs), max(pair.height for pair in pairs)
    page = Image.new("RGB", (COLUMNS * width, -(-len(pairs) // COLUMNS) * height), (16, 16, 16))
    for number, pair in enumerate(pairs):
        page.paste(pair, (number % COLUMNS * width, number // COLUMNS * height))
    return page


if __name__ == "__main__":
    parser = argparse.ArgumentParser("python -m samples.maps", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/maps.jpeg"), help="where to (default: %(default)s)")
    draw().save(parser.parse_args().out, "JPEG", quality=85, optimize=True)
