"""`explain`: what moved the score of this image?"""

from pathlib import Path

from cli.console import err, out
from queries.explanation import explain
from shared.base.settings import Settings
from shared.database import opened
from shared.models import evidence


def explain_image(settings: Settings, which: str, file: Path) -> None:
    with opened(settings) as database:
        found = explain(settings, database, which)
    evidence.draw(found.picture, found.evidence, found.title).save(file, "PNG")
    out.print(found.title, markup=False)
    if found.rim_share is not None:
        out.print(f"Of what speaks for PNEUMONIA, {found.rim_share:.0%} lies in the rim (chance: 44 %).")
    err.print(f"{file} shows the picture and its map. {evidence.CAPTION}.", markup=False)
