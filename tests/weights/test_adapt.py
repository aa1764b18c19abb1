"""Weights of another image size, patch size or number of channels, as timm adapts them."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest

import keras_vitcnn as kv
from keras_vitcnn.ops import resize_patch_kernel
from keras_vitcnn.weights.fit import with_channels
from tests import helpers

VIT = helpers.TINY["vit"]


def built(config: Any, size: int = 16, channels: int = 3, **options: Any) -> keras.Model:
    options = {
        "classes": 5,
        "include_preprocessing": False,
        "classifier_activation": None,
    } | options
    return kv.build(config, input_shape=(size, size, channels), **options)


def filled(config: Any, **options: Any) -> dict[str, np.ndarray]:
    model = built(config, **options)
    helpers.randomize(model, seed=4)
    return kv.to_timm(model)


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_input_channels_as_timm_does(timm: Any, channels: int) -> None:
    import torch
    from timm.models import adapt_input_conv

    kernel = np.random.default_rng(0).normal(size=(8, 3, 4, 4)).astype("float32")
    expected = adapt_input_conv(channels, torch.from_numpy(kernel)).numpy()
    ours = with_channels(kernel.transpose(2, 3, 1, 0), channels).transpose(3, 2, 0, 1)
    assert np.abs(ours - expected).max() <= 1e-6


@pytest.mark.parametrize("name", ["vit", "convnext", "resnet", "resnet_d", "hybrid", "convit"])
def test_one_channel_gives_what_equal_colours_gave(name: str) -> None:
    config = helpers.TINY[name]
    state = filled(config)
    colour, grey = built(config), built(config, channels=1)
    kv.load_weights(colour, state)
    report = kv.load_weights(grey, state)
    assert list(report.adapted.values()) == ["summed from 3 to 1 input channels"]
    image = np.random.default_rng(1).normal(size=(2, 16, 16, 1)).astype("float32")
    theirs = helpers.outputs(colour, np.repeat(image, 3, axis=-1))
    # A standardised kernel is brought to its own variance, so that a sum is not the same.
    if name != "hybrid":
        assert np.abs(helpers.outputs(grey, image) - theirs).max() <= 1e-4


def test_more_channels_of_one_value_give_the_same(timm: Any) -> None:
    state = filled(VIT)
    three, six = built(VIT), built(VIT, channels=6)
    kv.load_weights(three, state)
    report = kv.load_weights(six, state)
    change = "repeated and rescaled from 3 to 6 input channels"
    assert report.adapted == {"patch_embed.proj.weight": change}
    image = np.random.default_rng(1).normal(size=(2, 16, 16, 3)).astype("float32")
    twice = np.concatenate([image, image], axis=-1)
    assert np.abs(helpers.outputs(six, twice) - helpers.outputs(three, image)).max() <= 1e-4


@pytest.mark.parametrize(("old", "new"), [(4, 8), (8, 4), (16, 14)])
def test_a_patch_kernel_is_resized_as_timm_does(timm: Any, old: int, new: int) -> None:
    import torch
    from timm.layers import resample_patch_embed

    kernel = np.random.default_rng(0).normal(size=(6, 3, old, old)).astype("float32")
    expected = resample_patch_embed(torch.from_numpy(kernel), [new, new]).numpy()
    ours = resize_patch_kernel(kernel.transpose(2, 3, 1, 0), (new, new)).transpose(3, 2, 0, 1)
    assert np.abs(ours - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["vit", "convnext"])
def test_a_larger_patch_sees_a_larger_image_alike(name: str) -> None:
    """An image enlarged as the patches are gives nearly the same: where patches grow, exactly."""
    config = helpers.TINY[name]
    larger = (
        replace(config, patch_size=2 * config.patch_size)
        if name == "vit"
        else replace(config, stem_stride=2 * config.stem_stride)
    )
    state = filled(config)
    model = built(larger, size=32)
    report = kv.load_weights(model, state)
    (change,) = report.adapted.values()
    size = config.patch_size if name == "vit" else config.stem_stride
    assert change == f"resized from {size} x {size} to {2 * size} x {2 * size} pixels"
    small = built(config)
    kv.load_weights(small, state)
    # Each patch on its own, as the kernel's resize sees it.
    image = np.random.default_rng(1).normal(size=(16, 16, 3))
    patches = image.reshape(16 // size, size, 16 // size, size, 3)
    big = np.stack(
        [
            [kv.ops.resize_grid(p, (2 * size, 2 * size)) for p in row]
            for row in patches.swapaxes(1, 2)
        ]
    )
    big = big.swapaxes(1, 2).reshape(1, 32, 32, 3).astype("float32")
    ours = helpers.outputs(model, big)
    theirs = helpers.outputs(small, image[None].astype("float32"))
    assert np.abs(ours - theirs).max() <= 2e-3 * max(1, np.abs(theirs).max())


def test_positions_and_gpsa_geometry_of_another_size() -> None:
    config = helpers.TINY["convit"]
    state = filled(config)
    larger = built(config, size=24)
    report = kv.load_weights(larger, state)
    assert report.adapted == {
        "pos_embed": "resized from 4 x 4 to 6 x 6 tokens",
        "blocks.0.attn.rel_indices": "recomputed for 6 x 6",
    }
    back = kv.to_timm(larger)
    unchanged = [name for name in state if name != "pos_embed"]
    assert all(np.array_equal(back[name], state[name]) for name in unchanged)


def test_several_changes_at_once() -> None:
    state = filled(VIT)
    model = built(replace(VIT, patch_size=8), size=48, channels=1, classes=3)
    report = kv.load_weights(model, state)
    assert report.adapted == {
        "patch_embed.proj.weight": (
            "resized from 4 x 4 to 8 x 8 pixels, summed from 3 to 1 input channels"
        ),
        "pos_embed": "resized from 4 x 4 to 6 x 6 tokens",
    }
    assert report.random == ("head.weight", "head.bias")
    assert "left random: head.weight, head.bias" in str(report)


def test_positions_that_are_no_square_are_refused() -> None:
    state = filled(VIT)
    state["pos_embed"] = state["pos_embed"][:, :12]
    model = built(VIT)
    with pytest.raises(
        ValueError, match=r"misshapen tensors \(pos_embed \(1, 12, 12\) for \(1, 17"
    ):
        kv.load_weights(model, state)


def test_a_kernel_that_cuts_no_patches_is_not_resized() -> None:
    state = filled(helpers.TINY["resnet"])
    state["conv1.weight"] = state["conv1.weight"][:, :, 1:-1, 1:-1]
    with pytest.raises(ValueError, match=r"misshapen tensors \(conv1\.weight"):
        kv.load_weights(built(helpers.TINY["resnet"]), state)
