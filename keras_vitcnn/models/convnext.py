"""ConvNeXt, its isotropic form and ConvNeXt V2: the other end of `ConvNetConfig`."""

from __future__ import annotations

from dataclasses import replace

from keras_vitcnn.config import ConvNetConfig
from keras_vitcnn.models.registry import variant

V1 = "arXiv:2201.03545, facebookresearch/ConvNeXt"
SMALL_V1 = "timm's smaller ConvNeXt, arXiv:2201.03545"
V2 = "arXiv:2301.00808, facebookresearch/ConvNeXt-V2"


def convnext(depths: tuple[int, ...], width: int) -> ConvNetConfig:
    """ConvNeXt with `width` channels in its first stage, doubled at each further one."""
    return ConvNetConfig(
        depths=depths,
        widths=(width, 2 * width, 4 * width, 8 * width),
        stem="patch",
        stem_stride=4,
        pool=False,
        shape="inverted",
        mixer="depthwise",
        mixer_first=True,
        kernel=7,
        bias=True,
        norm="layer",
        norms="one",
        activation="gelu",
        activations="one",
        downsample="between",
        layer_scale=1e-6,
    )


def isotropic(depth: int, width: int, layer_scale: float | None = None) -> ConvNetConfig:
    """A ConvNeXt shaped like a ViT: one stage on 16 x 16 patches, no norm behind the stem."""
    return replace(
        convnext((3, 3, 9, 3), 96),
        depths=(depth,),
        widths=(width,),
        strides=(1,),
        stem_stride=16,
        stem_norm=False,
        layer_scale=layer_scale,
    )


def convnext_v2(depths: tuple[int, ...], width: int) -> ConvNetConfig:
    """ConvNeXt with global response normalization in place of layer scale."""
    return replace(convnext(depths, width), layer_scale=None, response_norm=True)


# (name, depths, width), shared by both versions
ATTO, FEMTO, PICO = ((2, 2, 6, 2), 40), ((2, 2, 6, 2), 48), ((2, 2, 6, 2), 64)
NANO, TINY, SMALL = ((2, 2, 8, 2), 80), ((3, 3, 9, 3), 96), ((3, 3, 27, 3), 96)
BASE, LARGE = ((3, 3, 27, 3), 128), ((3, 3, 27, 3), 192)

ConvNeXtAtto = variant("ConvNeXtAtto", convnext(*ATTO), SMALL_V1, timm="convnext_atto")
ConvNeXtFemto = variant("ConvNeXtFemto", convnext(*FEMTO), SMALL_V1, timm="convnext_femto")
ConvNeXtPico = variant("ConvNeXtPico", convnext(*PICO), SMALL_V1, timm="convnext_pico")
ConvNeXtNano = variant("ConvNeXtNano", convnext(*NANO), SMALL_V1, timm="convnext_nano")
ConvNeXtTiny = variant("ConvNeXtTiny", convnext(*TINY), V1, timm="convnext_tiny")
ConvNeXtSmall = variant("ConvNeXtSmall", convnext(*SMALL), V1, timm="convnext_small")
ConvNeXtBase = variant("ConvNeXtBase", convnext(*BASE), V1, timm="convnext_base")
ConvNeXtLarge = variant("ConvNeXtLarge", convnext(*LARGE), V1, timm="convnext_large")
ConvNeXtXLarge = variant("ConvNeXtXLarge", convnext((3, 3, 27, 3), 256), V1, timm="convnext_xlarge")

ConvNeXtIsoSmall = variant(
    "ConvNeXtIsoSmall", isotropic(18, 384), V1, alias="convnext_isotropic_small"
)
ConvNeXtIsoBase = variant(
    "ConvNeXtIsoBase", isotropic(18, 768), V1, alias="convnext_isotropic_base"
)
ConvNeXtIsoLarge = variant(
    "ConvNeXtIsoLarge", isotropic(36, 1024, 1e-6), V1, alias="convnext_isotropic_large"
)

ConvNeXtV2Atto = variant("ConvNeXtV2Atto", convnext_v2(*ATTO), V2, timm="convnextv2_atto")
ConvNeXtV2Femto = variant("ConvNeXtV2Femto", convnext_v2(*FEMTO), V2, timm="convnextv2_femto")
ConvNeXtV2Pico = variant("ConvNeXtV2Pico", convnext_v2(*PICO), V2, timm="convnextv2_pico")
ConvNeXtV2Nano = variant("ConvNeXtV2Nano", convnext_v2(*NANO), V2, timm="convnextv2_nano")
ConvNeXtV2Tiny = variant("ConvNeXtV2Tiny", convnext_v2(*TINY), V2, timm="convnextv2_tiny")
ConvNeXtV2Base = variant("ConvNeXtV2Base", convnext_v2(*BASE), V2, timm="convnextv2_base")
ConvNeXtV2Large = variant("ConvNeXtV2Large", convnext_v2(*LARGE), V2, timm="convnextv2_large")
ConvNeXtV2Huge = variant(
    "ConvNeXtV2Huge", convnext_v2((3, 3, 27, 3), 352), V2, timm="convnextv2_huge"
)
