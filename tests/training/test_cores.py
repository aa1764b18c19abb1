"""Parts of a batch computed side by side give the step of the whole batch."""

import keras
import numpy as np
import pytest

from keras_vitcnn.system import cores
from keras_vitcnn.training.cores import share_prediction, share_training
from keras_vitcnn.training.distribution import Devices, devices

BACKEND = keras.backend.backend()
only_tensorflow = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="only TensorFlow's cores share batches"
)
MOMENTUM = 0.9
RATE = 0.1


def small(norm: bool = False, rate: float = 0.0) -> keras.Model:
    """Images of 4 x 4 -> 3 logits, the same weights at every call."""
    keras.utils.set_random_seed(3)
    image = keras.Input((4, 4, 2))
    x = keras.layers.Conv2D(5, 3, activation="gelu")(image)
    if norm:
        x = keras.layers.BatchNormalization(momentum=MOMENTUM, name="norm")(x)
    if rate:
        x = keras.layers.Dropout(rate)(x)
    x = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(RATE, momentum=0.9), loss)
    return model


def batch(size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    images = rng.normal(size=(size, 4, 4, 2)).astype("float32")
    return images, rng.dirichlet(np.ones(3), size).astype("float32")


@only_tensorflow
@pytest.mark.parametrize("count", [2, 3])
def test_a_shared_step_is_the_step_of_the_whole_batch(count: int) -> None:
    x, y = batch(12)
    whole, shared = small(), small()
    share_training(shared, count)
    for _ in range(3):
        expected, found = (model.train_on_batch(x, y) for model in (whole, shared))
        assert found == pytest.approx(expected, rel=1e-5)
    for mine, theirs in zip(shared.weights, whole.weights, strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), atol=1e-6, err_msg=mine.path)


@only_tensorflow
def test_weighted_images_count_as_in_the_whole_batch() -> None:
    x, y = batch(8)
    weights = np.linspace(0, 2, 8, dtype="float32")
    whole, shared = small(), small()
    share_training(shared, 2)
    for model in (whole, shared):
        model.train_on_batch(x, y, sample_weight=weights)
    for mine, theirs in zip(shared.weights, whole.weights, strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), atol=1e-6, err_msg=mine.path)


@only_tensorflow
def test_moving_averages_take_the_mean_of_the_parts() -> None:
    x, y = batch(8)
    model = small(norm=True)
    below = keras.Model(model.input, model.get_layer("norm").input)
    statistics = [np.asarray(below(part)) for part in np.split(x, 2)]
    share_training(model, 2)
    model.train_on_batch(x, y)
    norm = model.get_layer("norm")
    means = [part.mean(axis=(0, 1, 2)) for part in statistics]
    spreads = [part.var(axis=(0, 1, 2)) for part in statistics]
    moved = (1 - MOMENTUM) * np.mean(means, axis=0)
    np.testing.assert_allclose(norm.moving_mean.numpy(), moved, atol=1e-6)
    moved = MOMENTUM + (1 - MOMENTUM) * np.mean(spreads, axis=0)
    np.testing.assert_allclose(norm.moving_variance.numpy(), moved, atol=1e-6)


@only_tensorflow
def test_parts_draw_different_random_numbers() -> None:
    model = small(rate=0.5)
    share_training(model, 2)
    seeds = model.non_trainable_variables[0]
    before = seeds.numpy().copy()
    model.train_on_batch(*batch(8))
    once = small(rate=0.5)
    once.train_on_batch(*batch(8))
    step = once.non_trainable_variables[0].numpy() - before
    np.testing.assert_array_equal(seeds.numpy() - before, 2 * step)


@only_tensorflow
@pytest.mark.parametrize("size", [1, 4, 7])
def test_predictions_of_any_number_of_images(size: int) -> None:
    model = small(norm=True)
    x, _ = batch(size)
    expected = model.predict(x, verbose=0)
    shared = small(norm=True)
    share_prediction(shared, 3)
    np.testing.assert_allclose(shared.predict(x, verbose=0), expected, atol=1e-6)


@only_tensorflow
def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    model = small()
    share_training(model, 2)
    with pytest.raises(ValueError, match=r"multiple of 2 images. Received: a batch of 7"):
        model.train_on_batch(*batch(7))


@only_tensorflow
def test_cores_are_counted_and_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras_vitcnn.training.distribution.cores", lambda: 2)
    found = devices("cores")
    assert (found.kind, found.count) == ("cores", 2)
    found.check(8, clip_norm=1.0)  # clipped once, behind the sum
    with pytest.raises(ValueError, match=r"The 2 cores share.*Received: batch_size=7"):
        found.check(7, None)
    monkeypatch.setattr("keras_vitcnn.training.distribution.cores", lambda: 1)
    with pytest.raises(ValueError, match="There is one core"):
        devices("cores")


@pytest.mark.skipif(BACKEND == "tensorflow", reason="TensorFlow's cores share batches")
def test_other_backends_are_refused() -> None:
    assert cores() >= 1
    with pytest.raises(ValueError, match=r"on TensorFlow.*Received: distribute='cores'"):
        devices("cores")
    Devices().check(7, None)
