"""GroupNormalization against its definition in float64, and its gradients against PyTorch's."""

import keras
import numpy as np
import pytest

from keras_vitcnn.layers import GroupNormalization
from tests.helpers import call, gradients, to_numpy

MIXED = ["mixed_bfloat16", "mixed_float16"]
RNG = np.random.default_rng(0)


def reference(x: np.ndarray, groups: int, epsilon: float) -> np.ndarray:
    b, h, w, c = x.shape
    x = x.astype("float64").reshape(b, h * w, groups, c // groups)
    mean = x.mean((1, 3), keepdims=True)
    return ((x - mean) / np.sqrt(x.var((1, 3), keepdims=True) + epsilon)).reshape(b, h, w, c)


@pytest.mark.parametrize("groups", [1, 3, 12])
def test_is_its_definition(groups):
    # Channels whose means and spreads differ, so that a group is more than any of its channels.
    x = RNG.normal(size=(2, 5, 4, 12)) * RNG.uniform(0.1, 3, 12) + RNG.normal(size=12)
    layer = GroupNormalization(groups, 1e-3)
    layer(keras.Input(x.shape[1:]))
    gamma, beta = RNG.normal(size=(2, 12))
    layer.set_weights([gamma, beta])
    x = x.astype("float32")
    expected = gamma * reference(x, groups, 1e-3) + beta
    np.testing.assert_allclose(to_numpy(call(layer, x)), expected, rtol=0, atol=3e-6)


def test_stays_exact_over_large_maps():
    """A single sum of these numbers in float32 is off by 6e-5 on TensorFlow."""
    x = (RNG.normal(size=(1, 60, 60, 256)) + 2).astype("float32")
    y = to_numpy(call(GroupNormalization(8), x))
    assert np.abs(y - reference(x, 8, 1e-5)).max() < 3e-6


def test_gradients_are_those_of_pytorch():
    torch = pytest.importorskip("torch", reason="the reference is PyTorch's")
    x, upstream = RNG.normal(size=(2, 2, 5, 4, 6)).astype("float32")
    gamma, beta = RNG.normal(size=(2, 6)).astype("float32")
    layer = GroupNormalization(2)
    layer.build(x.shape)
    found = gradients(
        lambda g, b, x: keras.ops.multiply(layer.stateless_call([g, b], [], x)[0], upstream),
        *(gamma, beta, x),
    )
    parts = [torch.tensor(part, dtype=torch.float64, requires_grad=True) for part in (gamma, beta)]
    image = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    y = torch.nn.functional.group_norm(image.permute(0, 3, 1, 2), 2, *parts).permute(0, 2, 3, 1)
    (y * torch.tensor(upstream)).sum().backward()
    for one, other in zip(found, (*parts, image), strict=True):
        expected = other.grad.numpy()
        np.testing.assert_allclose(one, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("policy", MIXED)
def test_takes_its_statistics_in_float32(policy):
    """Squares of these are beyond float16's largest number."""
    x = (300 * RNG.normal(size=(1, 16, 16, 4)) + 500).astype("float32")
    y = to_numpy(call(GroupNormalization(2, dtype=policy), x)).astype("float64")
    precision = 2**-7 if "bfloat16" in policy else 2**-10
    assert np.abs(y - reference(x, 2, 1e-5)).max() < 4 * precision


def test_groups_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"multiple of its groups.*groups=4"):
        GroupNormalization(4).build((None, 5, 4, 6))
