"""Accuracy, confusions and their files, against counting by hand."""

from pathlib import Path

import keras
import numpy as np
import pytest

from keras_vitcnn.data import Split
from keras_vitcnn.training import Evaluation, evaluate

CLASSES = 7


def oracle(activation: str | None = None) -> keras.Model:
    """Its scores are the first pixels of the image's seven columns."""
    image = keras.Input((1, CLASSES, 3))
    scores = keras.ops.cast(image[:, 0, :, 0], "float32") / 16
    outputs = keras.layers.Activation(activation or "linear")(scores)
    return keras.Model(image, outputs)


@pytest.fixture
def split() -> Split:
    rng = np.random.default_rng(0)
    images = np.zeros((23, 1, CLASSES, 3), "uint8")
    images[:, 0, :, 0] = np.stack([rng.permutation(CLASSES) * 10 for _ in range(23)])
    return Split(images, rng.integers(0, CLASSES, 23))


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_every_image_counts_once(split: Split, activation: str | None) -> None:
    found = evaluate(oracle(activation), split, batch_size=5)
    scores = split.images[:, 0, :, 0].astype(float)
    ranks = (scores > scores[np.arange(23), split.labels][:, None]).sum(axis=1)
    assert found.top1 == pytest.approx((ranks == 0).mean())
    assert found.top5 == pytest.approx((ranks < 5).mean())
    assert 0 < found.top1 < found.top5 < 1
    logits = scores / 16
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -log_probabilities[np.arange(23), split.labels].mean()
    assert found.loss == pytest.approx(expected, rel=1e-5)
    assert found.confusion.sum() == 23
    np.testing.assert_array_equal(
        found.confusion.sum(axis=1), np.bincount(split.labels, minlength=CLASSES)
    )
    assert np.trace(found.confusion) == round(found.top1 * 23)


def test_a_label_without_a_class(split: Split) -> None:
    split.labels[4] = CLASSES
    with pytest.raises(ValueError, match=r"Image 4 has the label 7.*0 to 6.*classes=7"):
        evaluate(oracle(), split)


@pytest.mark.backend_independent
def test_the_table_and_the_picture(tmp_path: Path) -> None:
    confusion = np.array([[8, 2, 0], [0, 5, 0], [0, 0, 0]])
    found = Evaluation(loss=0.5, top1=13 / 15, top5=1.0, confusion=confusion)
    table, picture = found.write(tmp_path / "out", ["cat", "dog, small", "emu"])
    assert table.read_text().splitlines() == [
        "class,images,recall,precision,most confused with",
        'cat,10,0.8000,1.0000,"dog, small"',
        '"dog, small",5,1.0000,0.7143,',
        "emu,0,,,",
    ]
    from PIL import Image

    with Image.open(picture) as image:
        assert image.size[0] > 300
