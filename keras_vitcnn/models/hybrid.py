"""Hybrids: a ViT on the last map of a weight-standardised, group-normalised ResNet."""

from __future__ import annotations

from dataclasses import replace

from keras_vitcnn.config import ConvNetConfig, TransformerConfig
from keras_vitcnn.models.registry import variant
from keras_vitcnn.models.vit import BASE, LARGE, SMALL

SOURCE = "arXiv:2106.10270, google-research/vision_transformer"


def hybrid(encoder: TransformerConfig, depths: tuple[int, ...]) -> TransformerConfig:
    """`encoder` on single positions of a ResNet with one stage per entry of `depths`."""
    backbone = ConvNetConfig(
        depths=depths,
        widths=(64, 128, 256, 512)[: len(depths)],
        strides=(1, 2, 2, 2)[: len(depths)],
        norm="group",
        weight_standardization=True,
        padding="same",
    )
    return replace(encoder, backbone=backbone, patch_size=1)


ViTR26Small32 = variant(
    "ViTR26Small32",
    hybrid(SMALL, (2, 2, 2, 2)),
    SOURCE,
    timm="vit_small_r26_s32_224 vit_small_r26_s32_384",
)
ViTR50Base16 = variant(
    "ViTR50Base16",
    hybrid(BASE, (3, 4, 9)),
    SOURCE,
    timm="vit_base_r50_s16_224 vit_base_r50_s16_384",
)
ViTR50Large32 = variant(
    "ViTR50Large32",
    hybrid(LARGE, (3, 4, 6, 3)),
    SOURCE,
    timm="vit_large_r50_s32_224 vit_large_r50_s32_384",
)
