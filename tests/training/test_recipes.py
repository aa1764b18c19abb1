"""Recipes, the schedule, and which weights decay."""

import keras
import numpy as np
import pytest

from keras_vitcnn import build
from keras_vitcnn.training import RECIPES, Recipe, optimizer, recipe
from keras_vitcnn.training.recipes import WarmupCosine, is_decayed
from tests.helpers import TINY


def test_recipes_are_found_and_changed() -> None:
    assert recipe("small-data") == RECIPES["small-data"]
    changed = recipe("sgd", learning_rate=0.5)
    assert (changed.learning_rate, changed.optimizer) == (0.5, "sgd")
    with pytest.raises(ValueError, match=r"nearest is 'small-data'.*recipe='small-dat'"):
        recipe("small-dat")
    with pytest.raises(ValueError, match=r"\['adamw', 'sgd'\].*optimizer='adam'"):
        Recipe(name="x", optimizer="adam")
    with pytest.raises(ValueError, match=r"\[0, 1\).*warmup=1"):
        Recipe(name="x", warmup=1)


def test_the_linear_rule() -> None:
    assert recipe("sgd", reference_batch_size=256).learning_rate_at(64) == pytest.approx(0.025)


def test_the_schedule_rises_and_falls() -> None:
    schedule = WarmupCosine(peak=2.0, warmup=0.1, final_rate=0.01, total_steps=100)
    rates = np.array([float(schedule(step)) for step in range(100)])
    np.testing.assert_allclose(rates[:10], 0.2 * np.arange(1, 11), rtol=1e-5)
    assert (np.diff(rates[9:]) < 0).all()
    middle = 0.01 * 2 + 0.99 * 1  # half way down the cosine, after (0.1 + 1) / 2 of the steps
    assert rates[54] == pytest.approx(middle, rel=1e-4)
    assert rates[99] == pytest.approx(0.02, rel=1e-4)
    assert float(schedule(200)) == pytest.approx(0.02, rel=1e-4)


def test_the_schedule_is_saved_with_its_length() -> None:
    total = keras.Variable(50.0)
    config = WarmupCosine(1.0, 0.0, 0.0, total_steps=total).get_config()
    assert config["total_steps"] == 50
    assert float(WarmupCosine.from_config(config)(49)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", ["vit", "convit", "convnext_v2", "gresnet"])
def test_only_filters_and_matrices_decay(name: str) -> None:
    model = build(TINY[name], input_shape=(16, 16, 3), classes=3)
    decayed = {weight.path for weight in model.trainable_variables if is_decayed(weight)}
    others = {weight.path for weight in model.trainable_variables} - decayed
    assert decayed
    assert all("kernel" in path.rsplit("/", 1)[1] for path in decayed), decayed
    kinds = {path.rsplit("/", 1)[1] for path in others}
    assert "bias" in kinds
    if name in ("vit", "convit"):
        assert {"embedding", "token"} <= kinds
    assert ("gate" in kinds) == (name == "convit")


@pytest.mark.parametrize("name", ["small-data", "sgd"])
@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_the_length_can_be_set_after_compiling(name: str, dtype: str) -> None:
    """One step at the end of the schedule moves nothing; at its peak it does."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    built, total_steps = optimizer(
        recipe(name, warmup=0.0, final_rate=0.0), model, batch_size=8, dtype=dtype
    )
    model.compile(built, "mse")
    x, y = np.ones((8, 4), "float32"), np.ones((8, 2), "float32")
    model.train_on_batch(x, y)
    moved = []
    for total in (2, 1000):  # the second step is the last of 2, or an early one of 1000
        total_steps.assign(total)
        before = np.array(keras.ops.convert_to_numpy(model.weights[0]))
        model.train_on_batch(x, y)
        moved.append(np.abs(keras.ops.convert_to_numpy(model.weights[0]) - before).max())
    assert moved[0] == pytest.approx(0, abs=1e-7)
    assert moved[1] > 1e-5


def test_weight_decay_pulls_at_kernels_only() -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.layers[0].bias.assign([1.0, 1.0])
    built, total_steps = optimizer(recipe("sgd", warmup=0.0, weight_decay=0.5), model, 128)
    total_steps.assign(1000)
    kernel = np.array(keras.ops.convert_to_numpy(model.layers[0].kernel))
    zeros = [keras.ops.zeros(weight.shape) for weight in model.trainable_variables]
    built.apply(zeros, model.trainable_variables)
    after = keras.ops.convert_to_numpy(model.layers[0].kernel)
    np.testing.assert_allclose(after, kernel * (1 - 0.5 * 0.1), rtol=1e-4)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model.layers[0].bias), [1, 1])
