"""What a command that can go on later says when it is interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click


@contextmanager
def resumable(out: Path) -> Iterator[None]:
    """Turn Ctrl-C into exit code 130 and a line that says how to go on in the folder `out`."""
    try:
        yield
    except KeyboardInterrupt:
        started = out.is_dir() and any(out.iterdir())
        hint = f"run the same command again to go on in {out}" if started else "nothing was written"
        click.echo(f"interrupted; {hint}", err=True)
        raise click.Abort from None
