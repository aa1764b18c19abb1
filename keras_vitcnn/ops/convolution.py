"""Depthwise, grouped and dense 2-D convolution, channels last, in the lowerings of lowerings.py."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vitcnn.ops.linear_map import add_bias, linear
from keras_vitcnn.ops.lowerings import chosen

# Compiling takes time for each convolution of a split, and RegNetZ has hundreds of narrow groups.
MOST_PARTS = 32
# Of smaller kernels a backend's own gradient is the faster one.
SMALLEST_EXCHANGED = 5

Padding = tuple[tuple[int, int], tuple[int, int]]  # zeros before and after, of height and width
NO_PADDING: Padding = ((0, 0), (0, 0))


def symmetric_padding(kernel_size: int) -> tuple[int, int]:
    """Zeros before and after each axis, as PyTorch's `padding=(kernel_size - 1) // 2`."""
    return (kernel_size - 1) // 2, (kernel_size - 1) // 2


def pad2d(x: Any, before: int, after: int, value: float = 0.0) -> Any:
    """Pad both spatial axes of `x` (b, h, w, c)."""
    if not before and not after:
        return x
    return ops.pad(x, [[0, 0], [before, after], [before, after], [0, 0]], constant_values=value)


def ceil_div(a: Any, b: int) -> Any:
    """a / b, rounded up.

    Not as -(-a // b), which OpenVINO rounds towards zero where PyTorch's sizes are traced.
    """
    return (a + b - 1) // b


def same_padding(side: int, kernel_size: int, strides: int) -> tuple[int, int]:
    """Zeros before and after an axis of `side` positions, as TensorFlow's "same"."""
    total = max((ceil_div(side, strides) - 1) * strides + kernel_size - side, 0)
    return total // 2, total - total // 2


def same_padding_of(x: Any, kernel_size: int, strides: int) -> Padding:
    """The same of both spatial axes of `x` (b, h, w, c)."""
    height, width = (same_padding(side, kernel_size, strides) for side in x.shape[1:3])
    return height, width


def _viewed(
    x: Any, kernel: Any, strides: int, pads: Padding, groups: int = 1, bias: Any = None
) -> Any:
    """PyTorch's convolution of a view of x, whose memory stays channels last on both sides of it.

    Keras copies the input and the output into contiguous memory around the same call.
    """
    import torch.nn.functional as F

    (top, bottom), (left, right) = pads
    symmetric = top == bottom and left == right
    if not symmetric:
        x = F.pad(x, (0, 0, left, right, top, bottom))
    y = F.conv2d(
        x.permute(0, 3, 1, 2),
        kernel.permute(3, 2, 0, 1),
        None if bias is None else ops.convert_to_tensor(bias),
        stride=strides,
        padding=(top, left) if symmetric else 0,
        groups=groups,
    )
    return y.permute(0, 2, 3, 1)


def conv2d(x: Any, kernel: Any, strides: int = 1, padding: str = "valid", bias: Any = None) -> Any:
    """Convolve all channels.

    Args:
        x: (b, h, w, c).
        kernel: (k, k, c, filters).
        strides: along both axes.
        padding: `"valid"`, or `"same"` as TensorFlow pads.
        bias: (filters,), added to the result.
    """
    kernel = ops.convert_to_tensor(kernel)
    name, size = chosen("dense"), kernel.shape[0]
    if name == "product" and (size == 1 or (size == strides and padding == "valid")):
        x = x[:, ::strides, ::strides] if size == 1 else _windows(x, size)
        return linear(x, ops.reshape(kernel, (-1, kernel.shape[-1])), bias)
    if name != "native" and keras.backend.backend() == "torch":
        pads = same_padding_of(x, size, strides) if padding == "same" else NO_PADDING
        return _viewed(x, kernel, strides, pads, bias=bias)
    return add_bias(ops.conv(x, kernel, strides, padding, data_format="channels_last"), bias)


def _windows(x: Any, size: int) -> Any:
    """What a kernel sees whose stride is its size: (b, h, w, c) -> (b, h', w', size * size * c)."""
    rows, columns = (side // size for side in ops.shape(x)[1:3])
    x = x[:, : rows * size, : columns * size]
    x = ops.reshape(x, (-1, rows, size, columns, size, x.shape[-1]))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, rows, columns, size * size * x.shape[-1]))


