"""Pixels and convolutions: ImageNormalization, Padding2D, the convolution layers."""

import keras
import numpy as np
import pytest

from keras_vitcnn.layers import (
    DepthwiseConv2D,
    GroupedConv2D,
    ImageNormalization,
    MaxPooling2D,
    Padding2D,
    StandardizedConv2D,
)
from tests.helpers import call, images, randomize, to_numpy

RNG = np.random.default_rng(0)
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # ImageNet's


def test_normalization_takes_bytes_and_floats_alike():
    pixels, layer = images(), ImageNormalization()
    expected = (pixels / 255 - MEAN) / STD
    for x in (pixels, pixels.astype("float32")):
        np.testing.assert_allclose(to_numpy(call(layer, x)), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "mean", "std"),
    [
        (1, [MEAN.mean()], [STD.mean()]),
        (3, MEAN, STD),
        (4, [*MEAN, MEAN[0]], [*STD, STD[0]]),
        (6, [*MEAN, *MEAN], [*STD, *STD]),
    ],
)
def test_white_and_black_for_any_number_of_channels(channels, mean, std):
    mean, std = np.array(mean), np.array(std)
    for pixel, expected in ((255, (1 - mean) / std), (0, -mean / std)):
        y = to_numpy(ImageNormalization()(np.full((1, 2, 2, channels), pixel, "uint8")))
        np.testing.assert_allclose(y, np.broadcast_to(expected, y.shape), atol=1e-5)


def test_normalization_with_other_statistics():
    y = ImageNormalization(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))(images())
    np.testing.assert_allclose(to_numpy(y), images() / 127.5 - 1, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_normalization_rounds_once(policy):
    """In half precision pixel 255 / 255 - mean loses digits unless computed in float32."""
    y = ImageNormalization(dtype=policy)(images())
    exact = keras.ops.cast(((images() / 255 - MEAN) / STD).astype("float32"), y.dtype)
    np.testing.assert_allclose(to_numpy(y), to_numpy(exact), atol=1e-6, rtol=2**-7)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        ("float32", (6, 6)),
        ("float32", (7, 5)),
        ("mixed_float16", (6, 6)),
        ("mixed_bfloat16", (6, 6)),
    ],
)
def test_lowest_padding_makes_pytorchs_max_pool(dtype, size):
    torch = pytest.importorskip("torch")
    x = -1 - RNG.integers(0, 64, (2, *size, 3)).astype("float32")  # zeros would win everywhere
    maps = torch.from_numpy(x).permute(0, 3, 1, 2)
    expected = torch.nn.functional.max_pool2d(maps, 3, 2, padding=1).permute(0, 2, 3, 1).numpy()
    padded = Padding2D(1, lowest=True, dtype=dtype)(x)
    pool = MaxPooling2D(3, 2, dtype=dtype)
    np.testing.assert_array_equal(to_numpy(pool(padded)), expected)


def test_padding_adds_zeros():
    x = RNG.normal(size=(1, 2, 3, 1)).astype("float32")
    np.testing.assert_array_equal(
        to_numpy(Padding2D(2)(x)), np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    )


@pytest.mark.parametrize("strides", [1, 2])
def test_standardized_convolution_has_kernels_of_mean_0_and_variance_1(strides):
    x = RNG.normal(size=(2, 6, 5, 3)).astype("float32")
    layer = StandardizedConv2D(4, 3, strides, "same", kernel_initializer="zeros")
    layer(keras.Input(x.shape[1:]))
    randomize(layer)
    kernel, bias = (to_numpy(w) for w in layer.weights)
    kernel = 5 * kernel + 2
    layer.kernel.assign(kernel)
    standard = kernel - kernel.mean(axis=(0, 1, 2))
    standard = standard / np.sqrt((standard**2).mean(axis=(0, 1, 2)) + 1e-8)

    plain = keras.layers.Conv2D(
        4, 3, strides, "same", data_format="channels_last", kernel_initializer="zeros"
    )
    plain(keras.Input(x.shape[1:]))
    plain.set_weights([standard, bias])
    np.testing.assert_allclose(to_numpy(call(layer, x)), to_numpy(call(plain, x)), atol=1e-4)


def test_standardization_ignores_scale_and_shift_of_a_kernel():
    x = RNG.normal(size=(2, 6, 5, 3)).astype("float32")
    layer = StandardizedConv2D(4, 3, use_bias=False)
    layer(keras.Input(x.shape[1:]))
    before = to_numpy(call(layer, x))
    layer.kernel.assign(layer.kernel * 7 + 3)
    np.testing.assert_allclose(to_numpy(call(layer, x)), before, atol=1e-3)


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("kind", ["depthwise", "grouped"])
def test_convolution_layers_equal_pytorchs(kind, strides):
    torch = pytest.importorskip("torch")
    groups, filters = (4, 4) if kind == "depthwise" else (2, 6)
    if kind == "depthwise":
        layer = DepthwiseConv2D(5, strides, activation="relu", depthwise_initializer="zeros")
    else:
        layer = GroupedConv2D(
            filters, 5, strides, groups=groups, activation="relu", kernel_initializer="zeros"
        )
    x = RNG.normal(size=(2, 6, 7, 4)).astype("float32")
    layer(keras.Input(x.shape[1:]))
    randomize(layer)
    kernel, bias = (torch.from_numpy(to_numpy(w)) for w in layer.weights)
    expected = torch.nn.functional.conv2d(
        torch.from_numpy(x).double().permute(0, 3, 1, 2),
        kernel.permute((2, 3, 0, 1) if kind == "depthwise" else (3, 2, 0, 1)),
        bias,
        stride=strides,
        padding=2,
        groups=groups,
    )
    expected = expected.relu().permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(to_numpy(call(layer, x)), expected, atol=1e-5)


@pytest.mark.parametrize("make", [DepthwiseConv2D, lambda k: GroupedConv2D(4, k)])
def test_even_kernels_raise(make):
    with pytest.raises(ValueError, match=r"`kernel_size` must be odd.*Received: kernel_size="):
        make(4)
