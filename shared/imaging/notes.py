"""What was assumed about a file while it was decoded."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Notes:
    """What was assumed about a file, for the row and for `pneumoscreen inspect`."""

    texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str | None:
        """All of them in one line, for the row; None if there are none."""
        return "; ".join(self.texts) or None

    def extend(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        if text not in self.texts:
            self.texts.append(text)