def depthwise_conv2d(
    x: Any,
    kernel: Any,
    strides: int = 1,
    asymmetric: bool = False,
    bias: Any = None,
    training: bool | None = False,
) -> Any:
    """Convolve every channel with its own filter, zero-padded.

    Args:
        x: (b, h, w, c).
        kernel: (k, k, c, 1).
        strides: along both axes.
        asymmetric: pad as TensorFlow's "same" does, where a stride of 2 needs one zero more behind
            an even side than before it; otherwise alike on both sides, as PyTorch.
        bias: (c,), added to the result.
        training: whether a gradient is wanted, which has lowerings of its own.

    Returns:
        (b, ceil(h / strides), ceil(w / strides), c) for odd `k`.
    """
    kernel = ops.convert_to_tensor(kernel)
    if training and _exchanges(x, kernel, strides):
        tensors = (x, kernel) if bias is None else (x, kernel, ops.convert_to_tensor(bias))
        return _with_exchanged_gradient(*tensors)
    return _biased_depthwise(x, kernel, strides, asymmetric, bias)


def _biased_depthwise(x: Any, kernel: Any, strides: int, asymmetric: bool, bias: Any) -> Any:
    if chosen("depthwise") == "view":
        both = symmetric_padding(kernel.shape[0])
        pads = same_padding_of(x, kernel.shape[0], strides) if asymmetric else (both, both)
        kernel = ops.transpose(kernel, (0, 1, 3, 2))
        return _viewed(x, kernel, strides, pads, groups=kernel.shape[-1], bias=bias)
    return add_bias(_depthwise(x, kernel, strides, asymmetric), bias)


def _depthwise(x: Any, kernel: Any, strides: int, asymmetric: bool) -> Any:
    if chosen("depthwise") == "shifted":
        if strides == 1 and not isinstance(x, keras.KerasTensor):
            return _shifted_with_gradient(x, kernel)
        return _shifted_depthwise(x, kernel, strides, asymmetric)
    size = kernel.shape[0]
    if asymmetric or (strides == 1 and size % 2):  # at stride 1 "same" is symmetric
        return ops.depthwise_conv(x, kernel, strides, "same", data_format="channels_last")
    padded = pad2d(x, *symmetric_padding(size))
    return ops.depthwise_conv(padded, kernel, strides, "valid", data_format="channels_last")


def _shifted_depthwise(x: Any, kernel: Any, strides: int, asymmetric: bool = False) -> Any:
    """A sum of k*k shifted slices, each scaled per channel: what XLA fuses into one loop."""
    size = kernel.shape[0]
    if asymmetric:
        x = ops.pad(x, [(0, 0), *same_padding_of(x, size, strides), (0, 0)])
    else:
        x = pad2d(x, *symmetric_padding(size))
    height = (ops.shape(x)[1] - size) // strides + 1
    width = (ops.shape(x)[2] - size) // strides + 1
    total = None
    for row in range(size):
        for column in range(size):
            rows = slice(row, row + (height - 1) * strides + 1, strides)
            columns = slice(column, column + (width - 1) * strides + 1, strides)
            term = x[:, rows, columns, :] * kernel[row, column, :, 0]
            total = term if total is None else total + term
    return total


@ops.custom_gradient
def _shifted_with_gradient(x: Any, kernel: Any) -> Any:
    """The shifted form at stride 1 with its own gradient.

    The gradient in x is the same form with the kernel flipped. The one in the kernel walks over
    the rows of one image after another and adds products along the row into as many sums as there
    are columns, which stay in cache: multiply-adds of whole vectors of channels. Sums over a row,
    taken in place, are what XLA computes one number at a time (2 to 6 times slower); 49 reductions
    over the whole map, as derived automatically, are slower still, and longer to compile.
    """

    def gradient(*args: Any, upstream: Any = None) -> tuple[Any, Any]:
        upstream = args[0] if upstream is None else upstream
        flipped = ops.flip(kernel, axis=(0, 1))
        return _shifted_depthwise(upstream, flipped, 1), _kernel_gradient(x, kernel, upstream)

    return _shifted_depthwise(x, kernel, 1), gradient


