"""`inspect`: why does this one look odd?"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from cli.console import err, out, shown, table
from queries.inspection import Inspection, inspect
from shared.base.errors import InvalidRequest
from shared.base.settings import Settings
from shared.imaging import Limits, Preprocessing
from shared.models import manifest, registry

if TYPE_CHECKING:
    from PIL import Image

COLUMNS = 64
"""Of a picture in a terminal; half as many lines, each of two rows of blocks."""


def inspect_file(settings: Settings, file: Path, png: Path | None, format: str) -> None:
    """Ends with exit code 1 if the file would be quarantined."""
    if format not in ("table", "json"):
        raise InvalidRequest(f"--format must be table or json, not {format!r}.")
    found = inspect(file, _preprocessing(), Limits.of(settings))
    if format == "json":
        out.file.write(json.dumps(_as_json(found), indent=2, ensure_ascii=False) + "\n")
    else:
        _print(file, found)
    if png is not None and found.seen is not None and found.full is not None:
        full = png.with_name(f"{png.stem}-full{png.suffix or '.png'}")
        found.seen.save(png, "PNG")
        found.full.save(full, "PNG")
        err.print(f"{png} is what the network is shown, {full} the decoded picture.", markup=False)
    if found.reason is not None:
        raise typer.Exit(1)


def _preprocessing() -> Preprocessing:
    """That of the version that comes with the program: no database is needed."""
    return manifest.read(registry.bundled()).preprocessing


def _print(file: Path, found: Inspection) -> None:
    out.print(f"{shown(file)}: {found.format}, {found.size:,} bytes", markup=False)
    if found.stated:
        table(("the header states", ""), found.stated)
    for number, note in enumerate(found.assumed, start=1):
        out.print(f"Assumed {number}: {note}.", markup=False)
    if found.reason is not None:
        out.print(f"It would be quarantined: {found.reason}.", style="red", markup=False)
        return
    assert found.full is not None
    assert found.seen is not None
    if not found.assumed:
        out.print("Nothing had to be assumed.")
    out.print(
        f"Decoded to {found.full.width} x {found.full.height}; the network is shown "
        f"{found.seen.width} x {found.seen.height}{': ' if out.is_terminal else ' (--png FILE writes it)'}"
    )
    if out.is_terminal:
        out.print(_blocks(found.seen))


def _blocks(picture: "Image.Image") -> Text:
    """A picture of half blocks: the upper half in the colour of the text, the lower in that of the background."""
    small = picture.resize((COLUMNS, COLUMNS * picture.height // picture.width // 2 * 2))
    text = Text()
    for y in range(0, small.height, 2):
        for x in range(small.width):
            upper, lower = (int(small.getpixel((x, y + half))) for half in (0, 1))  # type: ignore[arg-type]
            text.append("\u2580", f"rgb({upper},{upper},{upper}) on rgb({lower},{lower},{lower})")
        text.append("\n")
    return text


def _as_json(found: Inspection) -> dict[str, object]:
    return {
        "format": found.format,
        "bytes": found.size,
        "stated": dict(found.stated),
        "assumed": list(found.assumed),
        "reason": found.reason,
    }
