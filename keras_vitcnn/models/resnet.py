"""ResNet, ResNet-D, ResNeXt and GResNet: one trunk, four points of `ConvNetConfig`."""

from __future__ import annotations

from dataclasses import replace

from keras_vitcnn.config import ConvNetConfig
from keras_vitcnn.models.registry import variant

RESNET = "arXiv:1512.03385, stride on the 3x3 as in torchvision"
RESNET_D = "arXiv:1812.01187, timm"
RESNEXT = "arXiv:1611.05431"

BASIC = ConvNetConfig(shape="basic", expansion=1, depths=(2, 2, 2, 2))
BOTTLENECK = ConvNetConfig()
DEEP = replace(BOTTLENECK, stem="deep", shortcut="pool")


def resnext(depths: tuple[int, ...], groups: int, group_width: int) -> ConvNetConfig:
    """A ResNet whose 3x3 convolutions work on `groups` slices of `group_width` channels."""
    width = groups * group_width
    return replace(
        BOTTLENECK,
        depths=depths,
        widths=(width, 2 * width, 4 * width, 8 * width),
        expansion=256 // width,
        stem_width=64,
        mixer="grouped",
        groups=groups,
    )


ResNet18 = variant("ResNet18", BASIC, RESNET, timm="resnet18")
ResNet34 = variant("ResNet34", replace(BASIC, depths=(3, 4, 6, 3)), RESNET, timm="resnet34")
ResNet50 = variant("ResNet50", BOTTLENECK, RESNET, timm="resnet50")
ResNet101 = variant(
    "ResNet101", replace(BOTTLENECK, depths=(3, 4, 23, 3)), RESNET, timm="resnet101"
)
ResNet152 = variant(
    "ResNet152", replace(BOTTLENECK, depths=(3, 8, 36, 3)), RESNET, timm="resnet152"
)
ResNet200 = variant(
    "ResNet200", replace(BOTTLENECK, depths=(3, 24, 36, 3)), RESNET, timm="resnet200"
)

ResNet50D = variant("ResNet50D", DEEP, RESNET_D, timm="resnet50d")
ResNet101D = variant("ResNet101D", replace(DEEP, depths=(3, 4, 23, 3)), RESNET_D, timm="resnet101d")

ResNeXt50 = variant("ResNeXt50", resnext((3, 4, 6, 3), 32, 4), RESNEXT, timm="resnext50_32x4d")
ResNeXt101 = variant("ResNeXt101", resnext((3, 4, 23, 3), 32, 8), RESNEXT, timm="resnext101_32x8d")

GResNet50 = variant(
    "GResNet50",
    replace(
        BOTTLENECK,
        stem="tiered",
        stem_width=128,
        pool=False,
        strides=(2, 2, 2, 2),
        shortcut="pool",
        activation="silu",
        norm="split",
    ),
    'blog post "Vision Transformers are Overrated"',
    alias="gresnet50",
)
