"""Run the notebooks of tutorials/ from top to bottom.

    python scripts/tutorials.py [NUMBER ...]            each in FAST mode, nothing written
    python scripts/tutorials.py --write [NUMBER ...]    in full, the outputs into tutorials/*.ipynb
    python scripts/tutorials.py --text [NUMBER ...]     their prose anew, nothing run

The scripts tutorials/*.py are what is written by hand (in jupytext's percent format); a notebook is
its script with the outputs of a full run.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tutorials"


def scripts(numbers: list[int] | None = None) -> list[Path]:
    """All of them, or those whose names begin with one of the numbers."""
    found = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
    return [path for path in found if not numbers or int(path.name[:2]) in numbers]


def notebook(script: Path) -> Any:
    """The notebook of a script, without outputs."""
    import jupytext

    read = jupytext.read(script)
    read.metadata["kernelspec"] = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    for number, cell in enumerate(read.cells):
        cell.id = f"cell-{number}"  # random ones would make every run a diff
    return read


def execute(script: Path, *, fast: bool, timeout: float | None = None) -> Any:
    """The notebook with its outputs, run in a fresh kernel in tutorials/.

    Raises:
        nbclient.exceptions.CellExecutionError: with the traceback of the cell that failed.
        nbclient.exceptions.CellTimeoutError: after `timeout` seconds in one cell.
        nbclient.exceptions.DeadKernelError: if its process was killed.
    """
    from nbclient import NotebookClient

    # tensorflow-datasets brings TensorFlow along, which greets on stderr unless told both.
    env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"}
    env.pop("FAST", None)
    env.pop("MPLBACKEND", None)  # pictures belong into the notebook
    if fast:
        env["FAST"] = "1"
    else:
        env.pop("KERAS_BACKEND", None)  # what is committed was run on the script's own backend
    python_path = (str(ROOT), env.get("PYTHONPATH"))
    env["PYTHONPATH"] = os.pathsep.join(filter(None, python_path))
    book = notebook(script)
    client = NotebookClient(
        book, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    )
    client.execute(env=env)
    for cell in book.cells:
        cell.metadata.pop("execution", None)  # the hours of the clock
    return book


def rewrite(script: Path) -> None:
    """Take the script's prose over into its notebook, whose outputs stay.

    Raises:
        ValueError: if its code is not that of the outputs.
    """
    import nbformat

    book, written = nbformat.read(script.with_suffix(".ipynb"), as_version=4), notebook(script)
    ran, now = ([c.source for c in b.cells if c.cell_type == "code"] for b in (book, written))
    if ran != now:
        raise ValueError(f"The code has changed; run it with --write. Received: {script.name}")
    outputs = iter([cell for cell in book.cells if cell.cell_type == "code"])
    for cell in written.cells:
        if cell.cell_type == "code":
            before = next(outputs)
            cell.outputs, cell.execution_count = before.outputs, before.execution_count
    nbformat.write(written, script.with_suffix(".ipynb"))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("numbers", nargs="*", type=int, metavar="NUMBER")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--write", action="store_true", help="run in full, write tutorials/*.ipynb")
    mode.add_argument("--text", action="store_true", help="take changed prose over, run nothing")
    options = parser.parse_args()
    if options.text:
        for script in scripts(options.numbers):
            rewrite(script)
        return 0
    import nbformat
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    failed = 0
    for script in scripts(options.numbers):
        start = time.monotonic()
        try:
            book = execute(script, fast=not options.write)
        except (CellExecutionError, DeadKernelError) as error:
            print(f"FAILED  {script.name}\n{error}", flush=True)
            failed += 1
            continue
        if options.write:
            nbformat.write(book, script.with_suffix(".ipynb"))
        print(f"ok      {script.name:<40}{time.monotonic() - start:6.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