def _kernel_gradient(x: Any, kernel: Any, upstream: Any) -> Any:
    size, (batch, height, width) = kernel.shape[0], ops.shape(x)[:3]
    x = ops.cast(pad2d(x, *symmetric_padding(size)), "float32")
    upstream = ops.cast(upstream, "float32")
    channels = x.shape[3]

    def add_row(number: Any, totals: tuple[Any, ...]) -> tuple[Any, ...]:
        start = (number // height, number % height, 0, 0)  # image, row
        strip = ops.slice(x, start, (1, size, width + size - 1, channels))[0]
        dy = ops.slice(upstream, start, (1, 1, width, channels))[0]
        return tuple(
            total + strip[:, column : column + width] * dy for column, total in enumerate(totals)
        )

    zeros = ops.zeros((size, width, channels), "float32")
    totals = ops.fori_loop(0, batch * height, add_row, (zeros,) * size)
    total = ops.stack([ops.sum(total, axis=1) for total in totals], axis=1)
    return ops.cast(ops.expand_dims(total, -1), kernel.dtype)


def _exchanges(x: Any, kernel: Any, strides: int) -> bool:
    """Whether the gradient in a depthwise kernel is a convolution with exchanged roles."""
    size = kernel.shape[0]
    if chosen("depthwise_gradient") != "exchanged" or isinstance(x, keras.KerasTensor):
        return False
    if keras.backend.backend() == "torch":
        import torch

        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return False
    known = strides == 1 and size % 2 == 1 and None not in x.shape[1:]
    single = keras.backend.standardize_dtype(x.dtype) == "float32"
    return known and single and size >= SMALLEST_EXCHANGED


@ops.custom_gradient
def _with_exchanged_gradient(x: Any, kernel: Any, *bias: Any) -> Any:
    """A depthwise convolution at stride 1 whose gradients are depthwise convolutions too.

    The one in x is the same with the kernel flipped. The one in the kernel is that of x with the
    upstream gradient, every channel of every image a channel of its own: oneDNN has a fast kernel
    for that, and none for its own gradient.
    """

    def gradient(*args: Any, upstream: Any = None) -> tuple[Any, ...]:
        upstream = args[0] if upstream is None else upstream
        flipped = ops.flip(kernel, axis=(0, 1))
        return (
            _biased_depthwise(upstream, flipped, 1, False, None),
            _exchanged(x, upstream, kernel.shape[0]),
            *(ops.sum(upstream, axis=(0, 1, 2)) for _ in bias),
        )

    return _biased_depthwise(x, kernel, 1, False, *(bias or (None,))), gradient


def _exchanged(x: Any, upstream: Any, size: int) -> Any:
    """The gradient of a depthwise kernel: (size, size, c, 1)."""
    if keras.backend.backend() == "torch":
        import torch.nn.functional as F

        maps = x.permute(0, 3, 1, 2).reshape(1, -1, *x.shape[1:3])
        kernels = upstream.permute(0, 3, 1, 2).reshape(-1, 1, *x.shape[1:3])
        taps = F.conv2d(maps, kernels, padding=(size - 1) // 2, groups=len(kernels))
        return taps.reshape(len(x), -1, size, size).sum(0).permute(1, 2, 0)[..., None]
    batch, height, width, channels = ops.shape(x)
    x = ops.transpose(pad2d(x, *symmetric_padding(size)), (1, 2, 0, 3))
    x = ops.reshape(x, (1, height + size - 1, width + size - 1, batch * channels))
    upstream = ops.transpose(upstream, (1, 2, 0, 3))
    upstream = ops.reshape(upstream, (height, width, batch * channels, 1))
    taps = ops.depthwise_conv(x, upstream, 1, "valid", data_format="channels_last")
    taps = ops.reshape(taps, (size, size, batch, channels))
    return ops.expand_dims(ops.sum(taps, axis=2), -1)


def grouped_conv2d(x: Any, kernel: Any, groups: int, strides: int = 1, bias: Any = None) -> Any:
    """Convolve `groups` equal slices of the channels separately, zero-padded symmetrically.

    Args:
        x: (b, h, w, c).
        kernel: (k, k, c / groups, filters); its last axis holds the groups one after another.
        groups: divides `c` and `filters`.
        strides: along both axes.
        bias: (filters,), added to the result.
    """
    if chosen("grouped") == "view":
        both = symmetric_padding(kernel.shape[0])
        return _viewed(x, ops.convert_to_tensor(kernel), strides, (both, both), groups, bias)
    return add_bias(_grouped(x, kernel, groups, strides), bias)


def _grouped(x: Any, kernel: Any, groups: int, strides: int) -> Any:
    x = pad2d(x, *symmetric_padding(kernel.shape[0]))
    if chosen("grouped") == "split":
        count = max(part for part in range(1, MOST_PARTS + 1) if groups % part == 0)
        kernels = ops.split(kernel, count, axis=-1)
        if count < groups:
            kernels = [_block_diagonal(part, groups // count) for part in kernels]
        pairs = zip(ops.split(x, count, axis=-1), kernels, strict=True)
        parts = [ops.conv(a, k, strides, "valid", data_format="channels_last") for a, k in pairs]
        return ops.concatenate(parts, axis=-1)
    return ops.conv(x, kernel, strides, "valid", data_format="channels_last")


def _block_diagonal(kernel: Any, groups: int) -> Any:
    """The dense kernel (k, k, c, filters) of a grouped one (k, k, c / groups, filters)."""
    channels, filters = kernel.shape[2] * groups, kernel.shape[3]
    same_group = np.kron(np.eye(groups), np.ones((channels // groups, filters // groups)))
    mask = ops.cast(ops.convert_to_tensor(same_group.astype("float32")), kernel.dtype)
    return ops.tile(kernel, (1, 1, groups, 1)) * mask
