from __future__ import annotations

from typing import Any

import keras
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
        query, key, value = self.split(qkv)
        if _lacks_half_precision(qkv):
            query, key, value = (ops.cast(part, "float32") for part in (query, key, value))
        # (b, n, heads, head_dim); the softmax inside runs in float32 on every backend.
        y = ops.dot_product_attention(query, key, value)
        y = ops.reshape(y, (-1, *qkv.shape[1:-1], qkv.shape[-1] // 3))
        return ops.cast(y, self.compute_dtype)

    def split(self, qkv: Any) -> list[Any]:
        """Queries, keys and values, each (b, n, heads, head_dim); sets join the batch."""
        head_dim = qkv.shape[-1] // 3 // self.num_heads
        parts = ops.reshape(qkv, (-1, qkv.shape[-2], 3, self.num_heads, head_dim))
        return [parts[:, :, i] for i in range(3)]

    def attention(self, qkv: Any) -> Any:
        """The attention matrix itself, float32: (b, heads, queries, keys)."""
        query, key, _ = (ops.cast(part, "float32") for part in self.split(qkv))
        return ops.softmax(
            ops.einsum("bqhd,bkhd->bhqk", query * query.shape[-1] ** -0.5, key), axis=-1
        )

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return *input_shape[:-1], input_shape[-1] // 3


def _lacks_half_precision(x: Any) -> bool:
    """XLA on the CPU has no float16 product that adds up in float32, which JAX asks it for."""
    if keras.backend.backend() != "jax" or keras.backend.standardize_dtype(x.dtype) != "float16":
        return False
    return device() == "cpu"
