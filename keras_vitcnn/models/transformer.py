"""The Transformer trunk: stem, tokens, blocks, class token (see `TransformerConfig`)."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras

from keras_vitcnn.blocks import drop_path_rates, recomputed, tokens_stem, transformer_block
from keras_vitcnn.blocks.transformer import gated_attention, self_attention, token_norm
from keras_vitcnn.config import TransformerConfig
from keras_vitcnn.layers import ClassToken, Dense, HostNormal, PositionEmbedding
from keras_vitcnn.models import trunk
from keras_vitcnn.models.convnet import stages


def encoder(
    x: Any, cfg: TransformerConfig, drop_path_rate: float = 0.0, remat: bool = False
) -> Any:
    """Image (b, h, w, c) -> normalised tokens (b, prefix + patches, width), prefix first."""
    if cfg.backbone:
        x = stages(x, cfg.backbone, remat=remat)
    grid = token_grid(cfg, x.shape[1], x.shape[2])
    x = tokens_stem(x, cfg)

    if not cfg.class_token_position:  # patches alone have positions
        x = PositionEmbedding(grid, name="pos_embed")(x)
    if cfg.class_token_block == 0:
        x = _join(x, cfg)
    if cfg.class_token_position:
        x = PositionEmbedding(grid, prefix_tokens=_prefix(cfg), name="pos_embed")(x)

    rates = drop_path_rates(drop_path_rate, cfg.depth, cfg.drop_path_schedule)
    for index, rate in enumerate(rates):
        if index and index == cfg.class_token_block:
            x = _join(x, cfg)
        name = f"block{index}"
        local = index < cfg.local_blocks
        attention = partial(gated_attention, grid=grid) if local else self_attention
        block = partial(transformer_block, cfg=cfg, rate=rate, name=name, attention=attention)
        x = recomputed(block, x, name) if remat else block(x)
    return token_norm(x, cfg, "norm")


def token_grid(cfg: TransformerConfig, height: int, width: int) -> tuple[int, int]:
    """(rows, columns) of the tokens that a map of `height` x `width` becomes."""
    for stride in cfg.stem_strides:
        height, width = -(-height // stride), -(-width // stride)
    return height // cfg.patch_size, width // cfg.patch_size


def _prefix(cfg: TransformerConfig) -> int:
    return 2 if cfg.distillation_token else 1


def _join(x: Any, cfg: TransformerConfig) -> Any:
    if cfg.distillation_token:
        x = ClassToken(name="dist_token")(x)
    return ClassToken(name="cls_token")(x)


@trunk.features.register
def _(config: TransformerConfig, x: Any, *, drop_path_rate: float, remat: bool) -> Any:
    return encoder(x, config, drop_path_rate, remat)


@trunk.pooled.register
def _(config: TransformerConfig, x: Any, pooling: str) -> Any:
    if pooling == "token":
        return x[:, 0]
    if pooling not in ("avg", "max"):
        raise ValueError(
            "`pooling` must be None, 'token' (the class token), 'avg' or 'max' (over the patches). "
            f"Received: pooling={pooling!r}"
        )
    patches = x[:, _prefix(config) :]
    layer = {"avg": keras.layers.GlobalAveragePooling1D, "max": keras.layers.GlobalMaxPooling1D}
    return layer[pooling](data_format="channels_last", name="pool")(patches)


@trunk.classified.register
def _(config: TransformerConfig, x: Any, classes: int, dropout_rate: float) -> Any:
    def head(token: Any, name: str) -> Any:
        token = keras.layers.Dropout(dropout_rate, name=f"{name}_dropout")(token)
        layer = Dense(classes, kernel_initializer=HostNormal(), name=name)
        return layer(token)

    logits = head(x[:, 0], "head")
    if not config.distillation_token:
        return logits
    # Both heads are layers of the graph, so that a distillation loss can reach each of them.
    return keras.layers.Average(name="head_mean")([logits, head(x[:, 1], "head_dist")])


@trunk.check_image.register
def _(config: TransformerConfig, height: int | None, width: int | None) -> None:
    stride = config.total_stride
    if any(side is None or side < stride or side % stride for side in (height, width)):
        raise ValueError(
            f"`input_shape` must have a height and a width that are multiples of {stride} px, the "
            f"side of a token. Received: height={height}, width={width}"
        )
