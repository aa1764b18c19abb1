"""Linear maps with what follows them, in the form that each backend computes in one pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_vitcnn.ops.activation import gelu
from keras_vitcnn.ops.lowerings import chosen

FEWEST_ROWS = 128  # below, what a convolution does to its kernel first takes longer than it saves


def linear(
    x: Any,
    kernel: Any,
    bias: Any = None,
    activation: Callable[[Any], Any] | None = None,
    training: bool | None = False,
) -> Any:
    """activation(x @ kernel + bias).

    Keras adds the bias to the finished product and applies the activation to that: two to six more
    walks over the largest tensors of a model. PyTorch adds the bias within the product; where MKL
    leaves half the width of AMD's processors unused, oneDNN's convolution of single positions does
    not. TensorFlow joins all three (exact GELU included) where the product is one of matrices and
    nothing is reshaped in between. XLA joins them by itself, but its gradient of a product takes
    half the time where that is one of matrices.

    Args:
        x: (..., c).
        kernel: (c, units).
        bias: (units,), or `None`.
        activation: of tensors of any rank, along the last axis if along one.
        training: whether a gradient is wanted (`gelu`).
    """
    backend = keras.backend.backend()
    flat = backend != "torch" and len(x.shape) > 2
    if flat:
        sides = x.shape[1:-1]
        leading = ops.shape(x)[:-1] if None in sides else (-1, *sides)
        x = ops.reshape(x, (-1, x.shape[-1]))
    product = _of_torch if backend == "torch" else _of_matrices
    y = product(x, kernel, bias)
    if activation is keras.activations.gelu:
        y = gelu(y, training)
    elif activation is not None:
        y = activation(y)
    return ops.reshape(y, (*leading, y.shape[-1])) if flat else y


def _of_torch(x: Any, kernel: Any, bias: Any) -> Any:
    import torch
    import torch.nn.functional as F

    kernel = ops.convert_to_tensor(kernel)
    bias = None if bias is None else ops.convert_to_tensor(bias)
    if chosen("linear") == "convolution" and x.device.type == "cpu" and x.dtype == torch.float32:
        exporting = torch.compiler.is_exporting() or torch.jit.is_tracing()
        if not exporting and x.shape[:-1].numel() >= FEWEST_ROWS:
            # One image of one row, whose memory is channels last. Transposed, since such a
            # convolution's kernel is (c, units, 1, 1): the others' would have to be copied. The
            # dilation means nothing here, but without it one thread alone is given to MKL again.
            image = x.reshape(1, 1, -1, x.shape[-1]).permute(0, 3, 1, 2)
            # A bias is apart where it may be trained: oneDNN takes longer for its gradient.
            apart = bias is not None and torch.is_grad_enabled()
            within = None if apart else bias
            y = F.conv_transpose2d(image, kernel[:, :, None, None], within, dilation=(2, 1))
            if apart:
                y.add_(bias[:, None, None])
            return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)
    if len(x.shape) > 2 and not x.is_contiguous():
        # Of what can't be seen as a matrix PyTorch makes batched products, ten times as slow.
        return F.linear(x.reshape(-1, x.shape[-1]), kernel.T, bias).reshape(*x.shape[:-1], -1)
    return F.linear(x, kernel.T, bias)


def _of_matrices(x: Any, kernel: Any, bias: Any) -> Any:
    return add_bias(ops.matmul(x, kernel), bias)


def add_bias(y: Any, bias: Any = None) -> Any:
    """y + bias along the last axis, on TensorFlow as the operation that its optimiser knows."""
    if bias is None:
        return y
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.nn.bias_add(y, ops.convert_to_tensor(bias))
    return ops.add(y, bias)
