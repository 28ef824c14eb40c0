"""Pictures with the layout of a chest X-ray, drawn without a network, a patient or a file at hand."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 96


def radiograph(seed: int, is_ill: bool = False) -> Image.Image:
    """Lungs, spine, heart and ribs, a little different for each seed; if ill, one lung is partly white."""
    random = np.random.default_rng(seed)
    film = Image.new("L", (SIDE, SIDE), 20)
    pen = ImageDraw.Draw(film)
    x, y = random.normal(0, 1.5, 2)
    pen.rounded_rectangle((6 + x, 4 + y, 90 + x, 100), 16, fill=int(random.normal(150, 6)))
    for left in (16, 54):
        pen.ellipse((left + x, 16 + y, left + 26 + x, 78 + y), fill=int(random.normal(60, 6)))
        for rib in range(5):
            top = 20 + 11 * rib + y
            pen.arc((left + x - 4, top, left + 30 + x, top + 20), 190, 350, fill=95, width=2)
    pen.rectangle((44 + x, 4 + y, 52 + x, 96), fill=int(random.normal(190, 6)))
    pen.ellipse((42 + x, 46 + y, 68 + x, 80 + y), fill=int(random.normal(175, 6)))
    if is_ill:
        pen.ellipse((18 + x, 50 + y, 38 + x, 72 + y), fill=int(random.normal(140, 15)))
    values = np.asarray(film.filter(ImageFilter.GaussianBlur(1.2)), np.float64) + random.normal(0, 4, (SIDE, SIDE))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def labelled(folder: Path, patients: int) -> Path:
    """A labelled folder with one X-ray of each of so many patients of each class."""
    for name, stem in (("NORMAL", "IM-"), ("PNEUMONIA", "person")):
        (folder / name).mkdir(parents=True)
        for number in range(patients):
            is_ill = name == "PNEUMONIA"
            radiograph(2 * number + is_ill, is_ill).save(folder / name / f"{stem}{number:04d}_1.png")
    return folder
