"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `file` if the block ends without an error."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        yield unfinished
        os.replace(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def replacing_stream(file: Path) -> Iterator[BinaryIO]:
    """The same with a stream, whose content is on the disk before the file takes its place."""
    with replacing(file) as unfinished, unfinished.open("wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())


def write_atomically(file: Path, content: str | bytes) -> None:
    """Write a file so that a reader finds the old content or the new one, never a part."""
    with replacing_stream(file) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)
