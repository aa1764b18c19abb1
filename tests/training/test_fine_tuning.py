"""Freezing and LoRA: what learns, what stays, what is saved."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import keras_vitcnn as kv
from keras_vitcnn.training import enable_lora, fit, freeze, merge_lora
from keras_vitcnn.training.layer_groups import undecayed
from tests.helpers import TINY, images, outputs, randomize, to_numpy


def built(name: str, **options: Any) -> keras.Model:
    options = {"classifier_activation": None} | options
    model = kv.build(TINY[name], input_shape=(16, 16, 3), classes=3, **options)
    randomize(model)
    return model


def trained(model: keras.Model) -> set[str]:
    """The names of the layers that learn."""
    return {weight.path.split("/")[-2] for weight in model.trainable_variables}


def learn(model: keras.Model, steps: int) -> None:
    model.compile(keras.optimizers.SGD(0.1), "mse")
    for _ in range(steps):
        model.train_on_batch(images(), np.ones((2, 3), "float32"))


# What is left after the stem and one stage, or one block.
LEFT = {
    "resnet": ("stage1_", "head"),
    "vit": ("block1_", "norm", "head"),
    "mobilevit": ("stage1_", "head"),
    "hybrid": ("block1_", "norm", "head"),
}


@pytest.mark.parametrize("name", LEFT)
def test_first_stages_are_frozen(name: str) -> None:
    model = built(name)
    everything = trained(model)
    freeze(model, 1)
    assert trained(model) == {layer for layer in everything if layer.startswith(LEFT[name])}
    assert trained(model) < everything
    freeze(model, 0)  # takes back what was frozen beyond
    assert {"block0_norm1", "stage0_block0_pw2", "stage0_block0_conv"} & trained(model)
    freeze(model, "head")
    assert trained(model) == {"head"}


def test_what_is_frozen_stays(tmp_path: Path) -> None:
    """Statistics of batch norms too; and what was saved is frozen when it is loaded."""
    model = built("resnet")
    freeze(model, 1)
    before = {weight.path: to_numpy(weight).copy() for weight in model.weights}
    learn(model, 1)
    for weight in model.weights:
        stays = weight.path.startswith(("stem", "stage0"))
        assert np.array_equal(before[weight.path], to_numpy(weight)) == stays, weight.path
    model.save(tmp_path / "frozen.keras")
    assert trained(keras.saving.load_model(tmp_path / "frozen.keras")) == trained(model)


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [("vit", {}, 8), ("vit", {"remat": True}, 8), ("convit", {}, 9), ("convnext", {}, 4)],
)
def test_lora_trains_adapters_and_the_head(name: str, options: Any, count: int) -> None:
    model = built(name, **options)
    assert enable_lora(model, 2) == count
    learned = {weight.path.split("/")[-1] for weight in model.trainable_variables}
    assert learned == {"lora_kernel_a", "lora_kernel_b", "kernel", "bias"}
    sizes = [np.prod(weight.shape) for weight in model.trainable_variables]
    if name == "vit":  # width 12: 12 x 36, 12 x 12, 12 x 48 and 48 x 12, in two blocks
        assert sum(sizes) == 2 * 2 * (48 + 24 + 60 + 60) + 12 * 3 + 3
    spared = {weight.path.split("/")[-1] for weight in undecayed(model, "kernels")}
    assert spared == {"bias"}


def test_lora_starts_where_the_model_was_learns_is_saved_and_merged(tmp_path: Path) -> None:
    model = built("deit_distilled", include_preprocessing=False)
    start = outputs(model, images())
    enable_lora(model, 2, alpha=4)
    np.testing.assert_allclose(outputs(model, images()), start, rtol=0, atol=1e-5)
    frozen = {w.path: to_numpy(w).copy() for w in model.non_trainable_variables}
    learn(model, 2)  # the first step moves B alone, since B is zero
    for weight in model.non_trainable_variables:
        if weight.path in frozen and keras.backend.is_float_dtype(weight.dtype):
            np.testing.assert_array_equal(to_numpy(weight), frozen[weight.path])
    after = outputs(model, images())
    assert np.abs(after - start).max() > 1e-2

    model.save(tmp_path / "lora.keras")
    loaded = keras.saving.load_model(tmp_path / "lora.keras")
    np.testing.assert_allclose(outputs(loaded, images()), after, rtol=0, atol=1e-4)
    assert trained(loaded) == trained(model)
    adapter = loaded.get_layer("block0_fc1")
    assert to_numpy(adapter.lora_kernel_a).any()  # else its gradient, and B's, would be zero
    assert not adapter.bias.trainable

    merged = merge_lora(model)
    plain = built("deit_distilled", include_preprocessing=False)
    assert [w.path for w in merged.trainable_variables] == [
        w.path for w in plain.trainable_variables
    ]
    np.testing.assert_allclose(outputs(merged, images()), after, rtol=0, atol=1e-4)


def test_lora_takes_the_matrices_of_keras_own_attention() -> None:
    tokens = keras.Input((4, 6))
    attention = keras.layers.MultiHeadAttention(2, 3, name="attention")(tokens, tokens)
    model = keras.Model(tokens, keras.layers.Dense(2, name="head")(attention))
    assert enable_lora(model, 1) == 4


def test_wrong_arguments() -> None:
    model = built("bit")
    with pytest.raises(ValueError, match=r"LoRA would train nothing.*Received: model="):
        enable_lora(model, 2)
    assert model.get_layer("head").trainable  # and all was left as it was
    assert "stem_conv0" in trained(model)
    for until in (3, -1, "stage1"):
        with pytest.raises(ValueError, match=r"from 0 to 2.*or 'head'. Received: until="):
            freeze(model, until)
    with pytest.raises(ValueError, match=r"no classifier.*include_top=True"):
        freeze(built("bit", include_top=False), "head")
    adapted = built("vit")
    enable_lora(adapted, 2)
    with pytest.raises(ValueError, match="has adapters already"):
        enable_lora(adapted, 2)
    with pytest.raises(ValueError, match=r"`rank` must be positive.*Received: rank=0"):
        enable_lora(adapted, 0)


@pytest.mark.usefixtures("tiny_models")
def test_fit_fine_tunes_saved_weights(tmp_path: Path) -> None:
    """Trained, evaluated and saved without adapters, from weights of another number of classes."""
    quick = {"epochs": 1, "batch_size": 16, "image_size": 16, "limit_train": 32, "limit_val": 20}
    weights = tmp_path / "vit.weights.h5"
    source = kv.build(kv.models.registry.VARIANTS["TinyViT"].config, input_shape=(16, 16, 3))
    source.save_weights(weights)
    options = quick | {"weights": str(weights)}
    done = fit("TinyViT", "digits", tmp_path / "lora", lora_rank=2, **options)
    saved = keras.saving.load_model(tmp_path / "lora" / "model.keras", compile=False)
    assert not any("lora" in weight.path for weight in saved.weights)
    values = {weight.path: to_numpy(weight) for weight in source.weights}
    for weight in saved.weights:
        if not weight.path.startswith("head"):
            same = np.array_equal(values[weight.path], to_numpy(weight))
            assert same != weight.path.endswith(("qkv/kernel", "fc1/kernel", "fc2/kernel")) or (
                weight.path.endswith("proj/kernel")
            ), weight.path
    np.testing.assert_array_equal(outputs(saved, images()), outputs(done.model, images()))
    fit("TinyViT", "digits", tmp_path / "lora", lora_rank=2, **options)  # finished: nothing to do
    with pytest.raises(ValueError, match="lora_rank: 2 -> null"):
        fit("TinyViT", "digits", tmp_path / "lora", **options)
    with pytest.raises(ValueError, match="must come from `weights`"):
        fit("TinyViT", "digits", tmp_path / "x", freeze="head", **quick)
    with pytest.raises(ValueError, match="choose one"):
        fit("TinyViT", "digits", tmp_path / "x", freeze=1, lora_rank=2, **options)
