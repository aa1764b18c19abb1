"""The folder of a comparison: its settings, and one record for every finished training."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_vitcnn.files import write_atomically
from keras_vitcnn.training.render import Table
from keras_vitcnn.training.settings import SETTINGS, check_folder, read_settings

Record = dict[str, Any]
GROWING = ("models", "seeds")  # a later call may add some without making earlier results unequal
ABOUT = "about"  # for the report only


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a finished call of `compare`, `ablate` or `benchmark` returns."""

    out: Path
    records: list[Record]  # all in the folder, those of earlier calls too
    report: Path  # to be opened by a person
    answer: list[str]  # its first paragraph, by sentences
    table: Table  # its table

    @property
    def failures(self) -> list[Record]:
        return [record for record in self.records if "failure" in record]


class RunFolder:
    """`settings.json`, `results.jsonl` and `baseline.jsonl` in one folder.

    Nothing is written before `open`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.results = self.path / "results.jsonl"
        self.baseline = self.path / "baseline.jsonl"

    def check(self, settings: Record) -> None:
        """Raise `ValueError` if the folder holds a comparison under other settings."""
        check_folder(self.path, settings, "comparison", free=(*GROWING, ABOUT))

    def open(self, settings: Record) -> list[str]:
        """Create the folder or go on in it; returns what was added to an earlier call."""
        old = self.settings()
        added = [
            f"{name} {value}"
            for name in GROWING
            for value in settings[name]
            if old and value not in old[name]
        ]
        merged = settings | {
            name: list(dict.fromkeys([*old.get(name, []), *settings[name]])) for name in GROWING
        }
        self.path.mkdir(parents=True, exist_ok=True)
        if merged != old:
            write_atomically(self.path / SETTINGS, json.dumps(merged, indent=2) + "\n")
        for file in (self.results, self.baseline):
            drop_half_line(file)
        return added

    def settings(self) -> Record:
        """What an earlier call wrote, {} without one."""
        return read_settings(self.path)

    def records(self, file: Path) -> list[Record]:
        """All whole records, the last one of a (model, seed) counts."""
        return list({(line["model"], line["seed"]): line for line in read_lines(file)}.values())

    @staticmethod
    def append(file: Path, record: Record) -> None:
        """Add one line that survives whatever happens after this call."""
        append_line(file, record)


def read_lines(file: Path) -> list[Record]:
    """The whole records of a file of JSON lines, [] if there is none."""
    records = []
    for line in file.read_text("utf-8").splitlines() if file.exists() else ():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue  # cut off by a crash
    return records


def append_line(file: Path, record: Record) -> None:
    """Add one line of JSON that survives whatever happens after this call."""
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(record) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def drop_half_line(file: Path) -> None:
    """Cut what a crash left behind the last whole line, so that the next record gets its own."""
    if file.exists():
        content = file.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            write_atomically(file, whole)
