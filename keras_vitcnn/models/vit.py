"""ViT, DeiT and DeiT-III: patches, global attention, a class token."""

from __future__ import annotations

from dataclasses import replace

from keras_vitcnn.config import TransformerConfig
from keras_vitcnn.models.registry import variant

VIT = "arXiv:2010.11929, google-research/vision_transformer"
DEIT = "arXiv:2012.12877, facebookresearch/deit"
DEIT3 = "arXiv:2204.07118, facebookresearch/deit"


def vit(width: int, depth: int, num_heads: int, patch_size: int = 16) -> TransformerConfig:
    """A ViT whose MLPs are four times as wide as its tokens."""
    return TransformerConfig(width=width, depth=depth, num_heads=num_heads, patch_size=patch_size)


def distilled(config: TransformerConfig) -> TransformerConfig:
    """DeiT with a second token and head for a teacher's labels; inference averages both heads."""
    return replace(config, distillation_token=True)


def deit3(config: TransformerConfig) -> TransformerConfig:
    """DeiT-III: layer scale, a class token without position, one drop-path rate for all blocks."""
    return replace(
        config, layer_scale=1e-4, class_token_position=False, drop_path_schedule="constant"
    )


def _timm(pattern: str, sizes: str = "224 384") -> str:
    return " ".join(f"{pattern}_{size}" for size in sizes.split())


TINY, SMALL, BASE = vit(192, 12, 3), vit(384, 12, 6), vit(768, 12, 12)
LARGE, HUGE = vit(1024, 24, 16), vit(1280, 32, 16, 14)

ViTTiny16 = variant("ViTTiny16", TINY, VIT, timm=_timm("vit_tiny_patch16"))
ViTSmall32 = variant(
    "ViTSmall32", replace(SMALL, patch_size=32), VIT, timm=_timm("vit_small_patch32")
)
ViTSmall16 = variant("ViTSmall16", SMALL, VIT, timm=_timm("vit_small_patch16"))
ViTSmall8 = variant(
    "ViTSmall8", replace(SMALL, patch_size=8), VIT, timm=_timm("vit_small_patch8", "224")
)
ViTBase32 = variant("ViTBase32", replace(BASE, patch_size=32), VIT, timm=_timm("vit_base_patch32"))
ViTBase16 = variant("ViTBase16", BASE, VIT, timm=_timm("vit_base_patch16"))
ViTBase8 = variant(
    "ViTBase8", replace(BASE, patch_size=8), VIT, timm=_timm("vit_base_patch8", "224")
)
ViTLarge32 = variant(
    "ViTLarge32", replace(LARGE, patch_size=32), VIT, timm=_timm("vit_large_patch32")
)
ViTLarge16 = variant("ViTLarge16", LARGE, VIT, timm=_timm("vit_large_patch16"))
ViTLarge14 = variant(
    "ViTLarge14", replace(LARGE, patch_size=14), VIT, timm=_timm("vit_large_patch14", "224")
)
ViTHuge14 = variant("ViTHuge14", HUGE, VIT, timm=_timm("vit_huge_patch14", "224"))

DeiTTiny16 = variant("DeiTTiny16", TINY, DEIT, timm=_timm("deit_tiny_patch16", "224"))
DeiTSmall16 = variant("DeiTSmall16", SMALL, DEIT, timm=_timm("deit_small_patch16", "224"))
DeiTBase16 = variant("DeiTBase16", BASE, DEIT, timm=_timm("deit_base_patch16"))
DeiTTiny16Distilled = variant(
    "DeiTTiny16Distilled", distilled(TINY), DEIT, timm=_timm("deit_tiny_distilled_patch16", "224")
)
DeiTSmall16Distilled = variant(
    "DeiTSmall16Distilled",
    distilled(SMALL),
    DEIT,
    timm=_timm("deit_small_distilled_patch16", "224"),
)
DeiTBase16Distilled = variant(
    "DeiTBase16Distilled", distilled(BASE), DEIT, timm=_timm("deit_base_distilled_patch16")
)

DeiT3Small16 = variant("DeiT3Small16", deit3(SMALL), DEIT3, timm=_timm("deit3_small_patch16"))
DeiT3Medium16 = variant(
    "DeiT3Medium16", deit3(vit(512, 12, 8)), DEIT3, timm=_timm("deit3_medium_patch16", "224")
)
DeiT3Base16 = variant("DeiT3Base16", deit3(BASE), DEIT3, timm=_timm("deit3_base_patch16"))
DeiT3Large16 = variant("DeiT3Large16", deit3(LARGE), DEIT3, timm=_timm("deit3_large_patch16"))
DeiT3Huge14 = variant("DeiT3Huge14", deit3(HUGE), DEIT3, timm=_timm("deit3_huge_patch14", "224"))
