"""PyTorch's traced graphs give the same with weights laid out once and activations joined."""

import keras
import numpy as np
import pytest

import keras_vitcnn as kv
from keras_vitcnn.inference import torch_graph
from tests import helpers

pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="PyTorch's graphs")
SIDE = 16
joined = pytest.mark.skipif(
    keras.backend.backend() != "torch" or not torch_graph.available(),
    reason="PyTorch has no joined operations for this processor",
)


def functions(graph):
    return [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]


def traced(function, *arrays):
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    with torch.inference_mode():
        return make_fx(function)(*map(torch.from_numpy, arrays))


def checked(function, images, tolerance=1e-5):
    """The faster graph of a function of images, found to agree with the plain one."""
    import torch

    plain, faster = traced(function, images), torch_graph.optimized(traced(function, images))
    with torch.inference_mode():
        for given in (images, images[::-1].copy()):
            expected = plain(torch.from_numpy(given)).numpy()
            found = faster(torch.from_numpy(given)).numpy()
            scale = np.abs(expected).max()
            np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)
    return faster


def images(channels=3, batch=2):
    shape = (batch, SIDE, SIDE, channels)
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@joined
@pytest.mark.parametrize("amd", [True, False])
@pytest.mark.parametrize("name", ["relu", "relu6", "silu", "gelu", "gelu_tanh", "sigmoid", None])
def test_an_activation_becomes_part_of_what_is_in_front_of_it(name, amd, monkeypatch):
    monkeypatch.setattr("keras_vitcnn.ops.lowerings.wide_amd", lambda: amd)
    activation = {
        "gelu_tanh": lambda x: keras.activations.gelu(x, approximate=True),
        None: lambda x: x,
    }.get(name) or getattr(keras.activations, name)
    image = keras.Input((SIDE, SIDE, 4))
    y = activation(kv.layers.Conv2D(6, 3, padding="same")(image))
    y = activation(kv.layers.DepthwiseConv2D(3)(y))
    y = activation(kv.layers.Conv2D(8, 1)(y))
    y = activation(kv.layers.Dense(5, use_bias=False)(y))
    model = keras.Model(image, kv.layers.Dense(7)(y))
    helpers.randomize(model)
    faster = checked(lambda images: model(images, training=False), images(4))
    left = functions(faster)
    assert sum("_pointwise" in one for one in left) == 5
    views = ("_pointwise", "permute", "view", "alias", "lift_fresh", "pad")
    others = {one for one in left if not any(view in one for view in views)}
    assert not others


@joined
def test_a_result_that_others_use_too_keeps_its_activation_apart():
    image = keras.Input((SIDE, SIDE, 4))
    y = kv.layers.Conv2D(4, 3, padding="same")(image)
    model = keras.Model(image, keras.activations.relu(y) + y)
    faster = checked(lambda images: model(images, training=False), images(4))
    assert sum("relu" in one for one in functions(faster)) == 1


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_convolutions_of_other_kinds_give_the_same(rank, padding):
    image = keras.Input((8,) * rank + (3,))
    plain, transposed = f"Conv{rank}D", f"Conv{rank}DTranspose"
    y = getattr(keras.layers, plain)(4, 3, padding=padding, activation="relu")(image)
    y = getattr(keras.layers, transposed)(5, 1, activation="relu")(y)
    y = getattr(keras.layers, transposed)(5, 1, strides=2, padding=padding)(y)
    model = keras.Model(image, getattr(keras.layers, transposed)(2, 3, strides=2)(y))
    helpers.randomize(model)
    given = np.random.default_rng(0).normal(size=(2, *image.shape[1:])).astype("float32")
    checked(lambda images: model(images, training=False), given)


