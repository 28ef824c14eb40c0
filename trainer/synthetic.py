"""Pictures that are drawn, the same ones for the same randomness: pages, radiographs of other parts, blanks and noise.

They are crude: what they show is of the kind, and no more than that.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Random = np.random.Generator
Drawer = Callable[[Random], Image.Image]


def _paper(random: Random) -> tuple[Image.Image, ImageDraw.ImageDraw, int]:
    page = Image.new("L", (400, 520), int(random.integers(220, 256)))
    return page, ImageDraw.Draw(page), int(random.integers(0, 70))


def _text(random: Random) -> Image.Image:
    page, pen, ink = _paper(random)
    size, columns = int(random.integers(9, 22)), int(random.integers(1, 3))
    font, width = ImageFont.load_default(size), 340 // columns
    for column in range(columns):
        for y in range(int(random.integers(25, 120)), int(random.integers(250, 490)), round(1.3 * size)):
            letters = random.choice(list("abcdefghijklmnopqrstuvwxyz    "), round(1.8 * width / size))
            pen.text((30 + column * (width + 20), y), "".join(letters), ink, font)
    return page


def _form(random: Random) -> Image.Image:
    page, pen, ink = _paper(random)
    pen.rectangle((30, 40, 370, 480), outline=ink)
    for y in range(40, 480, int(random.integers(24, 60))):
        pen.line((30, y, 370, y), ink, int(random.integers(1, 3)))
    for x in range(30, 370, int(random.integers(60, 160))):
        pen.line((x, 40, x, 480), ink)
    return page


def _chart(random: Random) -> Image.Image:
    page, pen, ink = _paper(random)
    pen.line((50, 40, 50, 460, 370, 460), ink, 2)
    if random.random() < 0.5:
        for x in range(60, 60 + 28 * int(random.integers(3, 12)), 28):
            pen.rectangle((x, 460 - int(random.integers(20, 380)), x + 20, 460), fill=int(random.integers(60, 200)))
    else:
        curve = 260 + np.cumsum(random.normal(0, 25, 20))
        pen.line([(55 + 16 * number, float(y)) for number, y in enumerate(curve)], ink, 3)
    return page


def _sketch(random: Random) -> Image.Image:
    page, pen, ink = _paper(random)
    for _ in range(int(random.integers(4, 20))):
        (left, right), (top, bottom) = (np.sort(random.integers(20, 380, 2)).tolist() for _ in range(2))
        box = (left, top, right + 1, bottom + 1)
        outline = pen.ellipse if random.random() < 0.5 else pen.rectangle
        outline(box, outline=ink, width=3)
        pen.line((left, top, right, bottom), ink, 3)
    return page


def _bone(pen: ImageDraw.ImageDraw, ends: tuple[float, float, float, float], width: float, grey: int) -> None:
    pen.line(ends, grey, round(width))
    for x, y in (ends[:2], ends[2:]):
        pen.ellipse((x - 0.8 * width, y - 0.7 * width, x + 0.8 * width, y + 0.7 * width), fill=grey + 10)


def _body(draw: Callable[[ImageDraw.ImageDraw, Random], None]) -> Drawer:
    """Draws a radiograph: blurred, with noise, not quite straight."""

    def picture(random: Random) -> Image.Image:
        film = Image.new("L", (300, 400), int(random.integers(0, 30)))
        draw(ImageDraw.Draw(film), random)
        blurred = np.asarray(film.filter(ImageFilter.GaussianBlur(2.5)), np.float64)
        noisy = Image.fromarray((blurred + random.normal(0, 4, blurred.shape)).clip(0, 255).astype(np.uint8))
        return noisy.rotate(float(random.normal(0, 6)))

    return picture


def _hand(pen: ImageDraw.ImageDraw, random: Random) -> None:
    pen.ellipse((90, 190, 220, 370), fill=80)
    for finger in range(5):
        angle = 0.25 * finger - 0.5 + float(random.normal(0, 0.03))
        x, y, length = 110 + 24 * finger, 230, 150 if finger else 110
        across, along = length * np.sin(angle), -length * np.cos(angle)
        pen.line((x, y, x + across, y + along), 75, 26)
        for start in (0.1, 0.4, 0.7):
            end = start + 0.25
            _bone(pen, (x + start * across, y + start * along, x + end * across, y + end * along), 9, 190)
        _bone(pen, (132 + 9 * finger, 330, x, y - 5), 10, 185)


def _limb(pen: ImageDraw.ImageDraw, random: Random) -> None:
    x, width = float(150 + random.normal(0, 20)), float(random.integers(40, 80))
    pen.polygon([(x - width, 0), (x + width, 0), (x + 0.7 * width, 400), (x - 0.7 * width, 400)], fill=80)
    _bone(pen, (x - 15, -10, x - 15, 380), float(random.integers(12, 26)), 200)
    if random.random() < 0.7:
        _bone(pen, (x + 20, -10, x + 18, 370), float(random.integers(8, 16)), 190)


def _skull(pen: ImageDraw.ImageDraw, random: Random) -> None:
    left, top = random.normal(50, 6), random.normal(40, 6)
    pen.ellipse((left, top, left + 200, top + 260), fill=200)
    pen.ellipse((left + 12, top + 12, left + 188, top + 245), fill=130)
    for eye in (40, 115):
        pen.ellipse((left + eye, top + 140, left + eye + 45, top + 180), fill=70)
    pen.polygon([(left + 100, top + 170), (left + 85, top + 210), (left + 115, top + 210)], fill=60)
    pen.rectangle((left + 55, top + 250, left + 145, top + 330), fill=170)


def _knee(pen: ImageDraw.ImageDraw, random: Random) -> None:
    shift = float(random.normal(0, 8))
    pen.rectangle((30, 0, 270, 400), fill=80)
    pen.polygon([(105 + shift, 0), (185 + shift, 0), (215, 180), (85, 180)], fill=190)
    pen.polygon([(80, 230), (220, 230), (190, 400), (110, 400)], fill=185)
    pen.ellipse((95 + shift, 120, 195 + shift, 205), fill=210)


def _points(values: NDArray[Any]) -> Image.Image:
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _flat(random: Random) -> Image.Image:
    values = np.full((160, 160), random.uniform(0, 255)) + random.normal(0, random.uniform(0, 1), (160, 160))
    values[random.integers(160), random.integers(160)] += 20
    return _points(values)


def _ramp(random: Random) -> Image.Image:
    angle, (y, x) = random.uniform(0, 2 * np.pi), np.mgrid[0:160, 0:160]
    values = 1.6 * (np.cos(angle) * x + np.sin(angle) * y)
    return _points(values - values.min() + random.normal(0, random.uniform(0, 8), values.shape))


def _clouds(random: Random) -> Image.Image:
    side = int(random.integers(3, 24))
    return _points(random.integers(0, 256, (side, side))).resize((160, 160), Image.Resampling.BICUBIC)


PAGES: tuple[Drawer, ...] = (_text, _form, _chart, _sketch)
PARTS: tuple[Drawer, ...] = tuple(map(_body, (_hand, _limb, _skull, _knee)))
BLANKS: tuple[Drawer, ...] = (
    _flat,
    _ramp,
    _clouds,
    lambda random: _points(random.normal(128, random.uniform(5, 60), (160, 160))),
    lambda random: _points(random.integers(0, 256, (160, 160))),
)
