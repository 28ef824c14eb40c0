"""Many files of distinct bytes from few images, since the same bytes twice would be screened once."""

from collections.abc import Callable
from itertools import cycle
from pathlib import Path

from shared.errors import WrongSettings

SUFFIXES = {".jpeg", ".jpg", ".png"}


def make(images: Path, target: Path, count: int, advance: Callable[[], None]) -> int:
    """Write `count` files into a folder; returns their bytes. Raises WrongSettings if there are no images."""
    sources = sorted(path for path in images.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not sources:
        raise WrongSettings(f"There are no JPEG or PNG files in {images}.")
    target.mkdir(parents=True)
    total = 0
    for number, source in zip(range(count), cycle(sources), strict=False):
        data = _numbered(source.read_bytes(), number)
        (target / f"{number:06d}{source.suffix.lower()}").write_bytes(data)
        total += len(data)
        advance()
    return total


def _numbered(data: bytes, number: int) -> bytes:
    """The same picture in other bytes: a JPEG gets a comment segment, a PNG something after its end."""
    text = f"{number:012d}".encode()
    if data[:2] == b"\xff\xd8":
        return data[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + data[2:]
    return data + text
