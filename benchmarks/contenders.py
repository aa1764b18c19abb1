"""Who is measured: eight architectures and one more, as each library has them.

Everything heavy is imported in the process that measures it; see worker.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

OURS = "keras_vitcnn"
APPLICATIONS = "keras.applications"
HUB = "keras-hub"
KIMM = "kimm"
TIMM = "timm"
OPENVINO = "OpenVINO"  # runs timm's model, converted
BACKENDS = ("tensorflow", "jax", "torch")
OTHER_KERAS = (APPLICATIONS, KIMM, HUB)

INFERENCE, TRAINING, START = "inference", "training", "start"

# How a model is run. jit_compile=False and =True on TensorFlow; JAX always compiles; Keras runs
# PyTorch eagerly unless told otherwise. "predictor" is `kv.predictor(model)`, "cores" a step as
# `kv.training.fit(..., distribute="cores")` computes it.
KERAS_WAYS = {"tensorflow": ("graph", "xla"), "jax": ("jit",), "torch": ("eager",)}
TIMM_WAYS = ("eager", "channels last", "torch.compile")


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to run a model; those of one library and backend share a process but for "cores"."""

    library: str
    backend: str  # "openvino" for OpenVINO
    way: str

    def __str__(self) -> str:
        return f"{self.library}, {self.backend}, {self.way}"

    @property
    def process(self) -> tuple[str, str, bool]:
        return self.library, self.backend, self.way == "cores"  # which changes all of TensorFlow


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A model by its name in every library; None where a library lacks it."""

    ours: str
    timm: str
    applications: str | None = None
    kimm: str | None = None
    hub: Callable[[int], Any] | None = None  # image size -> keras.Model
    modes: tuple[str, ...] = field(default=(INFERENCE,))

    def has(self, library: str) -> bool:
        known = {APPLICATIONS: self.applications, KIMM: self.kimm, HUB: self.hub}
        return known.get(library, self.ours) is not None


def _hub_resnet50(side: int) -> Any:
    from keras_hub.models import ResNetBackbone, ResNetImageClassifier

    backbone = ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[3, 4, 6, 3],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="bottleneck_block",
        image_shape=(side, side, 3),
    )
    return ResNetImageClassifier(backbone, num_classes=1000)


def _hub_efficientnet_b0(side: int) -> Any:
    from keras_hub.models import EfficientNetBackbone, EfficientNetImageClassifier

    backbone = EfficientNetBackbone(
        stackwise_width_coefficients=[1.0] * 7,
        stackwise_depth_coefficients=[1.0] * 7,
        stackwise_kernel_sizes=[3, 3, 5, 3, 5, 5, 3],
        stackwise_num_repeats=[1, 2, 2, 3, 3, 4, 1],
        stackwise_input_filters=[32, 16, 24, 40, 80, 112, 192],
        stackwise_output_filters=[16, 24, 40, 80, 112, 192, 320],
        stackwise_expansion_ratios=[1, 6, 6, 6, 6, 6, 6],
        stackwise_squeeze_and_excite_ratios=[0.25] * 7,
        stackwise_strides=[1, 2, 2, 2, 1, 2, 1],
        stackwise_block_types=["v1"] * 7,
        input_shape=(side, side, 3),
    )
    return EfficientNetImageClassifier(backbone, num_classes=1000)


def _hub_vit_small(side: int) -> Any:
    from keras_hub.models import ViTBackbone, ViTImageClassifier

    backbone = ViTBackbone(
        image_shape=(side, side, 3),
        patch_size=16,
        num_layers=12,
        num_heads=6,
        hidden_dim=384,
        mlp_dim=4 * 384,
    )
    return ViTImageClassifier(backbone, num_classes=1000)


def _hub_swin_tiny(side: int) -> Any:
    from keras_hub.models import SwinTransformerBackbone, SwinTransformerImageClassifier

    backbone = SwinTransformerBackbone(
        image_shape=(side, side, 3),
        embed_dim=96,
        depths=[2, 2, 6, 2],
        num_heads=[3, 6, 12, 24],
        window_size=7,
        drop_path=0.0,
    )
    return SwinTransformerImageClassifier(backbone, num_classes=1000)


ARCHITECTURES = {
    "ConvNeXt-T": Architecture(
        ours="ConvNeXtTiny",
        timm="convnext_tiny",
        applications="ConvNeXtTiny",
        kimm="ConvNeXtTiny",
        modes=(INFERENCE, TRAINING, START),
    ),
    "ResNet-50": Architecture(
        ours="ResNet50",
        timm="resnet50",
        applications="ResNet50",
        kimm="ResNet50",
        hub=_hub_resnet50,
    ),
    "EfficientNet-B0": Architecture(
        ours="EfficientNetB0",
        timm="efficientnet_b0",
        applications="EfficientNetB0",
        kimm="EfficientNetB0",
        hub=_hub_efficientnet_b0,
        modes=(INFERENCE, TRAINING),
    ),
    "ViT-S": Architecture(
        ours="ViTSmall16",
        timm="vit_small_patch16_224",
        kimm="VisionTransformerSmall16",
        hub=_hub_vit_small,
        modes=(INFERENCE, TRAINING),
    ),
    "ConViT-S": Architecture(ours="ConViTSmall", timm="convit_small"),
    "Swin-T": Architecture(
        ours="SwinTiny", timm="swin_tiny_patch4_window7_224", hub=_hub_swin_tiny
    ),
    "MobileViT-S": Architecture(ours="MobileViTS", timm="mobilevit_s", kimm="MobileViTS"),
    "RegNetY-4GF": Architecture(ours="RegNetY040", timm="regnety_040", kimm="RegNetY040"),
    "ResNeXt-50": Architecture(ours="ResNeXt50", timm="resnext50_32x4d"),
}


def contenders(architecture: Architecture, mode: str) -> list[Contender]:
    """Everybody who has this architecture and can do this, ours first.

    Of the Keras libraries only those with a goal train and start: what training all of them takes
    does not fit into 24 GB at once.
    """
    libraries = (OURS, *OTHER_KERAS) if mode == INFERENCE else (OURS, APPLICATIONS)
    found = []
    for library in libraries:
        for backend, ways in KERAS_WAYS.items():
            more = {
                (OURS, INFERENCE, backend): ("predictor",),
                (OURS, TRAINING, "tensorflow"): ("cores",),
            }.get((library, mode, backend), ())
            if architecture.has(library):
                found += [
                    Contender(library=library, backend=backend, way=way) for way in (*ways, *more)
                ]
    if mode != START:
        found += [Contender(library=TIMM, backend="torch", way=way) for way in TIMM_WAYS]
    if mode == INFERENCE:
        found.append(Contender(library=OPENVINO, backend="openvino", way="float32"))
    return found
