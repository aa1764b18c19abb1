"""Progress of a comparison: bars on a terminal, a line per epoch elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Reporter:
    """Where a comparison says what it does: stderr, so that stdout stays for results."""

    def __init__(self, show: bool = True) -> None:
        self.console = Console(stderr=True, quiet=not show, highlight=False)
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            transient=True,
            disable=not (show and self.console.is_terminal),
        )

    def __enter__(self) -> Reporter:
        self.bars.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.bars.stop()

    def say(self, text: str) -> None:
        """One line that stays."""
        self.console.print(text, markup=False, soft_wrap=True)

    def track(self, items: Sequence[Any], what: str) -> Iterator[Any]:
        """Iterate with a bar of its own."""
        task = self.bar(what, len(items))
        for item in items:
            yield item
            self.bars.advance(task)
        self.bars.remove_task(task)

    def bar(self, what: str, total: int) -> Any:
        return self.bars.add_task(what, total=total, note="")

    def epoch(self, text: str) -> None:
        """A line per epoch where there is no bar to look at."""
        if not self.console.is_terminal:
            self.say(text)
