"""Maximum pooling, channels last, in the lowerings of lowerings.py."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_vitcnn.ops.convolution import same_padding_of
from keras_vitcnn.ops.lowerings import chosen


def max_pool2d(x: Any, size: int, strides: int, padding: str = "valid") -> Any:
    """The largest value of each window; where several are, which of them get its gradient differs.

    Args:
        x: (b, h, w, c), of a floating type.
        size: of the window, along both axes.
        strides: along both axes.
        padding: `"valid"`, or `"same"` as TensorFlow pads; what is padded is never the largest.
    """
    name = chosen("pool")
    if name == "native":
        return ops.max_pool(x, size, strides, padding, data_format="channels_last")
    if padding == "same":
        pads = [(0, 0), *same_padding_of(x, size, strides), (0, 0)]
        x = ops.pad(x, pads, constant_values=float("-inf"))
    if name == "view":
        return _viewed(x, size, strides)
    return _shifted(_shifted(x, size, strides, axis=1), size, strides, axis=2)


def _shifted(x: Any, size: int, strides: int, axis: int) -> Any:
    """The largest of windows along one axis: of shifted slices, which XLA makes one loop."""
    count = (ops.shape(x)[axis] - size) // strides + 1
    largest = None
    for start in range(size):
        positions = slice(start, start + (count - 1) * strides + 1, strides)
        part = x[:, positions] if axis == 1 else x[:, :, positions]
        largest = part if largest is None else ops.maximum(largest, part)
    return largest


def _viewed(x: Any, size: int, strides: int) -> Any:
    """PyTorch's pooling of a view of x; Keras copies x into contiguous memory, which is slower."""
    import torch.nn.functional as F

    return F.max_pool2d(x.permute(0, 3, 1, 2), size, strides).permute(0, 2, 3, 1)
