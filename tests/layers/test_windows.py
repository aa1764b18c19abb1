"""Attention in windows against its formula in float64, shifting, merging, folding."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_vitcnn.layers import (
    FoldPatches,
    PatchMerging,
    UnfoldPatches,
    WindowAttention,
    WindowShift,
    WindowUnshift,
)
from keras_vitcnn.layers.window_attention import relative_index, shift_mask
from tests.helpers import call, randomize, to_numpy

RNG = np.random.default_rng(0)
few = settings(max_examples=8, deadline=None, derandomize=True, database=None)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def position_by_position(qkv, layer):
    """What `WindowAttention` computes, one query at a time: (b, h, w, d) in float64."""
    batch, height, width, channels = qkv.shape
    heads, dim = layer.num_heads, channels // 3 // layer.num_heads
    table = to_numpy(layer.relative_position)
    (rows, columns), shift = layer.window, layer.shift
    y = np.zeros((batch, height, width, channels // 3))

    def region(row, column):
        """Which part of the map before it was rolled: the start of an axis was rolled behind."""
        return (
            bool(shift[0]) and row >= height - shift[0],
            bool(shift[1]) and column >= width - shift[1],
        )

    for row in range(height):
        for column in range(width):
            top, left = row // rows * rows, column // columns * columns
            keys = [(top + i, left + j) for i in range(rows) for j in range(columns)]
            for head in range(heads):
                part = slice(head * dim, (head + 1) * dim)
                query, key, value = (x[..., part] for x in np.split(qkv, 3, axis=-1))
                scores = np.stack([(query[:, row, column] * key[:, i, j]).sum(-1) for i, j in keys])
                scores = scores.T / np.sqrt(dim)
                for n, (i, j) in enumerate(keys):
                    offset = (row - i + rows - 1) * (2 * columns - 1) + column - j + columns - 1
                    scores[:, n] += table[head, offset]
                    if region(i, j) != region(row, column):
                        scores[:, n] -= 100
                values = np.stack([value[:, i, j] for i, j in keys], axis=1)
                y[:, row, column, part] = (softmax(scores)[..., None] * values).sum(axis=1)
    return y


@pytest.mark.parametrize(
    ("window", "shift"),
    [((2, 3), (0, 0)), ((2, 3), (1, 1)), ((4, 2), (0, 1)), ((4, 6), (0, 0)), ((1, 1), (0, 0))],
)
def test_window_attention_is_its_formula(window, shift):
    qkv = RNG.normal(size=(2, 4, 6, 12))
    layer = WindowAttention(2, window, shift)
    layer(keras.Input(qkv.shape[1:]))
    randomize(layer)
    actual = to_numpy(call(layer, qkv.astype("float32")))
    np.testing.assert_allclose(actual, position_by_position(qkv, layer), atol=1e-5)


def test_a_window_of_the_whole_map_without_bias_is_ordinary_attention():
    from keras_vitcnn.layers import MultiHeadSelfAttention

    qkv = RNG.normal(size=(2, 3, 4, 24)).astype("float32")
    layer = WindowAttention(2, (3, 4))
    layer(keras.Input(qkv.shape[1:]))
    layer.relative_position.assign(np.zeros(layer.relative_position.shape))
    ordinary = to_numpy(call(MultiHeadSelfAttention(2), qkv.reshape(2, 12, 24)))
    actual = to_numpy(call(layer, qkv)).reshape(2, 12, 8)
    np.testing.assert_allclose(actual, ordinary, atol=1e-6)


@pytest.mark.backend_independent
def test_the_relative_index_of_a_window_of_two():
    """Query minus key, rows first; worked out by hand."""
    expected = [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]
    np.testing.assert_array_equal(relative_index((2, 2)), expected)


@pytest.mark.backend_independent
def test_a_mask_has_nine_regions_and_its_first_window_sees_itself():
    mask = shift_mask((8, 8), (4, 4), (2, 2))
    assert mask.shape == (4, 16, 16)
    assert (mask[0] == 0).all()
    # Side by side windows hold 2 regions, the corner 4; with one of its own for the first window.
    kinds = [len(np.unique(window, axis=0)) for window in mask]
    assert kinds == [1, 2, 2, 4]
    assert set(np.unique(mask)) == {-100, 0}


def test_masked_positions_get_no_attention():
    """A change behind a seam reaches nothing on the other side of it."""
    layer = WindowAttention(1, (4, 4), (2, 2))
    layer(keras.Input((4, 4, 12)))
    randomize(layer)
    x = RNG.normal(size=(1, 4, 4, 12)).astype("float32")
    changed = x.copy()
    changed[:, :2, :2] += 1
    difference = np.abs(to_numpy(call(layer, changed)) - to_numpy(call(layer, x)))
    assert difference[:, :2, :2].min() > 0
    difference[:, :2, :2] = 0
    assert difference.max() < np.exp(-80)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_window_attention_survives_large_scores(policy):
    layer = WindowAttention(1, (2, 2), (1, 1), dtype=policy)
    layer(keras.Input((4, 4, 24)))
    assert layer.relative_position.dtype == "float32"
    x = keras.ops.convert_to_tensor(np.full((1, 4, 4, 24), 20, "float32"), layer.compute_dtype)
    np.testing.assert_allclose(to_numpy(call(layer, x)), 20, rtol=1e-2)


@few
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    window=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    shift=st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
def test_shifting_comes_undone(size, window, shift):
    x = RNG.normal(size=(2, *size, 3)).astype("float32")
    shifted = WindowShift(window, shift)(keras.ops.convert_to_tensor(x))
    assert all(side % w == 0 for side, w in zip(shifted.shape[1:3], window, strict=True))
    rolled = np.roll(x, (-shift[0], -shift[1]), axis=(1, 2))
    np.testing.assert_array_equal(to_numpy(shifted)[:, : size[0], : size[1]], rolled)
    assert np.abs(to_numpy(shifted)).sum() == pytest.approx(np.abs(x).sum(), rel=1e-5)
    np.testing.assert_array_equal(to_numpy(WindowUnshift(size, shift)(shifted)), x)


def test_a_map_of_parts_of_windows_is_refused():
    with pytest.raises(ValueError, match=r"whole windows.*Received: input_shape=\(None, 5, 4, 6\)"):
        WindowAttention(1, (2, 2))(keras.Input((5, 4, 6)))


def test_merging_stacks_neighbours_rows_first():
    x = RNG.normal(size=(2, 4, 6, 3)).astype("float32")
    parts = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
    np.testing.assert_array_equal(to_numpy(PatchMerging()(x)), np.concatenate(parts, axis=-1))


def test_merging_fills_odd_sides_with_zeros():
    x = RNG.normal(size=(1, 3, 5, 2)).astype("float32")
    padded = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
    np.testing.assert_array_equal(to_numpy(PatchMerging()(x)), to_numpy(PatchMerging()(padded)))


def test_unfolded_sets_hold_one_pixel_of_every_patch():
    x = RNG.normal(size=(2, 4, 6, 3)).astype("float32")
    sets = to_numpy(UnfoldPatches(2)(keras.ops.convert_to_tensor(x)))
    assert sets.shape == (2, 4, 6, 3)
    for row in range(2):
        for column in range(2):
            expected = x[:, row::2, column::2].reshape(2, 6, 3)
            np.testing.assert_array_equal(sets[:, 2 * row + column], expected)


@few
@given(rows=st.integers(1, 4), columns=st.integers(1, 4), patch=st.integers(1, 3))
def test_folding_undoes_unfolding_of_whole_patches(rows, columns, patch):
    size = (rows * patch, columns * patch)
    x = RNG.normal(size=(2, *size, 3)).astype("float32")
    sets = UnfoldPatches(patch)(keras.ops.convert_to_tensor(x))
    np.testing.assert_array_equal(to_numpy(FoldPatches(size, patch)(sets)), x)


@pytest.mark.parametrize("size", [(5, 7), (1, 3), (9, 4)])
def test_maps_of_parts_of_patches_are_stretched_as_pytorch_does(size):
    torch = pytest.importorskip("torch")

    def stretched(maps, size):
        return torch.nn.functional.interpolate(maps, size, mode="bilinear", align_corners=False)

    x = RNG.normal(size=(2, *size, 3)).astype("float32")
    even = tuple(side + side % 2 for side in size)
    larger = stretched(torch.from_numpy(x.transpose(0, 3, 1, 2)), even)
    sets = UnfoldPatches(2)(keras.ops.convert_to_tensor(x))
    expected = larger.numpy().transpose(0, 2, 3, 1)
    same = to_numpy(FoldPatches(even, 2)(sets))
    np.testing.assert_allclose(same, expected, atol=1e-5)
    back = stretched(larger, size).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(to_numpy(FoldPatches(size, 2)(sets)), back, atol=1e-5)
