"""Augmentation, and the batches that `fit` and `predict` get."""

import time
from typing import Any

import keras
import numpy as np
import pytest

from keras_vitcnn.data import Augmentation, EvalBatches, Split, TrainBatches, augment
from keras_vitcnn.data.batches import feed, waiting_time
from keras_vitcnn.data.images import LazyImages


def numbered(count: int = 10, size: int = 8) -> Split:
    """Image i is i everywhere, and of class i % 3."""
    images = np.arange(count, dtype="uint8")[:, None, None, None] * np.ones((1, size, size, 3))
    return Split(images.astype("uint8"), np.arange(count) % 3)


def train_batches(split: Split, **options: Any) -> TrainBatches:
    arguments = {"classes": 3, "batch_size": 4, "start": 0, "stop": 6} | options
    augmentation = Augmentation(translate=arguments.pop("translate", 0.0))
    return TrainBatches(split, augmentation=augmentation, **arguments)


@pytest.fixture
def photos() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), "uint8")


def test_nothing_asked_nothing_changed(photos: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(augment(photos, rng, flip=False, translate=0.0), photos)


def test_half_of_the_images_are_mirrored(photos: np.ndarray) -> None:
    done = augment(photos, np.random.default_rng(0), flip=True, translate=0.0)
    same = (done == photos).all(axis=(1, 2, 3))
    mirrored = (done == photos[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 16 < mirrored.sum() < 48


def test_shifts_are_crops_of_the_reflected_image(photos: np.ndarray) -> None:
    done = augment(photos, np.random.default_rng(0), flip=False, translate=0.125)
    padded = np.pad(photos, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="reflect")
    found = set()
    for before, after in zip(padded, done, strict=True):
        crops = np.lib.stride_tricks.sliding_window_view(before, (32, 32, 3))[:, :, 0]
        (place,) = np.argwhere((crops == after).all(axis=(2, 3, 4)))
        found.add(tuple(place))
    assert len(found) > 30  # of 81: every image has a draw of its own
    assert {row for row, _ in found} == {column for _, column in found} == set(range(9))


def test_an_epoch_shows_every_image_once_and_drops_the_rest() -> None:
    batches = train_batches(numbered())  # 10 images: 2 batches an epoch
    epochs = [
        np.concatenate([batches[2 * epoch + i][0][:, 0, 0, 0] for i in range(2)])
        for epoch in range(3)
    ]
    assert len(batches) == 6
    for order in epochs:
        assert len(set(order)) == 8
    assert not (epochs[0] == epochs[1]).all()


def test_labels_stay_with_their_images() -> None:
    images, one_hot = train_batches(numbered(), flip=True, translate=0.2)[3]
    np.testing.assert_array_equal(one_hot, np.eye(3)[images[:, 0, 0, 0] % 3])


def test_batches_depend_on_seed_and_step_alone(photos: np.ndarray) -> None:
    split = Split(photos, np.zeros(64, int))
    whole = train_batches(split, flip=True, translate=0.125, seed=5, stop=40)
    later = train_batches(split, flip=True, translate=0.125, seed=5, start=33, stop=40)
    np.testing.assert_array_equal(whole[33][0], later[0][0])
    other = train_batches(split, flip=True, translate=0.125, seed=6, stop=40)
    assert (whole[33][0] != other[33][0]).any()


def test_a_batch_larger_than_the_data_is_an_error() -> None:
    with pytest.raises(ValueError, match="at most the number of training images, 10"):
        train_batches(numbered(), batch_size=11)


def test_evaluation_fills_the_last_batch_up() -> None:
    batches = EvalBatches(numbered(), 4)
    assert len(batches) == 3
    seen = [batch[:, 0, 0, 0].tolist() for (batch,) in (batches[i] for i in range(3))]
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 9, 9]]


def test_images_follow_the_data_format() -> None:
    before = keras.config.image_data_format()
    try:
        keras.config.set_image_data_format("channels_first")
        assert train_batches(numbered())[0][0].shape == (4, 3, 8, 8)
        assert EvalBatches(numbered(), 4)[0][0].shape == (4, 3, 8, 8)
    finally:
        keras.config.set_image_data_format(before)


@pytest.mark.parametrize("lazy", [False, True])
def test_fit_and_predict_take_the_batches(lazy: bool) -> None:
    split = numbered(30)
    if lazy:  # decoded in threads
        split = Split(LazyImages(list(split.images), 8), split.labels)
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3, use_bias=False)]
    )
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    model.fit(
        feed(train_batches(split, flip=True, translate=0.1)),
        shuffle=False,
        verbose=0,
    )
    kernel = keras.ops.convert_to_numpy(model.weights[0])
    logits = model.predict(feed(EvalBatches(split, 4)), verbose=0)[:30]
    expected = np.arange(30)[:, None] * kernel.sum(axis=0)
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("lazy", [False, True])
def test_what_is_fed_are_the_batches_in_order(lazy: bool) -> None:
    split = numbered(30)
    if lazy:
        split = Split(LazyImages(list(split.images), 8), split.labels)
    batches = train_batches(split, flip=True, translate=0.1)
    fed = feed(batches)
    assert len(fed) == len(batches)
    again = (
        list(fed) if keras.backend.backend() == "tensorflow" else [fed[i] for i in range(len(fed))]
    )
    for index, (images, one_hot) in enumerate(again):
        np.testing.assert_array_equal(images, batches[index][0])
        np.testing.assert_array_equal(one_hot, batches[index][1])


def test_the_time_that_steps_wait_for_data(photos: np.ndarray) -> None:
    class Slow(TrainBatches):
        def __getitem__(self, index: int) -> Any:
            time.sleep(0.1 if self.slow else 0)
            return super().__getitem__(index)

    waited = []
    for slow in (False, True):
        split = Split(photos, np.arange(64) % 2)
        batches = Slow(split, classes=2, batch_size=8, start=0, stop=4)
        batches.slow, batches.workers = slow, 2
        fed, begun = feed(batches), []
        stream = (
            iter(fed)
            if keras.backend.backend() == "tensorflow"
            else iter(map(fed.__getitem__, range(4)))
        )
        for _ in range(4):
            begun.append(time.perf_counter())
            next(stream)
        waited.append(waiting_time(fed, begun))
    assert waited[0] < 0.1 < waited[1] < 0.6
