"""Embeddings: timm's vectors, folders with broken files, runs that were cut off."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

import keras_vitcnn as kv
from keras_vitcnn.analysis import Embeddings, embed, embeddings
from tests import helpers


def tiny(name="convnext", **options):
    model = kv.build(helpers.TINY[name], input_shape=(16, 16, 3), classes=3, name=name, **options)
    helpers.randomize(model)
    return model


@pytest.fixture
def folder(tmp_path):
    """Seven photos in two classes, two of them broken, and a file of another kind."""
    rng = np.random.default_rng(0)
    root = tmp_path / "photos"
    for index in range(7):
        file = root / ("cats" if index % 2 else "dogs") / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), "uint8")).save(file)
    whole = (root / "cats" / "3.png").read_bytes()
    (root / "cats" / "3.png").write_bytes(whole[: len(whole) // 2])
    (root / "dogs" / "4.png").write_bytes(b"no image")
    (root / "notes.txt").write_text("hello")
    return root


NAMES = ("cats/1.png", "cats/5.png", "dogs/0.png", "dogs/2.png", "dogs/6.png")
SKIPPED = ("cats/3.png", "dogs/4.png")


@pytest.mark.parametrize("name", ["convnext", "resnet", "vit", "deit_distilled", "convit", "swin"])
def test_vectors_are_what_the_classifier_sees(name):
    model = tiny(name, classifier_activation=None)
    images = helpers.images(5, 16)
    found = embed(model, images, batch_size=2)
    assert found.names == ("0", "1", "2", "3", "4") and found.skipped == ()
    # The crop takes 87.5 % of a resized image, so that not even a fitting array passes unchanged.
    prepared = kv.data.preprocess_for(model)(list(images))
    expected = helpers.outputs(model, prepared)
    if name == "deit_distilled":
        names = ("head", "head_dist")
        layers = [keras.Model(model.input, model.get_layer(n).input) for n in names]
        expected = np.mean([helpers.outputs(one, prepared) for one in layers], axis=0)
        vectors = found.vectors
    else:
        kernel, bias = (np.asarray(w) for w in model.get_layer("head").get_weights())
        vectors = found.vectors @ kernel + bias
    np.testing.assert_allclose(vectors, expected, rtol=1e-3, atol=1e-4)


def test_a_folder_with_broken_files(folder, tmp_path):
    found = embed(tiny(), folder, tmp_path / "out", batch_size=4)
    assert found.names == NAMES and found.skipped == SKIPPED
    assert found.vectors.shape == (5, 16) and isinstance(found.vectors, np.memmap)
    alone = embed(tiny(), [folder / "dogs" / "2.png"])
    np.testing.assert_allclose(found.vectors[3], alone.vectors[0], rtol=1e-5, atol=1e-5)
    again = Embeddings.load(tmp_path / "out")
    assert (again.names, again.skipped) == (NAMES, SKIPPED)
    np.testing.assert_array_equal(again.vectors, found.vectors)


def test_an_interrupted_run_goes_on(folder, tmp_path, monkeypatch):
    """Cut off in the second part of four, it encodes only what is left, with the same result."""
    monkeypatch.setattr(embeddings, "PART", 2)
    whole = embed(tiny(), folder, tmp_path / "whole")
    calls = []
    run = embeddings._Work.run

    def interrupted(self, sources):
        calls.append(len(sources))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run(self, sources)

    monkeypatch.setattr(embeddings._Work, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embed(tiny(), folder, tmp_path / "out")
    with pytest.raises(ValueError, match=r"no finished embeddings.*Received: folder="):
        Embeddings.load(tmp_path / "out")
    assert [p.name for p in (tmp_path / "out" / "parts").iterdir()] == ["000000000000.npz"]
    found = embed(tiny(), folder, tmp_path / "out")
    assert calls == [2, 2, 2, 2, 1]
    assert (found.names, found.skipped) == (whole.names, whole.skipped)
    np.testing.assert_array_equal(found.vectors, whole.vectors)
    embed(tiny(), folder, tmp_path / "out")
    assert len(calls) == 5, "what is finished is not computed again"


def test_a_folder_of_another_model_or_other_images(folder, tmp_path):
    embed(tiny(), folder, tmp_path / "out")
    with pytest.raises(ValueError, match="another model or of other images"):
        embed(tiny("resnet"), folder, tmp_path / "out")
    (folder / "dogs" / "0.png").unlink()
    with pytest.raises(ValueError, match=r"another model or of other images.*Received: out="):
        embed(tiny(), folder, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "names.json").read_text())["names"] == list(NAMES)


def test_wrong_arguments(folder, tmp_path):
    with pytest.raises(ValueError, match="no images to embed"):
        embed(tiny(), tmp_path / "nowhere")
    with pytest.raises(ValueError, match="None of the 1 images"):
        embed(tiny(), [folder / "dogs" / "4.png"])
    with pytest.raises(ValueError, match="Received: batch_size=0"):
        embed(tiny(), folder, batch_size=0)
    headless = kv.build(helpers.TINY["resnet"], input_shape=(16, 16, 3), include_top=False)
    with pytest.raises(ValueError, match=r"must end in a vector.*Received: model="):
        embed(headless, folder)
