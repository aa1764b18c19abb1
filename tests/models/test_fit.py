"""`fit` on this backend: drop path, rematerialisation, every mixer, reproducible."""

from typing import Any

import keras
import numpy as np
import pytest

import keras_vitcnn as kv
from tests import helpers

CLASSES = 4


def data(count: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Images that a network can tell apart: each class is brighter in another quarter."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % CLASSES
    images = rng.uniform(0, 60, (count, 16, 16, 3)).astype("float32")
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] += 150
    return images, labels


def build(config: Any, **options: Any) -> keras.Model:
    return kv.build(
        config, input_shape=(16, 16, 3), classes=CLASSES, classifier_activation=None, **options
    )


def trained(config: Any, epochs: int = 3, **options: Any) -> tuple[keras.Model, list[float]]:
    keras.utils.set_random_seed(1)
    model = build(config, **options)
    model.compile(
        keras.optimizers.AdamW(5e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    history = model.fit(*data(), batch_size=16, epochs=epochs, shuffle=False, verbose=0)
    return model, history.history["loss"]


@pytest.mark.parametrize("name", helpers.TINY)
def test_training_with_drop_path_moves_every_weight(name: str) -> None:
    keras.utils.set_random_seed(1)
    start = build(helpers.TINY[name], drop_path_rate=0.2).get_weights()
    model, losses = trained(helpers.TINY[name], drop_path_rate=0.2)
    assert np.isfinite(losses).all()
    # Zero-started gains hold back what lies behind them for one step, so there are three.
    still = [
        variable.path
        for variable, before in zip(model.weights, start, strict=True)
        if variable.trainable and np.array_equal(before, variable)
    ]
    assert not still


def test_training_lowers_the_loss() -> None:
    _, losses = trained(helpers.TINY["resnet"], epochs=20, drop_path_rate=0.1)
    assert np.mean(losses[-3:]) < 0.5 * losses[0]


@pytest.mark.parametrize("name", ["convnext", "resnet", "convit", "efficientnet", "swin"])
def test_rematerialised_training_is_the_same_training(name: str) -> None:
    plain, losses = trained(helpers.TINY[name])
    remat, remat_losses = trained(helpers.TINY[name], remat=True)
    assert remat_losses == pytest.approx(losses, rel=1e-4)
    for a, b in zip(plain.get_weights(), remat.get_weights(), strict=True):
        # AdamW turns rounding of a tiny gradient into a step; a few steps bound it.
        np.testing.assert_allclose(a, b, atol=1e-3)


def test_rematerialised_training_draws_new_numbers_at_every_step() -> None:
    model, losses = trained(helpers.TINY["convnext"], remat=True, drop_path_rate=0.5)
    drops = [
        layer.seed_generator.state
        for block in model.layers
        if isinstance(block, kv.layers.Remat)
        for layer in block.layer.layers
        if isinstance(layer, kv.layers.StochasticDepth) and layer.rate > 0
    ]
    assert np.isfinite(losses).all()
    assert [int(np.asarray(state)[1]) for state in drops] == [3] * len(drops)


def test_the_same_seed_gives_the_same_model() -> None:
    runs = [trained(helpers.TINY["convnext"], drop_path_rate=0.5)[0] for _ in range(2)]
    for a, b in zip(*(run.get_weights() for run in runs), strict=True):
        np.testing.assert_array_equal(a, b)
