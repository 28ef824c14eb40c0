"""Many files of distinct bytes from few images, since the same bytes twice would be screened once."""

from collections.abc import Callable
from io import BytesIO
from itertools import cycle
from pathlib import Path

from PIL import Image

from shared.base.errors import WrongSettings

SUFFIXES = {".jpeg", ".jpg", ".png"}
SPECIMENS = Path(__file__).parent.parent / "samples"
FULL_SIZE = 1600
"""The longer side in pixels to which specimens are enlarged: that of an X-ray as it was taken."""
SMALL = 224
QUALITY = 95
JPEG = b"\xff\xd8"


def sources(images: Path | None) -> list[bytes]:
    """The images in a folder as they are, else specimens in the size of an X-ray; raises WrongSettings if none is."""
    folder = images or SPECIMENS
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise WrongSettings(f"There are no JPEG or PNG files in {folder}: name a folder of X-rays with --images.")
    return [path.read_bytes() if images else scaled(path.read_bytes(), FULL_SIZE) for path in paths]


def scaled(data: bytes, side: int) -> bytes:
    """A JPEG of the picture whose longer side has so many pixels."""
    with Image.open(BytesIO(data)) as image:
        grey = image.convert("L")
    factor = side / max(grey.size)
    grey = grey.resize((round(grey.width * factor), round(grey.height * factor)), Image.Resampling.BICUBIC)
    target = BytesIO()
    grey.save(target, "JPEG", quality=QUALITY)
    return target.getvalue()


def make(images: list[bytes], target: Path, count: int, advance: Callable[[], None]) -> int:
    """Write `count` files into a folder; returns their bytes."""
    target.mkdir(parents=True)
    total = 0
    for number, source in zip(range(count), cycle(images), strict=False):
        data = numbered(source, number)
        (target / f"{number:06d}.{'jpeg' if data[:2] == JPEG else 'png'}").write_bytes(data)
        total += len(data)
        advance()
    return total


def numbered(data: bytes, number: int) -> bytes:
    """The same picture in other bytes: a JPEG gets a comment segment, a PNG something after its end."""
    text = f"{number:012d}".encode()
    if data[:2] == JPEG:
        return data[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + data[2:]
    return data + text
