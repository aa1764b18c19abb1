"""ViT_P and ViT_C: the patchify stem against a few 3x3 convolutions that cost one block."""

from __future__ import annotations

from dataclasses import replace

from keras_vitcnn.config import TransformerConfig
from keras_vitcnn.models.registry import variant

SOURCE = "arXiv:2106.14881, facebookresearch/pycls"


def vit_p(width: int, depth: int, num_heads: int, mlp_ratio: int) -> TransformerConfig:
    """A ViT with pycls' layer-norm epsilon."""
    return TransformerConfig(
        width=width, depth=depth, num_heads=num_heads, mlp_ratio=mlp_ratio, norm_epsilon=1e-5
    )


def vit_c(
    config: TransformerConfig, stem_widths: tuple[int, ...], stem_strides: tuple[int, ...]
) -> TransformerConfig:
    """A ViT_P with its patchify stem and one block traded for convolutions."""
    return replace(
        config,
        stem_widths=stem_widths,
        stem_strides=stem_strides,
        patch_size=1,
        depth=config.depth - 1,
    )


P1GF, P4GF = vit_p(192, 12, 3, 3), vit_p(384, 12, 6, 3)
P18GF, P36GF = vit_p(768, 12, 12, 4), vit_p(1024, 14, 16, 4)
SMALL_STRIDES = (2, 2, 2, 2)
LARGE_WIDTHS, LARGE_STRIDES = (64, 128, 128, 256, 256, 512), (2, 2, 1, 2, 1, 2)

ViTP1GF = variant("ViTP1GF", P1GF, SOURCE, alias="vit_p_1gf")
ViTP4GF = variant("ViTP4GF", P4GF, SOURCE, alias="vit_p_4gf")
ViTP18GF = variant("ViTP18GF", P18GF, SOURCE, alias="vit_p_18gf")
ViTP36GF = variant("ViTP36GF", P36GF, SOURCE, alias="vit_p_36gf")
ViTC1GF = variant(
    "ViTC1GF", vit_c(P1GF, (24, 48, 96, 192), SMALL_STRIDES), SOURCE, alias="vit_c_1gf"
)
ViTC4GF = variant(
    "ViTC4GF", vit_c(P4GF, (48, 96, 192, 384), SMALL_STRIDES), SOURCE, alias="vit_c_4gf"
)
ViTC18GF = variant(
    "ViTC18GF", vit_c(P18GF, LARGE_WIDTHS, LARGE_STRIDES), SOURCE, alias="vit_c_18gf"
)
ViTC36GF = variant(
    "ViTC36GF", vit_c(P36GF, LARGE_WIDTHS, LARGE_STRIDES), SOURCE, alias="vit_c_36gf"
)
