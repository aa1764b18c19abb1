"""Key layouts other than timm's of today: what the official repositories and old ports wrote."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from keras_vitcnn.weights.tensors import Tensor

Rules = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a layout is recognised and renamed.

    Every rule is tried on every key in turn, as `re.sub` does. Where blocks are numbered through
    (`expands` is given), the rules write `blocks.<n>.`, and the model's own names say which stage
    that is.
    """

    name: str
    marker: str  # a key that only this layout has
    rules: Rules
    expands: str = ""  # the key that a block n has if it expands its input
    first_block: int = 0


CONVNEXT_HEAD: Rules = (
    (r"dwconv", "conv_dw"),
    (r"pwconv(\d)", r"mlp.fc\1"),
    (r"grn\.gamma$", "mlp.grn.weight"),
    (r"grn\.beta$", "mlp.grn.bias"),
    (r"^norm\.", "head.norm."),
    (r"^head\.(weight|bias)$", r"head.fc.\1"),
)

LAYOUTS = (
    Layout(
        name="facebookresearch/ConvNeXt",
        marker=r"downsample_layers\.0\.0\.weight",
        rules=(
            (r"^stages\.(\d+)\.(\d+)", r"stages.\1.blocks.\2"),
            (r"^downsample_layers\.0\.", "stem."),
            (r"^downsample_layers\.(\d+)\.", r"stages.\1.downsample."),
            *CONVNEXT_HEAD,
        ),
    ),
    Layout(
        name="facebookresearch/ConvNeXt, isotropic",
        marker=r"blocks\.0\.dwconv\.weight",
        rules=((r"^blocks\.", "stages.0.blocks."), (r"^stem\.", "stem.0."), *CONVNEXT_HEAD),
    ),
    Layout(
        name="facebookresearch/deit, DeiT-III",
        marker=r"blocks\.0\.gamma_1",
        rules=((r"\.gamma_(\d)$", r".ls\1.gamma"),),
    ),
    Layout(
        name="EfficientNet-PyTorch",
        marker=r"_blocks\.0\._depthwise_conv\.weight",
        expands="_blocks.{}._expand_conv.weight",
        rules=(
            (r"^_conv_stem\.", "conv_stem."),
            (r"^_bn0\.", "bn1."),
            (r"^_conv_head\.", "conv_head."),
            (r"^_bn1\.", "bn2."),
            (r"^_fc\.", "classifier."),
            (r"^_blocks\.(\d+)\._expand_conv\.", r"blocks.\1.conv_pw."),
            (r"^_blocks\.(\d+)\._bn0\.", r"blocks.\1.bn1."),
            (r"^_blocks\.(\d+)\._depthwise_conv\.", r"blocks.\1.conv_dw."),
            (r"^_blocks\.(\d+)\._bn1\.", r"blocks.\1.bn2."),
            (r"^_blocks\.(\d+)\._se_(reduce|expand)\.", r"blocks.\1.se.conv_\2."),
            (r"^_blocks\.(\d+)\._project_conv\.", r"blocks.\1.conv_pwl."),
            (r"^_blocks\.(\d+)\._bn2\.", r"blocks.\1.bn3."),
        ),
    ),
    Layout(
        name="torchvision, MobileNetV2",
        marker=r"features\.1\.conv\.0\.0\.weight",
        first_block=1,  # of `features`; the stem is its entry 0, and a block 1 never expands
        expands="features.{}.conv.3.weight",
        rules=(
            (r"^features\.0\.0\.", "conv_stem."),
            (r"^features\.0\.1\.", "bn1."),
            (r"^features\.18\.0\.", "conv_head."),
            (r"^features\.18\.1\.", "bn2."),
            (r"^classifier\.1\.", "classifier."),
            (r"^features\.1\.conv\.0\.0\.", "blocks.1.conv_dw."),
            (r"^features\.1\.conv\.0\.1\.", "blocks.1.bn2."),
            (r"^features\.1\.conv\.1\.", "blocks.1.conv_pwl."),
            (r"^features\.1\.conv\.2\.", "blocks.1.bn3."),
            (r"^features\.(\d+)\.conv\.0\.0\.", r"blocks.\1.conv_pw."),
            (r"^features\.(\d+)\.conv\.0\.1\.", r"blocks.\1.bn1."),
            (r"^features\.(\d+)\.conv\.1\.0\.", r"blocks.\1.conv_dw."),
            (r"^features\.(\d+)\.conv\.1\.1\.", r"blocks.\1.bn2."),
            (r"^features\.(\d+)\.conv\.2\.", r"blocks.\1.conv_pwl."),
            (r"^features\.(\d+)\.conv\.3\.", r"blocks.\1.bn3."),
        ),
    ),
)

# timm's names in a block that does not expand its input, whose first norm is the depthwise one's.
NOT_EXPANDING = {"bn2": "bn1", "conv_pwl": "conv_pw", "bn3": "bn2"}


def to_timm_layout(tensors: dict[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Rename the tensors of a known layout; those of timm's own come back as they are.

    Args:
        tensors: by the names in the checkpoint.
        names: of the model's weights in timm.
    """
    layout = next((known for known in LAYOUTS if _has(tensors, known.marker)), None)
    if layout is None:
        return tensors
    stages = _blocks_in_order(names)
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, target in layout.rules:
            name = re.sub(pattern, target, name)
        if layout.expands:
            name = _in_its_stage(name, layout, stages, tensors)
        renamed[name] = _flat(tensor)
    return renamed


def _has(tensors: dict[str, Tensor], marker: str) -> bool:
    return any(re.fullmatch(marker, name) for name in tensors)


def _blocks_in_order(names: Iterable[str]) -> list[tuple[int, int]]:
    """(stage, block of it) of every block with two numbers in its name."""
    matches = [re.match(r"blocks\.(\d+)\.(\d+)\.", name) for name in names]
    return sorted({(int(match[1]), int(match[2])) for match in matches if match})


def _in_its_stage(
    name: str, layout: Layout, stages: list[tuple[int, int]], tensors: dict[str, Tensor]
) -> str:
    match = re.match(r"blocks\.(\d+)\.(\w+)(.*)", name)
    if match is None:
        return name
    number, part, rest = int(match[1]), match[2], match[3]
    if layout.expands.format(number) not in tensors:
        part = NOT_EXPANDING.get(part, part)
    if number - layout.first_block >= len(stages):
        return name
    stage, block = stages[number - layout.first_block]
    return f"blocks.{stage}.{block}.{part}{rest}"


def _flat(tensor: Tensor) -> Tensor:
    """The official ConvNeXt V2 keeps its response norms' vectors as (1, 1, 1, channels)."""
    if len(tensor.shape) == 4 and tensor.shape[:3] == (1, 1, 1):
        return Tensor(tensor.shape[3:], lambda: tensor.read().reshape(-1))
    return tensor
