"""Linear maps in every lowering against their definition in float64."""

import keras
import numpy as np
import pytest

from keras_vitcnn import system
from keras_vitcnn.ops import linear, lowering
from keras_vitcnn.ops.linear_map import FEWEST_ROWS
from keras_vitcnn.ops.lowerings import CHOICES, listed
from tests.helpers import gradients, to_numpy

SHAPES = [(3, 5, 6), (2, FEWEST_ROWS, 6), (FEWEST_ROWS, 6), (2, 16, 9, 6), (0, 6)]


def inputs(shape):
    rng = np.random.default_rng(len(shape))
    kernel, bias = rng.normal(size=(6, 10)), rng.normal(size=10)
    return [array.astype("float32") for array in (rng.normal(size=shape), kernel, bias)]


@pytest.mark.parametrize("name", CHOICES["linear"])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_lowering_equals_the_definition(shape, biased, name):
    x, kernel, bias = inputs(shape)
    bias = bias if biased else np.zeros(10)
    expected = np.float64(x) @ kernel + bias
    with lowering(name):
        y = linear(*map(keras.ops.convert_to_tensor, (x, kernel, bias)[: 3 if biased else 2]))
    np.testing.assert_allclose(to_numpy(y), expected, rtol=0, atol=2e-6 * 6)


@pytest.mark.parametrize("name", CHOICES["linear"])
def test_gradients_of_every_lowering_equal_the_adjoint(name):
    x, kernel, bias = inputs((2, FEWEST_ROWS, 6))
    upstream = np.random.default_rng(0).normal(size=(2, FEWEST_ROWS, 10)).astype("float32")

    def weighted(*tensors):
        with lowering(name):
            return linear(*tensors) * keras.ops.convert_to_tensor(upstream)

    rows, above = np.float64(x).reshape(-1, 6), np.float64(upstream).reshape(-1, 10)
    expected = [np.float64(upstream) @ kernel.T, rows.T @ above, above.sum(0)]
    for found, wanted in zip(gradients(weighted, x, kernel, bias), expected, strict=True):
        found = np.asarray(to_numpy(found))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="PyTorch's")
def test_a_convolution_where_it_pays():
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    def operations(rows, dtype="float32"):
        x, kernel, bias = (torch.from_numpy(array.astype(dtype)) for array in inputs((rows, 6)))
        with lowering("convolution"):
            nodes = make_fx(lambda *given: linear(*given))(x, kernel, bias).graph.nodes
        return {str(node.target) for node in nodes}

    assert "aten.convolution.default" in operations(FEWEST_ROWS)
    assert "aten.convolution.default" not in operations(FEWEST_ROWS - 1)
    assert "aten.convolution.default" not in operations(FEWEST_ROWS, "float64")


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="PyTorch's")
def test_an_exported_model_has_a_linear_map():
    import torch

    layer = torch.nn.Linear(6, 10)

    class Ours(torch.nn.Module):
        def forward(self, x):
            return linear(x, layer.weight.T, layer.bias)

    with lowering("convolution"):
        program = torch.export.export(Ours(), (torch.ones(FEWEST_ROWS, 6),), strict=False)
    assert not any("conv" in str(node.target) for node in program.graph.nodes)


@pytest.mark.backend_independent
@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("vendor_id : AuthenticAMD\nflags : avx2 avx512f fma", "convolution"),
        ("vendor_id : AuthenticAMD\nflags : avx2 fma", "native"),
        ("vendor_id : GenuineIntel\nflags : avx2 avx512f fma", "native"),
        ("", "native"),
    ],
)
def test_amd_processors_of_512_bits_have_their_own(cpuinfo, expected, monkeypatch):
    monkeypatch.setattr(system, "cpuinfo", lambda: cpuinfo)
    monkeypatch.setattr("keras_vitcnn.ops.lowerings.wide_amd", system.wide_amd.__wrapped__)
    assert listed("linear", "torch") == expected
    assert listed("linear", "jax") == "native"
    assert listed("dense", "jax") == "product"


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="PyTorch's")
@pytest.mark.parametrize("name", CHOICES["linear"])
def test_a_map_with_gaps_is_one_product_not_many(name):
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    x, kernel, bias = (torch.from_numpy(array) for array in inputs((2, 7, 9, 6)))
    with lowering(name):
        graph = make_fx(lambda x: linear(x[:, ::2, ::2], kernel, bias))(x)
    assert not any("bmm" in str(node.target) for node in graph.graph.nodes)
    expected = np.float64(x[:, ::2, ::2]) @ np.float64(kernel) + np.float64(bias)
    np.testing.assert_allclose(graph(x), expected, atol=1e-5)
