"""EfficientNet and its Lite form: one network of `MobileNetConfig` and a rule that scales it."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from keras_vitcnn.models.mobilenet import MobileNetConfig
from keras_vitcnn.models.registry import variant

SOURCE = "arXiv:1905.11946, tensorflow/tpu"
PYTORCH = "arXiv:1905.11946, padded as PyTorch pads, timm"

B0 = MobileNetConfig(
    kernels=(3, 3, 5, 3, 5, 5, 3),
    depths=(1, 2, 2, 3, 3, 4, 1),
    widths=(16, 24, 40, 80, 112, 192, 320),
    squeeze=0.25,
    activation="silu",
    norm_epsilon=1e-3,
    norm_momentum=0.99,
    padding="same",
)
# For fixed-point hardware: no squeeze-and-excitation, and an activation with a bounded range.
LITE0 = replace(B0, squeeze=None, activation="relu6")


def rounded(width: float) -> int:
    """The nearest multiple of 8 that is not below nine tenths of `width`."""
    nearest = max(8, int(width + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * width else nearest


def efficientnet(width: float, depth: float, image_size: int) -> MobileNetConfig:
    """B0 with `width` times its channels and `depth` times its blocks (compound scaling)."""
    return replace(
        B0,
        widths=tuple(rounded(width * channels) for channels in B0.widths),
        depths=tuple(ceil(depth * blocks) for blocks in B0.depths),
        stem_width=rounded(width * B0.stem_width),
        head_width=rounded(width * B0.head_width),
        image_size=image_size,
    )


def lite(width: float, depth: float, image_size: int) -> MobileNetConfig:
    """Lite0 scaled likewise, but for its stem, its head and the depth of its outer stages."""
    scaled = efficientnet(width, depth, image_size)
    return replace(
        LITE0,
        widths=scaled.widths,
        depths=(LITE0.depths[0], *scaled.depths[1:-1], LITE0.depths[-1]),
        image_size=image_size,
    )


def symmetric(config: MobileNetConfig, image_size: int | None = None) -> MobileNetConfig:
    """The dialect of checkpoints trained in PyTorch, some on other image sizes."""
    return replace(
        config,
        padding="symmetric",
        norm_epsilon=1e-5,
        norm_momentum=0.9,
        image_size=image_size or config.image_size,
    )


B1, B2 = efficientnet(1.0, 1.1, 240), efficientnet(1.1, 1.2, 260)
B3, B4 = efficientnet(1.2, 1.4, 300), efficientnet(1.4, 1.8, 380)
B5, B6 = efficientnet(1.6, 2.2, 456), efficientnet(1.8, 2.6, 528)
B7 = efficientnet(2.0, 3.1, 600)
LITE1, LITE2 = lite(1.0, 1.1, 240), lite(1.1, 1.2, 260)
LITE3, LITE4 = lite(1.2, 1.4, 280), lite(1.4, 1.8, 300)


EfficientNetB0 = variant("EfficientNetB0", B0, SOURCE, timm="tf_efficientnet_b0")
EfficientNetB1 = variant("EfficientNetB1", B1, SOURCE, timm="tf_efficientnet_b1")
EfficientNetB2 = variant("EfficientNetB2", B2, SOURCE, timm="tf_efficientnet_b2")
EfficientNetB3 = variant("EfficientNetB3", B3, SOURCE, timm="tf_efficientnet_b3")
EfficientNetB4 = variant("EfficientNetB4", B4, SOURCE, timm="tf_efficientnet_b4")
EfficientNetB5 = variant("EfficientNetB5", B5, SOURCE, timm="tf_efficientnet_b5")
EfficientNetB6 = variant("EfficientNetB6", B6, SOURCE, timm="tf_efficientnet_b6")
EfficientNetB7 = variant("EfficientNetB7", B7, SOURCE, timm="tf_efficientnet_b7")

EfficientNetB0Symmetric = variant(
    "EfficientNetB0Symmetric", symmetric(B0), PYTORCH, timm="efficientnet_b0"
)
EfficientNetB1Symmetric = variant(
    "EfficientNetB1Symmetric", symmetric(B1), PYTORCH, timm="efficientnet_b1"
)
EfficientNetB2Symmetric = variant(
    "EfficientNetB2Symmetric", symmetric(B2, 256), PYTORCH, timm="efficientnet_b2"
)
EfficientNetB3Symmetric = variant(
    "EfficientNetB3Symmetric", symmetric(B3, 288), PYTORCH, timm="efficientnet_b3"
)
EfficientNetB4Symmetric = variant(
    "EfficientNetB4Symmetric", symmetric(B4, 320), PYTORCH, timm="efficientnet_b4"
)
EfficientNetB5Symmetric = variant(
    "EfficientNetB5Symmetric", symmetric(B5, 448), PYTORCH, timm="efficientnet_b5"
)
EfficientNetB6Symmetric = variant(
    "EfficientNetB6Symmetric", symmetric(B6), PYTORCH, timm="efficientnet_b6"
)
EfficientNetB7Symmetric = variant(
    "EfficientNetB7Symmetric", symmetric(B7), PYTORCH, timm="efficientnet_b7"
)

EfficientNetLite0 = variant("EfficientNetLite0", LITE0, SOURCE, timm="tf_efficientnet_lite0")
EfficientNetLite1 = variant("EfficientNetLite1", LITE1, SOURCE, timm="tf_efficientnet_lite1")
EfficientNetLite2 = variant("EfficientNetLite2", LITE2, SOURCE, timm="tf_efficientnet_lite2")
EfficientNetLite3 = variant("EfficientNetLite3", LITE3, SOURCE, timm="tf_efficientnet_lite3")
EfficientNetLite4 = variant("EfficientNetLite4", LITE4, SOURCE, timm="tf_efficientnet_lite4")

EfficientNetLite0Symmetric = variant(
    "EfficientNetLite0Symmetric", symmetric(LITE0), PYTORCH, timm="efficientnet_lite0"
)
EfficientNetLite1Symmetric = variant(
    "EfficientNetLite1Symmetric", symmetric(LITE1), PYTORCH, timm="efficientnet_lite1"
)
EfficientNetLite2Symmetric = variant(
    "EfficientNetLite2Symmetric", symmetric(LITE2), PYTORCH, timm="efficientnet_lite2"
)
EfficientNetLite3Symmetric = variant(
    "EfficientNetLite3Symmetric", symmetric(LITE3), PYTORCH, timm="efficientnet_lite3"
)
EfficientNetLite4Symmetric = variant(
    "EfficientNetLite4Symmetric", symmetric(LITE4), PYTORCH, timm="efficientnet_lite4"
)
