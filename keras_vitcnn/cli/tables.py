"""How a command prints a table."""

from __future__ import annotations

from collections.abc import Sequence

WORDS = ("Model", "Step", "What changes")  # columns of words
WIDTH = 140  # characters of a line where there is no terminal to ask


def show(header: Sequence[str], rows: Sequence[Sequence[str]], *below: str) -> None:
    """Print a table on stdout, names on the left and figures on the right, then paragraphs."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = WIDTH
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in header:
        words = heading in WORDS
        table.add_column(heading, justify="left" if words else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for text in below:
        console.print()
        console.print(text, soft_wrap=True)
