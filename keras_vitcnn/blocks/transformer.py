"""The pre-norm transformer block: with ordinary, gated positional or windowed attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from keras_vitcnn.blocks.parts import residual_sum
from keras_vitcnn.config import TransformerConfig
from keras_vitcnn.layers import (
    Dense,
    GatedPositionalSelfAttention,
    HostNormal,
    MultiHeadSelfAttention,
    WindowAttention,
    WindowShift,
    WindowUnshift,
)


def self_attention(x: Any, cfg: TransformerConfig, name: str) -> Any:
    """Multi-head self-attention between its two projections."""
    x = dense(x, 3 * cfg.width, f"{name}_qkv", use_bias=cfg.qkv_bias)
    x = MultiHeadSelfAttention(cfg.num_heads, name=f"{name}_attn")(x)
    return dense(x, cfg.width, f"{name}_proj")


def transformer_block(
    x: Any,
    cfg: TransformerConfig,
    rate: float,
    name: str,
    attention: Callable[[Any, TransformerConfig, str], Any] = self_attention,
) -> Any:
    """x + attention(norm(x)), then x + mlp(norm(x)): (b, ..., width) both ways.

    Args:
        rate: drop-path rate of both branches.
        attention: with its projections; `self_attention`, or one of the others below with the
            geometry that it needs filled in.
    """
    y = token_norm(x, cfg, f"{name}_norm1")
    y = attention(y, cfg, name)
    x = residual_sum(x, y, rate, name, cfg.layer_scale, "1")
    y = token_norm(x, cfg, f"{name}_norm2")
    y = dense(y, cfg.width * cfg.mlp_ratio, f"{name}_fc1", activation=cfg.activation)
    y = dense(y, cfg.width, f"{name}_fc2")
    return residual_sum(x, y, rate, name, cfg.layer_scale, "2")


def gated_attention(x: Any, cfg: TransformerConfig, name: str, grid: tuple[int, int]) -> Any:
    """ConViT's attention; with a convolutional start the values begin as the identity."""
    qk = dense(x, 2 * cfg.width, f"{name}_qk", use_bias=cfg.qkv_bias)
    start = {"kernel_initializer": "identity"} if cfg.locality_strength is not None else {}
    value = dense(x, cfg.width, f"{name}_v", use_bias=cfg.qkv_bias, **start)
    x = GatedPositionalSelfAttention(
        cfg.num_heads,
        grid,
        locality_strength=cfg.locality_strength,
        gate_init=cfg.gate_init,
        train_gate=cfg.train_gate,
        name=f"{name}_attn",
    )(qk, value)
    return dense(x, cfg.width, f"{name}_proj")


def window_attention(x: Any, cfg: TransformerConfig, name: str, window: int, shifted: bool) -> Any:
    """Attention inside windows of a map: (b, h, w, width) both ways.

    A window shrinks to the map's side where that is smaller, and such an axis is not shifted.

    Args:
        window: positions along a window's side.
        shifted: whether the windows lie half a window further.
    """
    size = x.shape[1], x.shape[2]
    rows, columns = min(window, size[0]), min(window, size[1])
    shift = (
        rows // 2 if shifted and size[0] > rows else 0,
        columns // 2 if shifted and size[1] > columns else 0,
    )
    moved = any(shift) or size[0] % rows or size[1] % columns
    if moved:
        x = WindowShift((rows, columns), shift, name=f"{name}_shift")(x)
    x = dense(x, 3 * cfg.width, f"{name}_qkv", use_bias=cfg.qkv_bias)
    x = WindowAttention(cfg.num_heads, (rows, columns), shift, name=f"{name}_attn")(x)
    if moved:
        x = WindowUnshift(size, shift, name=f"{name}_unshift")(x)
    return dense(x, cfg.width, f"{name}_proj")


def token_norm(x: Any, cfg: TransformerConfig, name: str) -> Any:
    """Layer normalization over a token's channels."""
    return keras.layers.LayerNormalization(epsilon=cfg.norm_epsilon, name=name)(x)


def dense(x: Any, width: int, name: str, **options: Any) -> Any:
    """A linear map of every token, started as DeiT's are."""
    options = {"kernel_initializer": HostNormal()} | options
    return Dense(width, name=name, **options)(x)
