"""ConViT: ten blocks that may stay convolutional, two that see everything."""

from __future__ import annotations

from keras_vitcnn.config import TransformerConfig
from keras_vitcnn.models.registry import variant

SOURCE = "arXiv:2103.10697, facebookresearch/convit"


def convit(num_heads: int, head_dim: int = 48) -> TransformerConfig:
    """ConViT with `num_heads` (a square: the taps of a convolution) of `head_dim` channels."""
    return TransformerConfig(
        width=num_heads * head_dim,
        num_heads=num_heads,
        local_blocks=10,
        class_token_block=10,
        class_token_position=False,
        qkv_bias=False,
    )


ConViTTiny = variant("ConViTTiny", convit(4), SOURCE, timm="convit_tiny")
ConViTSmall = variant("ConViTSmall", convit(9), SOURCE, timm="convit_small")
ConViTBase = variant("ConViTBase", convit(16), SOURCE, timm="convit_base")
ConViTTinyPlus = variant("ConViTTinyPlus", convit(4, 64), SOURCE, alias="convit_tiny_plus")
ConViTSmallPlus = variant("ConViTSmallPlus", convit(9, 64), SOURCE, alias="convit_small_plus")
ConViTBasePlus = variant("ConViTBasePlus", convit(16, 64), SOURCE, alias="convit_base_plus")
