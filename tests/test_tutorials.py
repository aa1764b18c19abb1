"""The notebooks: run from top to bottom, and as their scripts say what they are."""

import os
import time
from pathlib import Path
from types import ModuleType

import pytest

from scripts import tutorials
from tests.helpers import ROOT

pytestmark = pytest.mark.backend_independent
SCRIPTS = tutorials.scripts()
# What a reader is promised, on a machine that runs other tests beside it.
SECONDS = 90
NEEDS = {  # what can't be distributed, by the name that a notebook asks for it
    "TFDS_DATA_DIR": "tfds",
    "CAMVID": "camvid",
    "DEIT_TINY_WEIGHTS": "weights/deit_tiny_patch16_224.safetensors",
}


@pytest.fixture
def jupyter() -> ModuleType:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    return pytest.importorskip("jupytext")


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_it_runs(script: Path, jupyter, shared, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, path in NEEDS.items():
        if name in script.read_text() and not os.environ.get(name):
            monkeypatch.setenv(name, str(shared(path)))
    monkeypatch.delenv("KERAS_BACKEND")  # each chooses its own
    start = time.monotonic()
    book = tutorials.execute(script, fast=True, timeout=SECONDS)
    outputs = [output for cell in book.cells for output in cell.get("outputs", ())]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    assert time.monotonic() - start < 2 * SECONDS  # another test shares the processor


def test_two_backends_run_them() -> None:
    chosen = {
        backend
        for backend in ("tensorflow", "jax", "torch")
        for script in SCRIPTS
        if f'setdefault("KERAS_BACKEND", "{backend}")' in script.read_text()
    }
    assert len(chosen) >= 2


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_committed_notebook_is_the_script_with_outputs(script: Path, jupyter) -> None:
    nbformat = pytest.importorskip("nbformat")
    book = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    written = tutorials.notebook(script)
    assert [cell.source for cell in book.cells] == [cell.source for cell in written.cells]
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert outputs
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert str(ROOT.parent) not in script.with_suffix(".ipynb").read_text()


def test_there_are_ten() -> None:
    assert [int(path.name[:2]) for path in SCRIPTS] == list(range(1, 11))
