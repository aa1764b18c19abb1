"""The pre-norm transformer block, with ordinary or with gated positional attention."""

from __future__ import annotations

from typing import Any

import keras

from keras_vitcnn.blocks.parts import residual_sum
from keras_vitcnn.config import TransformerConfig
from keras_vitcnn.layers import GatedPositionalSelfAttention, HostNormal, MultiHeadSelfAttention


def transformer_block(
    x: Any, cfg: TransformerConfig, rate: float, name: str, grid: tuple[int, int] | None = None
) -> Any:
    """x + attention(norm(x)), then x + mlp(norm(x)): (b, n, width) both ways.

    Args:
        rate: drop-path rate of both branches.
        grid: (rows, columns) of the tokens for gated positional attention, `None` for ordinary.
    """
    y = token_norm(x, cfg, f"{name}_norm1")
    y = self_attention(y, cfg, name) if grid is None else gated_attention(y, cfg, name, grid)
    x = residual_sum(x, y, rate, name, cfg.layer_scale, "1")
    y = token_norm(x, cfg, f"{name}_norm2")
    y = dense(y, cfg.width * cfg.mlp_ratio, f"{name}_fc1", activation="gelu")
    y = dense(y, cfg.width, f"{name}_fc2")
    return residual_sum(x, y, rate, name, cfg.layer_scale, "2")


def self_attention(x: Any, cfg: TransformerConfig, name: str) -> Any:
    """Multi-head self-attention between its two projections."""
    x = dense(x, 3 * cfg.width, f"{name}_qkv", use_bias=cfg.qkv_bias)
    x = MultiHeadSelfAttention(cfg.num_heads, name=f"{name}_attn")(x)
    return dense(x, cfg.width, f"{name}_proj")


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


def token_norm(x: Any, cfg: TransformerConfig, name: str) -> Any:
    """Layer normalization over a token's channels."""
    return keras.layers.LayerNormalization(epsilon=cfg.norm_epsilon, name=name)(x)


def dense(x: Any, width: int, name: str, **options: Any) -> Any:
    """A linear map of every token, started as DeiT's are."""
    options = {"kernel_initializer": HostNormal()} | options
    return keras.layers.Dense(width, name=name, **options)(x)
