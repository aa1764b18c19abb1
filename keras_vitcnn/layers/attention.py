from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vitcnn.layers._register import register
from keras_vitcnn.system import device


@register
class MultiHeadSelfAttention(keras.layers.Layer):
    """Softmax attention over a fused projection: (b, n, 3 * d) -> (b, n, d), without weights.

    Of an input (b, s, n, 3 * d) each of the s sets of tokens attends within itself.

    The channels of the input are queries, keys and values one after another, each split into
    heads. The projections around it are plain `Dense` layers (`..._qkv`, `..._proj`), where LoRA,
    quantization and weight loading find them.

    Args:
        num_heads: divides `d`.

    Source: arXiv:2010.11929, appendix A.
    """

    def __init__(self, num_heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads

    def call(self, qkv: Any) -> Any:
        y = self._by_heads(qkv) if _products(qkv) else self._by_backend(qkv)
        return ops.reshape(y, (-1, *qkv.shape[1:-1], qkv.shape[-1] // 3))

    def _by_backend(self, qkv: Any) -> Any:
        if _lacks_half_precision(qkv):
            qkv = ops.cast(qkv, "float32")
        head_dim = qkv.shape[-1] // 3 // self.num_heads
        parts = ops.reshape(qkv, (-1, qkv.shape[-2], 3, self.num_heads, head_dim))
        # (b, n, heads, head_dim); the softmax inside runs in float32 on every backend.
        y = ops.dot_product_attention(*ops.unstack(parts, axis=2))
        return ops.cast(y, self.compute_dtype)

    def _by_heads(self, qkv: Any) -> Any:
        query, key, value = heads_first(qkv, 3, self.num_heads)
        return ops.transpose(ops.matmul(attention_weights(query, key), value), (0, 2, 1, 3))

    def attention(self, qkv: Any) -> Any:
        """The attention matrix itself, float32: (b, heads, queries, keys); sets join the batch."""
        query, key, _ = heads_first(ops.cast(qkv, "float32"), 3, self.num_heads)
        return attention_weights(query, key)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return *input_shape[:-1], input_shape[-1] // 3


def heads_first(x: Any, count: int, num_heads: int) -> list[Any]:
    """(b, n, count * d) as `count` tensors (b, heads, n, head_dim), laid out in one walk."""
    parts = ops.reshape(x, (-1, x.shape[-2], count, num_heads, x.shape[-1] // count // num_heads))
    return ops.unstack(ops.transpose(parts, (2, 0, 3, 1, 4)))


def attention_weights(query: Any, key: Any) -> Any:
    """softmax(q k^T / sqrt(head_dim)), float32: of (b, heads, n, head_dim) each."""
    scores = ops.matmul(query * query.shape[-1] ** -0.5, ops.transpose(key, (0, 1, 3, 2)))
    return softmax(scores)


def softmax(scores: Any) -> Any:
    """Over the last axis, the keys, in float32; a map of a single token has one key."""
    scores = ops.cast(scores, "float32")
    if scores.shape[-1] == 1:  # Keras' warns, as if a sigmoid had been meant
        return scores * 0 + 1
    return ops.softmax(scores, axis=-1)


def _products(qkv: Any) -> bool:
    """Whether attention is two batched products; elsewhere there are kernels for the whole.

    Keras lays queries, keys and values out apart, and scales the scores, which are more numbers.
    """
    return keras.backend.backend() != "torch" and qkv.dtype == np.float32 and device() == "cpu"


def _lacks_half_precision(x: Any) -> bool:
    """XLA on the CPU has no float16 product that adds up in float32, which JAX asks it for."""
    if keras.backend.backend() != "jax" or keras.backend.standardize_dtype(x.dtype) != "float16":
        return False
    return device() == "cpu"
