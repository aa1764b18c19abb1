"""Every lowering of a depthwise or grouped convolution against its definition in float64."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from keras_vitcnn.layers import DepthwiseConv2D
from keras_vitcnn.ops import conv2d, depthwise_conv2d, grouped_conv2d, lowering
from keras_vitcnn.ops import convolution as ops_of_convolutions
from keras_vitcnn.ops.convolution import pad2d
from keras_vitcnn.ops.lowerings import CHOICES, LOWERINGS
from tests.helpers import compiled, gradients, to_numpy

few = settings(max_examples=3, deadline=None, derandomize=True, database=None)
sides = st.integers(1, 9)
strides_ = st.sampled_from([1, 2])
CONVOLUTIONS = ("depthwise", "grouped", "dense")
CASES = [(operation, name) for operation in CONVOLUTIONS for name in CHOICES[operation]]


def definition(x, kernel, groups, strides):
    """A convolution, zero-padded by (k - 1) // 2: x (b, h, w, c), kernel (k, k, c / groups, f)."""
    size = kernel.shape[0]
    windows = padded_windows(np.float64(x), size, strides, groups)
    taps = np.float64(kernel).reshape(size, size, kernel.shape[2], groups, -1)
    y = np.einsum("bhwgcij,ijcgf->bhwgf", windows, taps)
    return y.reshape(*y.shape[:3], -1)


def padded_windows(x, size, strides, groups):
    pad = (size - 1) // 2
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = sliding_window_view(x, (size, size), axis=(1, 2))[:, ::strides, ::strides]
    return windows.reshape(*windows.shape[:3], groups, -1, size, size)


def adjoint(x, kernel, groups, strides, upstream):
    """Gradients of sum(upstream * convolution) for the input and the kernel."""
    size, channels, pad = kernel.shape[0], x.shape[-1], (kernel.shape[0] - 1) // 2
    upstream = np.float64(upstream).reshape(*upstream.shape[:3], groups, -1)
    windows = padded_windows(np.float64(x), size, strides, groups)
    for_kernel = np.einsum("bhwgcij,bhwgf->ijcgf", windows, upstream).reshape(kernel.shape)
    taps = np.float64(kernel).reshape(size, size, kernel.shape[2], groups, -1)
    batch, rows, columns = upstream.shape[:3]
    for_input = np.zeros((batch, x.shape[1] + 2 * pad, x.shape[2] + 2 * pad, channels))
    for i in range(size):
        for j in range(size):
            part = np.einsum("bhwgf,cgf->bhwgc", upstream, taps[i, j])
            reached = for_input[:, i : i + rows * strides : strides][
                :, :, j : j + columns * strides : strides
            ]
            reached += part.reshape(batch, rows, columns, channels)
    return for_input[:, pad : pad + x.shape[1], pad : pad + x.shape[2]], for_kernel


def convolution(operation, name, groups, strides):
    """Our convolution of (x, kernel) in one lowering; a kernel is (k, k, c / groups, f) here."""

    def run(x, kernel, bias=None):
        with lowering(name):
            if operation == "dense":  # "same" is symmetric at stride 1
                pad = (kernel.shape[0] - 1) // 2
                x = pad2d(x, pad, pad) if strides > 1 else x
                return conv2d(x, kernel, strides, "same" if strides == 1 else "valid", bias)
            if operation == "grouped":
                return grouped_conv2d(x, kernel, groups, strides, bias)
            kernel = keras.ops.transpose(kernel, (0, 1, 3, 2))
            return depthwise_conv2d(x, kernel, strides, bias=bias)

    return run


def inputs(operation, size, height, width):
    """(x, kernel, groups): 6 channels, each its own group, in 3 groups of 2 -> 4, or in one."""
    rng = np.random.default_rng(size * 100 + height * 10 + width)
    sizes = {"depthwise": (6, 1, 6), "grouped": (3, 2, 12), "dense": (1, 6, 4)}
    groups, per_group, filters = sizes[operation]
    x = rng.normal(size=(2, height, width, 6)).astype("float32")
    return x, rng.normal(size=(size, size, per_group, filters)).astype("float32"), groups


def close(actual, expected):
    actual = actual if isinstance(actual, np.ndarray) else to_numpy(actual)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("size", [1, 3, 5, 7])
@pytest.mark.parametrize(("operation", "name"), CASES)
@few
@given(height=sides, width=sides, strides=strides_)
def test_lowering_equals_the_definition(operation, name, size, height, width, strides):
    x, kernel, groups = inputs(operation, size, height, width)
    run = compiled(convolution(operation, name, groups, strides))
    tensors = [keras.ops.convert_to_tensor(array) for array in (x, kernel)]
    close(run(*tensors), definition(x, kernel, groups, strides))


