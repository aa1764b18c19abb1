"""Grids are resized as PyTorch does it (bicubic, antialiased)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_vitcnn.ops import resize_grid

pytestmark = pytest.mark.backend_independent
# PyTorch 2.13 itself is wrong on maps one column wide: 5 x 1 -> 4 x 1 is not 1 x 5 -> 1 x 4 turned.
sides = st.integers(2, 30)


def torch_resized(grid, size):
    torch = pytest.importorskip("torch")
    maps = torch.from_numpy(np.float64(grid)).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(
        maps, size, mode="bicubic", antialias=True, align_corners=False
    )
    return resized[0].permute(1, 2, 0).numpy()


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(old=st.tuples(sides, sides), new=st.tuples(sides, sides), seed=st.integers(0, 9))
def test_equals_pytorch_up_and_down(old, new, seed):
    grid = np.random.default_rng(seed).normal(size=(*old, 3)).astype("float32")
    expected = torch_resized(grid, new)
    actual = resize_grid(grid, new)
    assert actual.shape == (*new, 3)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("grid", [(14, 14), (3, 5), (1, 1)])
def test_equal_size_is_the_identity(grid):
    x = np.random.default_rng(0).normal(size=(*grid, 4)).astype("float32")
    np.testing.assert_array_equal(resize_grid(x, grid), x)


@pytest.mark.parametrize("size", [(24, 24), (7, 9), (2, 1)])
def test_a_constant_stays_constant(size):
    np.testing.assert_allclose(resize_grid(np.full((14, 14, 2), 0.3), size), 0.3, rtol=1e-6)


@pytest.mark.parametrize(("old", "new"), [((5, 1), (4, 1)), ((1, 7), (3, 9)), ((6, 4), (3, 8))])
def test_rows_and_columns_are_treated_alike(old, new):
    grid = np.random.default_rng(0).normal(size=(*old, 2))
    turned = resize_grid(grid.transpose(1, 0, 2), new[::-1])
    np.testing.assert_allclose(turned.transpose(1, 0, 2), resize_grid(grid, new), atol=1e-6)
