"""The folder of a comparison survives crashes and guards its settings."""

import json
from pathlib import Path

import pytest

from keras_vitcnn.files import write_atomically
from keras_vitcnn.training.records import RunFolder

pytestmark = pytest.mark.backend_independent

SETTINGS = {"epochs": 3, "models": ["A"], "seeds": [0], "about": {}}


def test_nothing_is_written_before_it_is_opened(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.check(SETTINGS)
    assert not folder.path.exists()


def test_other_settings_are_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.open(SETTINGS)
    with pytest.raises(ValueError, match=r"other settings \(epochs: 3 -> 5\)"):
        folder.check(SETTINGS | {"epochs": 5})


def test_models_and_seeds_may_be_added(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert folder.open(SETTINGS) == []
    more = SETTINGS | {"models": ["B"], "seeds": [0, 1]}
    folder.check(more)
    assert folder.open(more) == ["models B", "seeds 1"]
    assert folder.settings()["models"] == ["A", "B"]
    assert folder.open(SETTINGS) == []
    assert folder.settings()["seeds"] == [0, 1]


def test_a_line_cut_off_by_a_crash_costs_that_line_only(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.open(SETTINGS)
    first = {"model": "A", "seed": 0, "top1": 0.5}
    folder.append(folder.results, first)
    with folder.results.open("a") as stream:
        stream.write('{"model": "A", "seed": 1, "to')
    assert folder.records(folder.results) == [first]
    folder.open(SETTINGS)
    second = {"model": "A", "seed": 1, "top1": 0.6}
    folder.append(folder.results, second)
    lines = folder.results.read_text().splitlines()
    assert [json.loads(line) for line in lines] == [first, second]


def test_damaged_settings_are_not_overwritten(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        folder.check(SETTINGS)


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "report.md"
    write_atomically(file, "old")

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
