"""Resizing of learned grids (position embeddings, relative-position tables) and of maps."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops


def resize_grid(grid: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a learned grid as timm does: bicubic (a = -0.5), antialiased when it shrinks.

    Args:
        grid: (rows, columns, channels).
        size: new (rows, columns).

    Returns:
        (*size, channels), float32; equal to PyTorch's antialiased bicubic `interpolate`.
    """
    rows = _weights(grid.shape[0], size[0])
    columns = _weights(grid.shape[1], size[1])
    return np.einsum("ih,jw,hwc->ijc", rows, columns, grid.astype(np.float64)).astype(np.float32)


def resize_patch_kernel(kernel: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a kernel that cuts patches, so that patches resized with it give the same tokens.

    The pseudo-inverse of the resize (bicubic, antialiased when it shrinks) is applied to the kernel
    instead of the resize to the image; where patches grow, that is exact (arXiv:2212.08013,
    section 3.4).

    Args:
        kernel: (rows, columns, channels, filters).
        size: new (rows, columns).

    Returns:
        (*size, channels, filters), float32.
    """
    rows = np.linalg.pinv(_weights(kernel.shape[0], size[0]))
    columns = np.linalg.pinv(_weights(kernel.shape[1], size[1]))
    resized = np.einsum("ih,jw,ijcf->hwcf", rows, columns, kernel.astype(np.float64))
    return resized.astype(np.float32)


def _weights(old: int, new: int) -> np.ndarray:
    """(new, old) interpolation matrix; pixel centres lie at half-integers, borders renormalise."""
    scale = old / new
    support = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale
    distances = np.abs(np.arange(old) + 0.5 - centres[:, None]) / support
    near = 1.5 * distances**3 - 2.5 * distances**2 + 1
    far = -0.5 * distances**3 + 2.5 * distances**2 - 4 * distances + 2
    weights = np.where(distances < 1, near, np.where(distances < 2, far, 0.0))
    return weights / weights.sum(axis=1, keepdims=True)


def bilinear_matrix(old: int, new: int) -> np.ndarray:
    """(new, old) linear interpolation, float32; pixel centres lie at half-integers.

    As PyTorch's `interpolate(mode="bilinear", align_corners=False)`, not antialiased.
    """
    centres = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.maximum(1 - np.abs(np.arange(old) - centres[:, None]), 0).astype(np.float32)


def resize_bilinear(x: Any, size: tuple[int, int]) -> Any:
    """A map (b, h, w, c) of known size resized by `bilinear_matrix`: the same on every backend."""
    if size[0] != x.shape[1]:
        weights = ops.convert_to_tensor(bilinear_matrix(x.shape[1], size[0]), x.dtype)
        x = ops.einsum("ih,bhwc->biwc", weights, x)
    if size[1] != x.shape[2]:
        weights = ops.convert_to_tensor(bilinear_matrix(x.shape[2], size[1]), x.dtype)
        x = ops.einsum("jw,bhwc->bhjc", weights, x)
    return x
