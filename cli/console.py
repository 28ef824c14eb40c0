"""Prints tables and progress: fitted to a terminal, of any width into a pipe."""

import unicodedata
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

Plain = partial(Console, highlight=False, markup=False, emoji=False)
"""Prints what it is given as it is: in a name `[br]` is no markup, and `:x:` no picture."""
out = Plain(soft_wrap=True)
err = Plain(stderr=True, soft_wrap=True)
JOINERS = "\u200c\u200d"
"""They belong to the spelling of some languages, though they cannot be seen."""


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> None:
    """Print a table; one that goes into a pipe is as wide as its content."""
    grid = Table(title=title, title_justify="left")
    for column in columns:
        grid.add_column(column, overflow="fold", justify="left")
    for row in rows:
        grid.add_row(*(Text(shown(value)) for value in row))
    if out.is_terminal:
        out.print(grid)
    else:
        Plain(width=10_000).print(grid, soft_wrap=False, crop=False)


def shown(value: Any) -> str:
    """A value as a person reads it; control characters in a file's name are escaped."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    return "".join(ascii(c)[1:-1] if _is_control(c) else c for c in str(value))


def _is_control(character: str) -> bool:
    kind = unicodedata.category(character)
    return (kind[0] == "C" or kind in ("Zl", "Zp")) and character not in JOINERS


def progress() -> Progress:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=err)
