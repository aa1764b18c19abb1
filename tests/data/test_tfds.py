"""tensorflow-datasets: the real CIFAR-10 where it lies prepared, and names that lead nowhere."""

import importlib.util
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_vitcnn.data import ImageData, load

pytestmark = [
    pytest.mark.backend_independent,
    pytest.mark.filterwarnings("ignore"),  # of TensorFlow's and its data sets' imports
    pytest.mark.skipif(
        any(importlib.util.find_spec(m) is None for m in ("tensorflow", "tensorflow_datasets")),
        reason="TensorFlow or tensorflow-datasets isn't installed",
    ),
]


@pytest.fixture(scope="module")
def cifar(shared: Callable[[str], Path]) -> ImageData:
    return load("tfds:cifar10", data_dir=shared("tfds"), limit_train=200, limit_val=100)


def test_cifar10(cifar: ImageData) -> None:
    assert cifar.train.images.shape == (200, 32, 32, 3)
    assert cifar.class_names[:2] == ("airplane", "automobile")
    np.testing.assert_array_equal(np.bincount(cifar.val.labels), [10] * 10)
    assert cifar.flip
    # Published means of the set; 200 images come near them.
    means = cifar.train.images.mean(axis=(0, 1, 2)) / 255
    np.testing.assert_allclose(means, [0.491, 0.482, 0.447], atol=0.05)


def test_labels_belong_to_their_images(cifar: ImageData, shared: Callable[[str], Path]) -> None:
    import tensorflow_datasets as tfds

    examples = tfds.load("cifar10", split="test", data_dir=shared("tfds")).batch(1000)
    known = {
        image.tobytes(): label
        for batch in tfds.as_numpy(examples)
        for image, label in zip(batch["image"], batch["label"], strict=True)
    }
    for image, label in zip(cifar.val.images, cifar.val.labels, strict=True):
        assert known[image.tobytes()] == label


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"nearest names are:.*cifar10.*data='tfds:cifr10'"):
        load("tfds:cifr10")


def test_a_set_without_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="0 features of kind ClassLabel"):
        load("tfds:coco")


def test_no_network_is_said_at_once_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    start = time.monotonic()
    with pytest.raises(OSError, match=r"no network.*TFDS_DATA_DIR"):
        load("tfds:mnist", data_dir=tmp_path)
    assert time.monotonic() - start < 30
    assert not list(tmp_path.iterdir())