@pytest.mark.backend_independent
@pytest.mark.parametrize("operation", CONVOLUTIONS)
@given(height=sides, width=sides, strides=strides_, size=st.sampled_from([1, 3, 5, 7]))
@settings(max_examples=12, deadline=None, derandomize=True, database=None)
def test_the_definition_is_pytorchs(operation, height, width, strides, size):
    torch = pytest.importorskip("torch")
    x, kernel, groups = inputs(operation, size, height, width)
    expected = torch.nn.functional.conv2d(
        torch.from_numpy(np.float64(x.transpose(0, 3, 1, 2))),
        torch.from_numpy(np.float64(kernel.transpose(3, 2, 0, 1))),
        stride=strides,
        padding=(size - 1) // 2,
        groups=groups,
    )
    close(expected.numpy().transpose(0, 2, 3, 1), definition(x, kernel, groups, strides))


@pytest.mark.parametrize(
    ("size", "strides", "height", "width"),
    [(3, 1, 6, 7), (3, 2, 7, 8), (5, 2, 6, 7), (1, 1, 6, 7), (1, 2, 6, 7), (2, 2, 7, 10)],
)
@pytest.mark.parametrize(("operation", "name"), CASES)
def test_gradients_of_every_lowering_equal_the_adjoint(
    operation, name, size, strides, height, width
):
    x, kernel, groups = inputs(operation, size, height, width)
    y = definition(x, kernel, groups, strides)
    upstream = np.random.default_rng(0).normal(size=y.shape).astype("float32")
    run = convolution(operation, name, groups, strides)
    actual = gradients(lambda x, k: run(x, k) * keras.ops.convert_to_tensor(upstream), x, kernel)
    for grad, expected in zip(actual, adjoint(x, kernel, groups, strides, upstream), strict=True):
        close(grad, expected)


