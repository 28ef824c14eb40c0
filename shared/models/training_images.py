"""Which images a version was fitted to, as a file in its folder: what it is measured on must not be among them.

The rule that tells patients apart, or the key that hashes them, may change between two trainings, and with it who is
held out. Contents do not change.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from shared.base.errors import BrokenModel
from shared.models import manifest
from shared.models.manifest import Manifest

FILE = "training_images.txt"
"""A line for each image: the first DIGITS hexadecimal digits of its content's SHA-256, sorted."""
DIGITS = 16


def write(digests: Iterable[str]) -> Callable[[Path, Manifest], None]:
    """A step of a publication, for contents given by digest, whole or as `read` gives them."""
    lines = "".join(f"{digest}\n" for digest in sorted({digest[:DIGITS] for digest in digests}))

    def step(folder: Path, _manifest: Manifest) -> None:
        (folder / FILE).write_text(lines, encoding="ascii")

    return step


def read(folder: Path, described: Manifest) -> frozenset[str] | None:
    """The beginnings of the digests; None for a version that does not tell. Raises BrokenModel if the file changed."""
    if FILE not in described.files:
        return None
    try:
        return frozenset(manifest.read_verified(folder, described, FILE).decode("ascii").split())
    except (OSError, ValueError) as error:
        raise BrokenModel(f"{folder / FILE} cannot be read: {error}") from error


def among(known: frozenset[str], digests: Iterable[str]) -> list[bool]:
    """Of each of these contents, whether it is among the images that `read` gave."""
    return [digest[:DIGITS] in known for digest in digests]


def count(known: frozenset[str] | None, digests: Iterable[str]) -> int | None:
    """How many of these contents a version was fitted to; None where it does not tell."""
    return None if known is None else sum(among(known, digests))
