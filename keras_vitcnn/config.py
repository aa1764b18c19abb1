"""The two design spaces of the library as data: every hyper-parameter of a model lives here.

A ResNet and a ConvNeXt are two points of `ConvNetConfig`; a ViT, a ViT_C, a hybrid and a ConViT are
points of `TransformerConfig`. A step between two designs is `dataclasses.replace(config, ...)`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Self

NORM_EPSILON = {"batch": 1e-5, "split": 1e-5, "group": 1e-5, "layer": 1e-6}


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise `ValueError` unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {list(choices)}. Received: {name}={value!r}")


def check_positive(**values: Any) -> None:
    """Raise `ValueError` unless every value (or every entry of it) is a positive integer."""
    for name, value in values.items():
        entries = value if isinstance(value, tuple) else (value,)
        if not entries or any(not isinstance(v, int) or v < 1 for v in entries):
            raise ValueError(f"`{name}` must be positive integers. Received: {name}={value!r}")


def check_positive_or_none(**values: float | None) -> None:
    """Raise `ValueError` unless every value is a positive number or `None`."""
    for name, value in values.items():
        if value is not None and not value > 0:
            raise ValueError(f"`{name}` must be positive or None. Received: {name}={value!r}")


@dataclass(frozen=True)
class Pyramid(ABC):
    """The base of all configs of designs whose maps shrink from stage to stage.

    It knows what strides do to the side of an image. A family's config has these as fields, and
    overrides what is different with it: here every stride is padded, so that sides round up.
    """

    @property
    @abstractmethod
    def depths(self) -> tuple[int, ...]:
        """Blocks per stage."""

    @property
    @abstractmethod
    def stem_stride(self) -> int:
        """Of the stem's first convolution."""

    @property
    def pool(self) -> bool:
        """Whether a pooling of stride 2 follows in the stem."""
        return False

    @property
    def strides(self) -> tuple[int, ...]:
        """At the entrance of each stage."""
        return (1,) + (2,) * (len(self.depths) - 1)

    @property
    def stem_reduction(self) -> int:
        """Pixels along a side for one position behind the stem."""
        return self.stem_stride * (2 if self.pool else 1)

    @property
    def total_stride(self) -> int:
        """Pixels along a side for one position of the last map."""
        return self.stem_reduction * prod(self.strides)

    def last_side(self, side: int) -> int:
        """Positions along the last map of `side` pixels: 0 if it would be empty."""
        for stride in (self.stem_stride, 2 if self.pool else 1, *self.strides):
            side = -(-side // stride)
        return side

    def with_stem_reduction(self, stride: int) -> Self:
        """The same design on a finer or coarser first map; the pooling goes first."""
        changes: dict[str, Any] = {"stem_stride": stride}
        if self.pool:
            keeps = stride > self.stem_stride and stride % 2 == 0
            changes = {"stem_stride": stride // (2 if keeps else 1), "pool": keeps}
        return replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class ConvNetConfig(Pyramid):
    """A residual ConvNet: stem, stages of equal blocks, pooled classifier.

    The defaults are ResNet-50 as PyTorch has it (arXiv:1512.03385, stride on the 3x3).
    """

    depths: tuple[int, ...] = (3, 4, 6, 3)  # blocks per stage
    widths: tuple[int, ...] = (64, 128, 256, 512)  # narrow side of a stage's blocks
    expansion: int = 4  # wide side / narrow side
    strides: tuple[int, ...] = (1, 2, 2, 2)  # at the entrance of each stage

    # conv7, conv3: one 7x7 or 3x3. deep: three 3x3 of w/2, w/2, w (ResNet-D). tiered: w/4, w/2, w.
    # patch: one convolution whose stride is its kernel. w = stem_width.
    stem: str = "conv7"
    stem_width: int | None = None  # widths[0] unless given
    stem_stride: int = 2  # of the first convolution; a patch stem's patch size
    stem_norm: bool = True
    pool: bool = True  # 3x3 maximum pooling, stride 2, after the stem

    shape: str = "bottleneck"  # narrow in the middle; "inverted" is wide there; "basic" is 3x3, 3x3
    mixer: str = "dense"  # the spatial convolution: over all channels, "grouped" or "depthwise"
    groups: int = 1  # of a grouped mixer
    group_width: int | None = None  # channels of its groups, instead of their number (RegNet)
    mixer_first: bool = False  # an inverted block's mixer before its 1x1 convolutions
    stride_on: str = "mixer"  # the convolution of a block that strides; "first" in ResNet's paper
    kernel: int = 3  # of the mixer
    bias: bool = False  # on every convolution

    norm: str = "batch"  # or "layer", "group", "split" (whiten the input, scale the output)
    norms: str = "every"  # behind every convolution of a block, or "one": behind its mixer
    norm_epsilon: float | None = None  # 1e-5 (batch, group, split) or 1e-6 (layer) unless given
    norm_momentum: float = 0.9  # of the moving averages of batch statistics
    activation: str = "relu"
    # After every norm and the sum; "branch": not after the sum; "one": before the last 1x1 alone.
    activations: str = "every"

    downsample: str = "in_block"  # or "between": norm and convolution between stages, norm at head
    # Where the shape changes: a strided 1x1; "pool": 2x2 average, then 1x1; "none": no sum at all.
    shortcut: str = "conv"
    layer_scale: float | None = None  # initial gain of a residual branch
    response_norm: bool = False  # global response normalization before the last 1x1 (ConvNeXt V2)
    squeeze: float | None = None  # squeeze-and-excitation there: its hidden width / block's input
    head_width: int | None = None  # of a 1x1 convolution between the last stage and the pooling
    head_activation: bool = False  # in its place, an activation alone

    weight_standardization: bool = False
    padding: str = "symmetric"  # PyTorch's; "same" is TensorFlow's, asymmetric at stride 2

    def __post_init__(self) -> None:
        check_choice("stem", self.stem, ("conv7", "conv3", "deep", "tiered", "patch"))
        check_choice("shape", self.shape, ("basic", "bottleneck", "inverted"))
        check_choice("mixer", self.mixer, ("dense", "grouped", "depthwise"))
        check_choice("stride_on", self.stride_on, ("mixer", "first"))
        check_choice("norm", self.norm, tuple(NORM_EPSILON))
        check_choice("norms", self.norms, ("every", "one"))
        check_choice("activation", self.activation, ("relu", "relu6", "gelu", "silu"))
        check_choice("activations", self.activations, ("every", "branch", "one"))
        check_choice("downsample", self.downsample, ("in_block", "between"))
        check_choice("shortcut", self.shortcut, ("conv", "pool", "none"))
        check_choice("padding", self.padding, ("symmetric", "same"))
        check_positive(
            depths=self.depths,
            widths=self.widths,
            strides=self.strides,
            expansion=self.expansion,
            stem_stride=self.stem_stride,
            groups=self.groups,
            kernel=self.kernel,
        )
        check_positive_or_none(
            stem_width=self.stem_width,
            norm_epsilon=self.norm_epsilon,
            layer_scale=self.layer_scale,
            squeeze=self.squeeze,
            head_width=self.head_width,
            group_width=self.group_width,
        )
        if any(width % self.groups for width in self.widths):
            raise ValueError(
                "`groups` must divide every width. Received: "
                f"groups={self.groups}, widths={self.widths}"
            )
        if not len(self.depths) == len(self.widths) == len(self.strides):
            raise ValueError(
                "`depths`, `widths` and `strides` must have one entry per stage. Received: "
                f"depths={self.depths}, widths={self.widths}, strides={self.strides}"
            )
        if self.kernel % 2 == 0:
            raise ValueError(f"`kernel` must be odd. Received: kernel={self.kernel}")
        if self.mixer_first and self.shape != "inverted":
            raise ValueError(
                "`mixer_first` needs shape='inverted'. Received: "
                f"mixer_first=True, shape={self.shape!r}"
            )
        if (self.groups > 1 or self.group_width) and self.mixer != "grouped":
            raise ValueError(
                "`groups` and `group_width` need mixer='grouped'. Received: "
                f"groups={self.groups}, group_width={self.group_width}, mixer={self.mixer!r}"
            )
        if self.groups > 1 and self.group_width:
            raise ValueError(
                "Give `groups` or `group_width`, not both. Received: "
                f"groups={self.groups}, group_width={self.group_width}"
            )
        if self.group_width and any(
            self.mixer_width(stage) % self.group_width for stage in range(len(self.widths))
        ):
            raise ValueError(
                "`group_width` must divide the width of every mixer. Received: "
                f"group_width={self.group_width}, widths={self.widths}"
            )

    @property
    def epsilon(self) -> float:
        """Added to the variance by every norm."""
        return self.norm_epsilon or NORM_EPSILON[self.norm]

    @property
    def first_width(self) -> int:
        """Channels that the stem hands to the first stage."""
        return self.stem_width or self.widths[0]

    def outer_width(self, stage: int) -> int:
        """Channels between the blocks of a stage."""
        wide = self.shape == "bottleneck"
        return self.widths[stage] * (self.expansion if wide else 1)

    def mixer_width(self, stage: int) -> int:
        """Channels on which a stage's spatial convolutions work."""
        wide = self.shape == "inverted" and not self.mixer_first
        return self.widths[stage] * (self.expansion if wide else 1)

    def last_side(self, side: int) -> int:
        """Positions along the last map of `side` pixels: 0 if it would be empty.

        Padded strides round up, kernel-sized ones down.
        """
        down = self.stem == "patch"
        side = side // self.stem_stride if down else -(-side // self.stem_stride)
        side = -(-side // 2) if self.pool else side
        for stride in self.strides:
            side = side // stride if self.downsample == "between" else -(-side // stride)
        return side


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """A columnar Vision Transformer: stem, tokens, pre-norm blocks, class token, classifier.

    The defaults are DeiT-S/16 = ViT-S/16 (arXiv:2010.11929, arXiv:2012.12877).
    """

    width: int = 384  # channels of a token
    depth: int = 12  # blocks
    num_heads: int = 6
    mlp_ratio: int = 4  # hidden channels of the MLP / width

    patch_size: int = 16  # side of a patch on what the stem hands over
    # ViT_C: 3x3 convolutions, batch norm and ReLU before the projection (arXiv:2106.14881).
    stem_widths: tuple[int, ...] = ()
    stem_strides: tuple[int, ...] = ()
    backbone: ConvNetConfig | None = None  # hybrid: a ConvNet whose last map is cut into patches

    class_token_block: int = 0  # the block before which the class token joins (ConViT: 10)
    class_token_position: bool = True  # whether the class token has a position embedding
    distillation_token: bool = False

    local_blocks: int = 0  # leading blocks with gated positional attention (ConViT)
    locality_strength: float | None = 1.0  # of their convolutional start; None: random
    gate_init: float = 1.0
    train_gate: bool = True

    qkv_bias: bool = True
    activation: str = "gelu"  # of the MLP
    layer_scale: float | None = None  # initial gain of both residual branches (DeiT-III)
    norm_epsilon: float = 1e-6
    drop_path_schedule: str = "linear"  # over depth from 0, or "constant" (DeiT-III)

    def __post_init__(self) -> None:
        check_choice("drop_path_schedule", self.drop_path_schedule, ("linear", "constant"))
        check_choice("activation", self.activation, ("gelu", "silu"))
        check_positive(
            width=self.width,
            depth=self.depth,
            num_heads=self.num_heads,
            mlp_ratio=self.mlp_ratio,
            patch_size=self.patch_size,
        )
        check_positive_or_none(layer_scale=self.layer_scale, norm_epsilon=self.norm_epsilon)
        if self.stem_widths or self.stem_strides:
            check_positive(stem_widths=self.stem_widths, stem_strides=self.stem_strides)
        if self.width % self.num_heads:
            raise ValueError(
                "`width` must be a multiple of `num_heads`. Received: "
                f"width={self.width}, num_heads={self.num_heads}"
            )
        if len(self.stem_widths) != len(self.stem_strides):
            raise ValueError(
                "`stem_widths` and `stem_strides` must have the same length. Received: "
                f"stem_widths={self.stem_widths}, stem_strides={self.stem_strides}"
            )
        if self.stem_widths and self.backbone:
            raise ValueError(
                "Give `stem_widths` or `backbone`, not both. "
                f"Received: stem_widths={self.stem_widths}, backbone={self.backbone}"
            )
        if not 0 <= self.local_blocks <= self.class_token_block <= self.depth - 1:
            raise ValueError(
                "Gated positional attention sees patches only, and the class token must join: "
                "0 <= local_blocks <= class_token_block < depth. Received: "
                f"local_blocks={self.local_blocks}, "
                f"class_token_block={self.class_token_block}, depth={self.depth}"
            )
        if self.class_token_block and self.class_token_position:
            raise ValueError(
                "A class token that joins later has no position: set class_token_position=False. "
                f"Received: class_token_block={self.class_token_block}"
            )

    @property
    def total_stride(self) -> int:
        """Pixels along the side of a token."""
        stride = self.patch_size * (self.backbone.total_stride if self.backbone else 1)
        for stem_stride in self.stem_strides:
            stride *= stem_stride
        return stride