@pytest.mark.parametrize("name", CHOICES["depthwise"])
@pytest.mark.parametrize(("size", "strides"), [(3, 1), (3, 2), (5, 2), (5, 3)])
@pytest.mark.parametrize(("height", "width"), [(6, 7), (8, 5), (1, 4)])
def test_asymmetric_padding_is_tensorflows(name, size, strides, height, width):
    x, kernel, _groups = inputs("depthwise", size, height, width)
    # ceil(side / strides) windows, with the smaller half of the missing zeros in front.
    missing = [max((-(-s // strides) - 1) * strides + size - s, 0) for s in (height, width)]
    pads = [(total // 2, total - total // 2) for total in missing]
    padded = np.pad(np.float64(x), ((0, 0), *pads, (0, 0)))
    windows = sliding_window_view(padded, (size, size), axis=(1, 2))[:, ::strides, ::strides]
    expected = np.einsum("bhwcij,ijc->bhwc", windows, kernel[:, :, 0])
    tensors = [keras.ops.convert_to_tensor(a) for a in (x, kernel.transpose(0, 1, 3, 2))]
    with lowering(name):
        close(depthwise_conv2d(*tensors, strides, asymmetric=True), expected)


@pytest.mark.parametrize(("groups", "width"), [(48, 2), (74, 1)])
def test_many_groups_are_split_into_few_parts(groups, width, monkeypatch):
    calls = []
    conv = keras.ops.conv
    monkeypatch.setattr(keras.ops, "conv", lambda *a, **k: calls.append(a) or conv(*a, **k))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 4, 5, groups * width)).astype("float32")
    kernel = rng.normal(size=(3, 3, width, 3 * groups)).astype("float32")
    y = convolution("grouped", "split", groups, 2)(*map(keras.ops.convert_to_tensor, (x, kernel)))
    close(y, definition(x, kernel, groups, 2))
    assert len(calls) <= 32


@pytest.mark.parametrize("name", CHOICES["dense"])
@pytest.mark.parametrize(("size", "strides"), [(1, 2), (3, 2), (4, 4), (5, 3)])
def test_same_is_tensorflows(name, size, strides):
    x, _, _ = inputs("dense", 3, 7, 10)
    kernel = np.random.default_rng(0).normal(size=(size, size, 6, 5)).astype("float32")
    missing = [max((-(-s // strides) - 1) * strides + size - s, 0) for s in (7, 10)]
    pads = [(total // 2, total - total // 2) for total in missing]
    padded = np.pad(np.float64(x), ((0, 0), *pads, (0, 0)))
    windows = sliding_window_view(padded, (size, size), axis=(1, 2))[:, ::strides, ::strides]
    with lowering(name):
        y = conv2d(*map(keras.ops.convert_to_tensor, (x, kernel)), strides, "same")
    close(y, np.einsum("bhwcij,ijcf->bhwf", windows, np.float64(kernel)))


@pytest.mark.parametrize(("operation", "name"), CASES)
def test_bias_of_every_lowering(operation, name):
    x, kernel, groups = inputs(operation, 3, 5, 6)
    bias = np.random.default_rng(1).normal(size=kernel.shape[-1]).astype("float32")
    run = convolution(operation, name, groups, 1)
    tensors = [keras.ops.convert_to_tensor(array) for array in (x, kernel, bias)]
    close(compiled(run)(*tensors), definition(x, kernel, groups, 1) + bias)
    *_, for_bias = gradients(run, x, kernel, bias)
    close(for_bias, np.full(bias.shape, 2.0 * 5 * 6))


@pytest.mark.parametrize("operation", ["depthwise", "grouped"])
def test_unknown_spatial_size_and_batch(operation):
    x, kernel, groups = inputs(operation, 3, 7, 6)
    image = keras.Input((None, None, 6))
    weights = kernel if operation == "grouped" else kernel.transpose(0, 1, 3, 2)

    class Convolution(keras.layers.Layer):
        def call(self, x):
            if operation == "grouped":
                return grouped_conv2d(x, weights, groups, 2)
            return depthwise_conv2d(x, weights, 2)

    model = keras.Model(image, Convolution()(image))
    assert model.output_shape == (None, None, None, kernel.shape[-1])
    close(model(x), definition(x, kernel, groups, 2))


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has its own gradient")
@pytest.mark.parametrize(
    ("size", "height", "width"), [(5, 6, 7), (7, 6, 7), (7, 3, 4), (7, 1, 9), (9, 12, 11)]
)
def test_gradients_with_exchanged_roles_equal_the_adjoint(size, height, width, monkeypatch):
    exchanged, calls = ops_of_convolutions._exchanged, []
    monkeypatch.setattr(
        ops_of_convolutions, "_exchanged", lambda *a: calls.append(a) or exchanged(*a)
    )
    x, kernel, groups = inputs("depthwise", size, height, width)
    bias = np.arange(6, dtype="float32")
    y = definition(x, kernel, groups, 1)
    upstream = np.random.default_rng(0).normal(size=y.shape).astype("float32")

    def run(x, k, bias):
        k = keras.ops.transpose(k, (0, 1, 3, 2))
        with lowering("exchanged"):
            y = depthwise_conv2d(x, k, bias=bias, training=True)
        return y * keras.ops.convert_to_tensor(upstream)

    for_x, for_kernel, for_bias = gradients(run, x, kernel, bias)
    expected = adjoint(x, kernel, groups, 1, upstream)
    close(for_x, expected[0])
    close(for_kernel, expected[1])
    close(for_bias, upstream.sum((0, 1, 2)))
    assert len(calls) == 1
    with lowering("exchanged"):
        tensors = [keras.ops.convert_to_tensor(a) for a in (x, kernel.transpose(0, 1, 3, 2), bias)]
        close(depthwise_conv2d(*tensors[:2], bias=tensors[2], training=True), y + bias)


def test_a_layer_trains_with_the_gradient_of_the_table(monkeypatch):
    """Of batches whose size no graph knows, the last one smaller than the others."""
    wanted = {}
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 6, 7, 3)), rng.normal(size=(5, 6, 7, 3))
    for name, table in (("native", {}), ("table", LOWERINGS)):
        monkeypatch.setattr("keras_vitcnn.ops.lowerings.LOWERINGS", table)
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((6, 7, 3)), DepthwiseConv2D(7)])
        model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
        model.fit(x, y, batch_size=2, epochs=2, verbose=0, shuffle=False)
        wanted[name] = model.get_weights()
    for native, ours in zip(*wanted.values(), strict=True):
        np.testing.assert_allclose(ours, native, rtol=0, atol=1e-5)


def test_a_name_that_an_operation_does_not_know_leaves_it_as_it_is():
    x, kernel, groups = inputs("grouped", 3, 4, 5)
    tensors = [keras.ops.convert_to_tensor(array) for array in (x, kernel)]
    y = convolution("grouped", "shifted", groups, 1)(*tensors)
    close(y, definition(x, kernel, groups, 1))


@pytest.mark.parametrize("name", ["fast", "", None])
def test_bad_lowering_names_raise(name):
    with (
        pytest.raises(ValueError, match=rf"`name`.*native.*split.*Received: name={name!r}"),
        lowering(name),
    ):
        pass


def test_a_failure_inside_leaves_no_lowering_behind(monkeypatch):
    calls = []

    def recorded(x, kernel):
        calls.append(kernel)
        return x

    monkeypatch.setattr("keras_vitcnn.ops.convolution._shifted_with_gradient", recorded)
    monkeypatch.setattr("keras_vitcnn.ops.lowerings.LOWERINGS", {})
    x, kernel, _ = inputs("depthwise", 3, 4, 4)
    with pytest.raises(RuntimeError, match="inside"), lowering("shifted"):
        raise RuntimeError("inside")
    depthwise_conv2d(x, kernel.transpose(0, 1, 3, 2))
    assert not calls
    with lowering("shifted"):
        depthwise_conv2d(x, kernel.transpose(0, 1, 3, 2))
    assert len(calls) == 1


@pytest.mark.backend_independent
def test_the_table_names_known_lowerings():
    for (operation, backend, place), name in LOWERINGS.items():
        assert name in CHOICES[operation]
        assert backend in ("tensorflow", "jax", "torch")
        assert place in ("cpu", "gpu", "amd")
