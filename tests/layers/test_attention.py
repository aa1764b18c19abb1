"""Ordinary and gated positional self-attention against their formulas in float64."""

import keras
import numpy as np
import pytest

from keras_vitcnn.layers import GatedPositionalSelfAttention, MultiHeadSelfAttention
from tests.helpers import call, to_numpy

RNG = np.random.default_rng(0)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def heads(x, count):
    """(b, n, d) -> (b, heads, n, d / heads)."""
    return x.reshape(*x.shape[:2], count, -1).transpose(0, 2, 1, 3)


def merged(x):
    return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)


def content(query, key, count):
    query, key = heads(query, count), heads(key, count)
    return softmax(query @ key.transpose(0, 1, 3, 2) / np.sqrt(query.shape[-1]))


@pytest.mark.parametrize("tokens", [1, 7])
@pytest.mark.parametrize("num_heads", [1, 3])
def test_self_attention_is_its_formula(num_heads, tokens):
    qkv = RNG.normal(size=(2, tokens, 36))
    query, key, value = np.split(qkv, 3, axis=-1)
    weights = content(query, key, num_heads)
    layer = MultiHeadSelfAttention(num_heads)
    x = keras.ops.convert_to_tensor(qkv.astype("float32"))
    np.testing.assert_allclose(to_numpy(call(layer.attention, x)), weights, atol=1e-6)
    expected = merged(weights @ heads(value, num_heads))
    np.testing.assert_allclose(to_numpy(call(layer, x)), expected, atol=1e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_self_attention_reports_the_matrix_that_it_uses(policy):
    layer = MultiHeadSelfAttention(3, dtype=policy)
    qkv = RNG.normal(size=(2, 7, 36)).astype("float32")
    x = keras.ops.convert_to_tensor(qkv, layer.compute_dtype)
    attention = call(layer.attention, x)
    assert keras.backend.standardize_dtype(attention.dtype) == "float32"
    np.testing.assert_allclose(to_numpy(attention).sum(axis=-1), 1, atol=1e-5)
    y = merged(to_numpy(attention) @ heads(np.float64(qkv[..., 24:]), 3))
    tolerance = {"float32": 1e-5, "mixed_float16": 4e-3, "mixed_bfloat16": 3e-2}[policy]
    np.testing.assert_allclose(to_numpy(call(layer, x)), y, atol=tolerance)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_self_attention_survives_large_scores(policy):
    """Scores of 400 sqrt(8) overflow exp in any type unless the maximum is subtracted."""
    layer = MultiHeadSelfAttention(1, dtype=policy)
    qkv = np.full((1, 4, 24), 20.0, "float32")
    qkv[..., 16:] = 1
    np.testing.assert_allclose(to_numpy(call(layer, qkv)), 1, atol=1e-2)


def locality(grid, num_heads, strength):
    """exp(-strength * |delta - delta_h|^2), normalised over the keys: (heads, queries, keys).

    Head h1 + K * h2 looks (h2 - c, h1 - c) (columns, rows) away: official `local_init`.
    """
    side = int(num_heads**0.5)
    centre = (side - 1) / 2
    rows, columns = (axis.ravel() for axis in np.indices(grid))
    weights = np.empty((num_heads, rows.size, rows.size))
    for h1 in range(side):
        for h2 in range(side):
            right = columns[None] - columns[:, None] - (h2 - centre)
            down = rows[None] - rows[:, None] - (h1 - centre)
            weights[h1 + side * h2] = np.exp(-strength * (right**2 + down**2))
    return weights / weights.sum(axis=-1, keepdims=True)


def gated(num_heads=4, grid=(3, 5), **options):
    layer = GatedPositionalSelfAttention(num_heads, grid, **options)
    tokens = grid[0] * grid[1]
    layer(*(keras.Input((tokens, width * num_heads)) for width in (8, 4)))
    return layer


@pytest.mark.parametrize(
    ("num_heads", "grid", "strength"),
    [(1, (3, 5), 1.0), (4, (5, 5), 1.0), (4, (3, 5), 0.3), (9, (3, 5), 1.0), (16, (4, 2), 0.3)],
)
def test_gated_attention_starts_as_a_convolution(num_heads, grid, strength):
    layer = gated(num_heads, grid, locality_strength=strength)
    actual = to_numpy(call(layer.position_attention))[0]
    np.testing.assert_allclose(actual, locality(grid, num_heads, strength), atol=1e-5)


@pytest.mark.parametrize("grid", [(3, 5), (1, 1)])
def test_gated_attention_is_its_formula(grid):
    num_heads, tokens = 4, grid[0] * grid[1]
    qk, value = RNG.normal(size=(2, tokens, 32)), RNG.normal(size=(2, tokens, 16))
    kernel, bias, gate = RNG.normal(size=(3, 4)), RNG.normal(size=4), RNG.normal(size=4)
    layer = gated(num_heads, grid)
    layer.position_kernel.assign(kernel)
    layer.position_bias.assign(bias)
    layer.gate.assign(gate)

    rows, columns = (axis.ravel() for axis in np.indices(grid))
    dx, dy = columns[None] - columns[:, None], rows[None] - rows[:, None]
    relative = np.stack([dx, dy, dx**2 + dy**2], axis=-1)
    position = softmax((relative @ kernel + bias).transpose(2, 0, 1))
    share = 1 / (1 + np.exp(-gate))[:, None, None]
    weights = (1 - share) * content(*np.split(qk, 2, axis=-1), num_heads) + share * position

    inputs = [keras.ops.convert_to_tensor(x.astype("float32")) for x in (qk, value)]
    np.testing.assert_allclose(to_numpy(call(layer.attention, inputs[0])), weights, atol=1e-5)
    expected = merged(weights @ heads(value, num_heads))
    np.testing.assert_allclose(to_numpy(call(layer, *inputs)), expected, atol=1e-5)


@pytest.mark.parametrize("grid", [(4, 4), (2, 6)])
def test_gated_attention_starts_with_its_gate_at_sigmoid_of_one(grid):
    layer = gated(4, grid)
    x = RNG.normal(size=(2, grid[0] * grid[1], 32)).astype("float32")
    x = keras.ops.convert_to_tensor(x)
    attention = to_numpy(call(layer.attention, x))
    np.testing.assert_allclose(attention.sum(axis=-1), 1, atol=1e-5)
    position, free = (
        to_numpy(call(layer.position_attention)),
        to_numpy(call(layer.content_attention, x)),
    )
    np.testing.assert_allclose(attention, 0.7311 * position + 0.2689 * free, atol=1e-4)


@pytest.mark.parametrize("train_gate", [True, False])
def test_the_gate_can_be_frozen(train_gate):
    layer = gated(train_gate=train_gate, gate_init=-0.5)
    assert layer.gate.trainable is train_gate
    np.testing.assert_allclose(to_numpy(layer.gate), -0.5)


def test_without_locality_positions_start_at_random():
    kernel = to_numpy(gated(locality_strength=None).position_kernel)
    assert 0 < np.abs(kernel).max() <= 0.04 + 1e-6, "a normal of 0.02, cut at two of them"


def test_heads_beyond_the_square_start_at_random():
    kernel = to_numpy(gated(num_heads=5).position_kernel)
    np.testing.assert_array_equal(kernel[2, :4], -1)
    assert np.abs(kernel[:, 4]).max() <= 0.04 + 1e-6


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_gated_attention_keeps_gate_and_softmaxes_in_float32(policy):
    layer = gated(dtype=policy)
    assert {w.dtype for w in layer.weights} == {"float32"}
    x = keras.ops.convert_to_tensor(RNG.normal(size=(2, 15, 32)), layer.compute_dtype)
    matrices = (
        call(layer.attention, x),
        call(layer.position_attention),
        call(layer.content_attention, x),
    )
    for attention in matrices:
        assert keras.backend.standardize_dtype(attention.dtype) == "float32"
        np.testing.assert_allclose(to_numpy(attention).sum(axis=-1), 1, atol=1e-5)
