"""A part of a documentation page that is made from the code; a test holds the page to it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class GeneratedPart:
    """Between the lines `<!-- NAME: begin -->` and `<!-- NAME: end -->` of `page`, a path in the checkout."""

    page: Path
    name: str
    make: Callable[[], str]

    def embed(self, text: str) -> str:
        """The page's text with this part made anew. Raises ValueError without the lines that mark it."""
        begin, end = f"<!-- {self.name}: begin -->", f"<!-- {self.name}: end -->"
        before, is_begun, rest = text.partition(begin)
        _, is_ended, after = rest.partition(end)
        if not is_begun or not is_ended:
            raise ValueError(f"{self.page} has no lines {begin} and {end}")
        return f"{before}{begin}\n{self.make()}\n{end}{after}"

    def write(self) -> None:
        self.page.write_text(self.embed(self.page.read_text(encoding="utf-8")), encoding="utf-8")
