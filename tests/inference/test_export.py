"""Exported models agree with ours in their own runtimes, or nothing is written."""

import importlib.util

import keras
import numpy as np
import pytest

import keras_vitcnn as kv
from keras_vitcnn.inference import FORMATS, export, run_exported
from tests import helpers

BACKEND = keras.backend.backend()
WRITABLE = [name for name, one in FORMATS.items() if BACKEND in one.backends]
pytestmark = pytest.mark.filterwarnings("ignore")  # the converters' own


# The matrix of families is docs/export.md's; here what is hardest to export.
HARD = [(name, "convit", 16) for name in WRITABLE] + [
    (name, "swin", 32) for name in ("litert", "openvino") if name in WRITABLE
]


def tiny(name, size=16):
    model = kv.build(
        helpers.TINY[name],
        input_shape=(size, size, 3),
        classes=3,
        classifier_activation=None,
        name=name,
    )
    helpers.randomize(model)
    return model


def needed(name):
    for package in FORMATS[name].needs:
        pytest.importorskip(package)


@pytest.mark.parametrize(("format_name", "name", "size"), HARD)
def test_an_exported_model_agrees_for_any_batch(format_name, name, size, tmp_path):
    needed(format_name)
    model, images = tiny(name, size), helpers.images(3, size)
    path = tmp_path / f"model{FORMATS[format_name].suffix}"
    difference = export(model, path, format_name, images)
    assert 0 <= difference <= 1e-4
    left = {file.name for file in tmp_path.iterdir()}
    assert left == {path.name} | ({"model.bin"} if format_name == "openvino" else set())
    five = helpers.images(5, size).astype("float32")
    found = run_exported(path, format_name, five)
    np.testing.assert_allclose(found, helpers.outputs(model, five), rtol=1e-3, atol=1e-3)


def test_nothing_is_written_that_does_not_agree(tmp_path, monkeypatch):
    from dataclasses import replace

    name = "saved_model" if BACKEND == "jax" else "openvino"  # the quickest
    needed(name)
    path = tmp_path / f"model{FORMATS[name].suffix}"
    run = FORMATS[name].run
    wrong = replace(FORMATS[name], run=lambda path, images: run(path, images) + 1)
    monkeypatch.setitem(FORMATS, name, wrong)
    with pytest.raises(ValueError, match=r"differs by .* tolerance=0.0001; nothing was written"):
        export(tiny("vit"), path, name, helpers.images(2))
    assert list(tmp_path.iterdir()) == []


def test_wrong_arguments(tmp_path):
    model, images = tiny("vit"), helpers.images(2)
    with pytest.raises(ValueError, match=r"`format` must be one of .* Received: format='h5'"):
        export(model, tmp_path / "m.h5", "h5", images)
    first = WRITABLE[0]
    with pytest.raises(ValueError, match=r"`path` must end in .*Received: path="):
        export(model, tmp_path / "m.pb", first, images)
    with pytest.raises(ValueError, match=r"two or more.*Received: 1 images"):
        export(model, tmp_path / f"m{FORMATS[first].suffix}", first, images[:1])
    elsewhere = {"tensorflow": ("torch", ".pt2"), "jax": ("litert", ".tflite")}
    name, suffix = elsewhere.get(BACKEND, ("saved_model", ""))
    with pytest.raises(ValueError, match=f"{name} can be written from .* on {BACKEND}"):
        export(model, tmp_path / f"m{suffix}", name, images)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_runtime_is_named(tmp_path, monkeypatch):
    name, find = WRITABLE[0], importlib.util.find_spec
    hidden = FORMATS[name].needs[0]
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == hidden else find(n))
    with pytest.raises(ImportError, match=rf"{hidden} is not installed. Run: pip install"):
        export(tiny("vit"), tmp_path / f"m{FORMATS[name].suffix}", name, helpers.images(2))