@joined
@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize("kernel", [3, 5])
def test_zeros_around_a_map_become_the_convolutions_own(kernel, side):
    image = keras.Input((side, side + 1, 4))
    y = kv.layers.Conv2D(4, 3)(kv.layers.Padding2D(2)(image))
    y = kv.layers.DepthwiseConv2D(kernel, 2, asymmetric=True)(y)
    model = keras.Model(image, kv.layers.DepthwiseConv2D(kernel, 2, asymmetric=True)(y))
    helpers.randomize(model)
    given = np.random.default_rng(0).normal(size=(2, side, side + 1, 4)).astype("float32")
    faster = checked(lambda images: model(images, training=False), given)
    assert not any("pad" in one for one in functions(faster))


@pytest.mark.parametrize("pads", [(1, 1), (0, 2), (2, 1)])
@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("dilation", [1, 2])
def test_what_is_padded_gives_the_same(pads, value, groups, dilation):
    import torch
    import torch.nn.functional as F

    rng = np.random.default_rng(0)
    kernel = torch.from_numpy(rng.normal(size=(4, 4 // groups, 3, 3)).astype("float32"))

    def function(x):
        padded = F.pad(x, (0, 0, *pads, *pads[::-1]), value=value)
        deeper = F.pad(x, (2, 2), value=value)
        convolved = F.conv2d(padded.permute(0, 3, 1, 2), kernel, None, 2, 1, dilation, groups)
        if groups > 1:
            return convolved
        several = kernel.repeat(1, 2, 1, 1)
        return convolved + F.conv2d(deeper.permute(0, 3, 1, 2), several, None, 2, 1).sum()

    checked(function, images(4))


def test_a_sum_takes_the_memory_of_what_nothing_else_reads():
    image = keras.Input((SIDE, SIDE, 4))
    y = kv.layers.Conv2D(4, 3, padding="same")(image)
    z = kv.layers.Dense(4)(keras.activations.relu(image + y))
    model = keras.Model(image, z + y)
    helpers.randomize(model)
    faster = checked(lambda images: model(images, training=False), images(4))
    found = [one for one in functions(faster) if "add" in one or "relu" in one]
    # `y` is read twice: only the second sum has a result to itself, and the ReLU the first sum.
    assert [one for one in found if "addmm" not in one] == [
        "aten.add.Tensor",
        "aten.relu_.default",
        "aten.add_.Tensor",
    ]


def test_sums_of_other_shapes_and_types_and_of_inputs_keep_their_memory():
    def function(x):
        rows = keras.ops.reshape(x, (-1, x.shape[-1]))
        product = keras.ops.matmul(rows, keras.ops.ones((4, 4), "float32"))
        wider = product[:1] @ keras.ops.ones((4, 4), "float32") + rows
        double = (rows @ keras.ops.ones((4, 4), "float32")) + keras.ops.cast(wider, "float64")
        twice = rows + rows
        return keras.ops.relu(x) + keras.ops.reshape(wider + double + twice, x.shape)

    given = images(4)
    before = given.copy()
    checked(function, given)
    np.testing.assert_array_equal(given, before)


def test_products_without_weights_or_of_other_types_stay():
    def function(x):
        rows = keras.ops.reshape(x, (-1, x.shape[-1]))
        square = keras.ops.matmul(keras.ops.transpose(rows), rows)
        weights = keras.ops.ones((3, 2), "float64")
        doubled = keras.ops.matmul(keras.ops.cast(rows, "float64"), weights)
        return keras.ops.sum(square) + keras.ops.cast(keras.ops.sum(doubled), "float32")

    faster = checked(function, images())
    assert not any("_pointwise" in one for one in functions(faster))


def test_what_weights_alone_decide_is_a_constant(monkeypatch):
    monkeypatch.setattr(torch_graph, "available", lambda: False)
    image = keras.Input((SIDE, SIDE, 3))
    y = kv.layers.Conv2D(6, 3, use_bias=False)(image)
    y = keras.layers.LayerNormalization()(kv.layers.DepthwiseConv2D(3)(y))
    model = keras.Model(image, keras.layers.Dense(2)(y))
    faster = checked(lambda images: model(images, training=False), images(), tolerance=0)
    constants = {node for node in faster.graph.nodes if node.op == "get_attr"}
    assert constants
    for node in faster.graph.nodes:
        if node.op == "call_function":
            assert not set(node.all_input_nodes) <= constants, node.format_node()


@pytest.mark.parametrize("name", sorted(helpers.TINY))
def test_every_family_gives_the_same(name):
    model = kv.build(helpers.TINY[name], input_shape=(SIDE, SIDE, 3), classes=5)
    helpers.randomize(model)
    checked(lambda images: model(images, training=False), images(), tolerance=1e-4)


def kernel(channels=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(3, 3, channels, channels)).astype("float32")


def convolved(x, seed=0):
    return keras.ops.conv(x, keras.ops.convert_to_tensor(kernel(seed=seed)), padding="same")


def test_a_relu_of_a_sum_is_part_of_it():
    faster = checked(lambda x: keras.ops.relu(convolved(x) + convolved(x, 1)), images(4))
    left = functions(faster)
    assert "aten._add_relu_.Tensor" in left
    assert not any("aten.relu" in one or "add_.Tensor" in one for one in left)


def test_scales_take_the_memory_of_what_was_read_before():
    def squeezed(x):
        y = convolved(x)
        return y * keras.ops.sigmoid(keras.ops.mean(y, (1, 2), keepdims=True))

    assert "aten.mul_.Tensor" in functions(checked(squeezed, images(4)))


@pytest.mark.parametrize(
    "function",
    [
        lambda y: (y * 2.0) + y,
        lambda y: y + keras.ops.transpose(y, (0, 2, 1, 3)),
        lambda y: keras.ops.relu(y + 1.0) + keras.ops.reshape(y, (-1, SIDE, SIDE, 4)),
        lambda y: (y * 2.0)[:, :8] + keras.ops.transpose(y, (0, 2, 1, 3))[:, 8:],
        lambda y: (y[:, :8] + y[:, 8:]) * keras.ops.flip(y, 1)[:, :8],
        lambda y: keras.ops.concatenate([y + 1.0, keras.ops.split(y, 2, axis=-1)[0]], axis=-1),
        lambda y: keras.ops.stack([y + 1.0, y * 3.0]),
    ],
)
def test_memory_that_is_read_later_or_in_another_order_stays(function):
    checked(lambda x: function(convolved(x)), images(4))


@pytest.mark.parametrize(
    ("value", "pads", "own"),
    [
        (float("-inf"), 1, True),
        (-3e38, 1, True),
        (0.0, 1, False),  # the largest of what is below it
        (-3e38, 2, False),  # more than half a window
        (-3e38, (0, 1), False),
    ],
)
def test_pooling_pads_by_itself_with_what_is_never_the_largest(value, pads, own):
    both = pads if isinstance(pads, tuple) else (pads, pads)

    def function(x):
        y = -keras.ops.abs(convolved(x))
        y = keras.ops.pad(y, ((0, 0), both, both, (0, 0)), constant_values=value)
        return kv.layers.MaxPooling2D(3, 2)(y)

    left = functions(checked(function, images(4)))
    assert ("aten.constant_pad_nd.default" not in left) == own


def test_views_of_views_are_one():
    def function(x):
        y = keras.ops.reshape(convolved(x), (-1, SIDE * SIDE, 4))
        y = keras.ops.transpose(keras.ops.transpose(y, (0, 2, 1)), (0, 2, 1))
        y = keras.ops.reshape(keras.ops.reshape(y, (-1, 8, 2 * SIDE, 4)), (-1, SIDE, SIDE, 4))
        return keras.ops.transpose(keras.ops.transpose(y, (0, 3, 1, 2)), (0, 3, 1, 2)) + 1.0

    left = functions(checked(function, images(4)))
    assert sum("view" in one for one in left) <= 1
