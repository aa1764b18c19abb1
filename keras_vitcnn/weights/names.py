"""One table per naming scheme of timm: our layer's name on the left, timm's module on the right."""

from __future__ import annotations

import re
from collections.abc import Callable

import keras
import numpy as np

Rule = tuple[str, str | Callable[[re.Match], str]]

BLOCK = r"stage(\d+)_block(\d+)_"
ROLES = {"pw1": "1", "conv": "2", "pw2": "3", "conv1": "1", "conv2": "2"}


def _resnet(match: re.Match) -> str:
    stage, block, role, norm = match.groups()
    return f"layer{int(stage) + 1}.{block}.{'bn' if norm else 'conv'}{ROLES[role]}"


def _backbone(match: re.Match) -> str:
    stage, block, role, norm = match.groups()
    kind = "norm" if norm else "conv"
    return f"patch_embed.backbone.stages.{stage}.blocks.{block}.{kind}{ROLES[role]}"


def _shortcut(offset: int) -> Callable[[re.Match], str]:
    def rename(match: re.Match) -> str:
        stage, block, norm = match.groups()
        return f"layer{int(stage) + 1}.{block}.downsample.{offset + bool(norm)}"

    return rename


def _kind(norm: str | None) -> str:
    return "bn" if norm else "conv"


def _regnet(match: re.Match) -> str:
    return f"s{int(match[1]) + 1}.b{int(match[2]) + 1}"


def _mobilevit(match: re.Match) -> str:
    stage, block, role, norm = match.groups()
    convs = {"pw1": "conv1_1x1", "dw": "conv2_kxk", "pw2": "conv3_1x1"}
    return f"stages.{stage}.{block}.{convs[role]}.{_kind(norm)}"


def _mobilevit_outside(match: re.Match) -> str:
    stage, role, norm = match.groups()
    convs = {"local": "conv_kxk", "out": "conv_proj", "fuse": "conv_fusion"}
    return f"stages.{stage}.1.{convs[role]}.{_kind(norm)}"


RESNET: list[Rule] = [
    (BLOCK + r"(pw1|pw2|conv1|conv2|conv)(_norm)?", _resnet),
    (r"head", "fc"),
]
CONV7: list[Rule] = [(r"stem_conv0", "conv1"), (r"stem_conv0_norm", "bn1")]
DEEP: list[Rule] = [
    (r"stem_conv2_norm", "bn1"),
    (r"stem_conv(\d)", lambda m: f"conv1.{3 * int(m[1])}"),
    (r"stem_conv(\d)_norm", lambda m: f"conv1.{3 * int(m[1]) + 1}"),
]
STRIDED_SHORTCUT: list[Rule] = [(BLOCK + r"shortcut(_norm)?", _shortcut(0))]
POOLED_SHORTCUT: list[Rule] = [(BLOCK + r"shortcut(_norm)?", _shortcut(1))]
CONVNEXT: list[Rule] = [
    (r"stem_conv0", "stem.0"),
    (r"stem_conv0_norm", "stem.1"),
    (r"stage(\d+)_downsample_norm", r"stages.\1.downsample.0"),
    (r"stage(\d+)_downsample", r"stages.\1.downsample.1"),
    (BLOCK + r"dw", r"stages.\1.blocks.\2.conv_dw"),
    (BLOCK + r"dw_norm", r"stages.\1.blocks.\2.norm"),
    (BLOCK + r"pw(\d)", r"stages.\1.blocks.\2.mlp.fc\3"),
    (BLOCK + r"grn", r"stages.\1.blocks.\2.mlp.grn"),
    (BLOCK + r"scale", r"stages.\1.blocks.\2"),
    (r"head_norm", "head.norm"),
    (r"head", "head.fc"),
]
TRANSFORMER: list[Rule] = [
    (r"patch_embed", "patch_embed.proj"),
    (r"(cls_token|dist_token|pos_embed)", r"\1"),
    (r"block(\d+)_(norm\d)", r"blocks.\1.\2"),
    (r"block(\d+)_(qkv|qk|v|proj)", r"blocks.\1.attn.\2"),
    (r"block(\d+)_attn", r"blocks.\1.attn"),
    (r"block(\d+)_scale(\d)", r"blocks.\1.ls\2"),
    (r"block(\d+)_(fc\d)", r"blocks.\1.mlp.\2"),
    (r"(norm|head|head_dist)", r"\1"),
    (r"stem_conv0", "patch_embed.backbone.stem.conv"),
    (r"stem_conv0_norm", "patch_embed.backbone.stem.norm"),
    (BLOCK + r"(pw1|pw2|conv1|conv2|conv)(_norm)?", _backbone),
    (BLOCK + r"shortcut", r"patch_embed.backbone.stages.\1.blocks.\2.downsample.conv"),
    (BLOCK + r"shortcut_norm", r"patch_embed.backbone.stages.\1.blocks.\2.downsample.norm"),
]

MOBILENET: list[Rule] = [
    (r"stem_conv0", "conv_stem"),
    (r"stem_conv0_norm", "bn1"),
    # timm counts the norms of a block, and the first stage's blocks do not widen.
    (r"stage0_block(\d+)_(dw|pw2)", lambda m: f"blocks.0.{m[1]}.conv_{m[2].rstrip('2')}"),
    (r"stage0_block(\d+)_dw_norm", r"blocks.0.\1.bn1"),
    (r"stage0_block(\d+)_pw2_norm", r"blocks.0.\1.bn2"),
    (BLOCK + r"pw1", r"blocks.\1.\2.conv_pw"),
    (BLOCK + r"pw1_norm", r"blocks.\1.\2.bn1"),
    (BLOCK + r"dw", r"blocks.\1.\2.conv_dw"),
    (BLOCK + r"dw_norm", r"blocks.\1.\2.bn2"),
    (BLOCK + r"se_(reduce|expand)", r"blocks.\1.\2.se.conv_\3"),
    (BLOCK + r"pw2", r"blocks.\1.\2.conv_pwl"),
    (BLOCK + r"pw2_norm", r"blocks.\1.\2.bn3"),
    (r"head_conv", "conv_head"),
    (r"head_conv_norm", "bn2"),
    (r"head", "classifier"),
]
REGNET: list[Rule] = [
    (r"stem_conv0", "stem.conv"),
    (r"stem_conv0_norm", "stem.bn"),
    (BLOCK + r"(pw1|conv|pw2)(_norm)?", lambda m: f"{_regnet(m)}.conv{ROLES[m[3]]}.{_kind(m[4])}"),
    (BLOCK + r"shortcut(_norm)?", lambda m: f"{_regnet(m)}.downsample.{_kind(m[3])}"),
    (BLOCK + r"se_reduce", lambda m: f"{_regnet(m)}.se.fc1"),
    (BLOCK + r"se_expand", lambda m: f"{_regnet(m)}.se.fc2"),
    (r"head_conv", "final_conv.conv"),
    (r"head_conv_norm", "final_conv.bn"),
    (r"head", "head.fc"),
]
BIT: list[Rule] = [
    (r"stem_conv0", "stem.conv"),
    (BLOCK + r"(pw1|conv|pw2)", lambda m: f"stages.{m[1]}.blocks.{m[2]}.conv{ROLES[m[3]]}"),
    (BLOCK + r"(pw1|conv|pw2)_norm", lambda m: f"stages.{m[1]}.blocks.{m[2]}.norm{ROLES[m[3]]}"),
    (BLOCK + r"shortcut", r"stages.\1.blocks.\2.downsample.conv"),
    (r"head_norm", "norm"),
    (r"head", "head.fc"),
]
SWIN: list[Rule] = [
    (r"stem_conv0", "patch_embed.proj"),
    (r"stem_conv0_norm", "patch_embed.norm"),
    (r"stage(\d+)_downsample", r"layers.\1.downsample.reduction"),
    (r"stage(\d+)_downsample_norm", r"layers.\1.downsample.norm"),
    (BLOCK + r"(norm\d)", r"layers.\1.blocks.\2.\3"),
    (BLOCK + r"(qkv|proj)", r"layers.\1.blocks.\2.attn.\3"),
    (BLOCK + r"attn", r"layers.\1.blocks.\2.attn"),
    (BLOCK + r"(fc\d)", r"layers.\1.blocks.\2.mlp.\3"),
    (r"norm", "norm"),
    (r"head", "head.fc"),
]
MOBILEVIT_LAYER = r"stage(\d+)_vit_block(\d+)_"
MOBILEVIT: list[Rule] = [
    (r"stem_conv0", "stem.conv"),
    (r"stem_conv0_norm", "stem.bn"),
    (BLOCK + r"(pw1|dw|pw2)(_norm)?", _mobilevit),
    (r"stage(\d+)_vit_(local|out|fuse)(_norm)?", _mobilevit_outside),
    (r"stage(\d+)_vit_in", r"stages.\1.1.conv_1x1"),
    (MOBILEVIT_LAYER + r"(norm\d)", r"stages.\1.1.transformer.\2.\3"),
    (MOBILEVIT_LAYER + r"(qkv|proj)", r"stages.\1.1.transformer.\2.attn.\3"),
    (MOBILEVIT_LAYER + r"(fc\d)", r"stages.\1.1.transformer.\2.mlp.\3"),
    (r"stage(\d+)_vit_norm", r"stages.\1.1.norm"),
    (r"head_conv", "final_conv.conv"),
    (r"head_conv_norm", "final_conv.bn"),
    (r"head", "head.fc"),
]

# Our variable -> what timm appends to the module's name.
SUFFIXES = {
    "kernel": ".weight",
    "bias": ".bias",
    "gamma": ".weight",
    "beta": ".bias",
    "moving_mean": ".running_mean",
    "moving_variance": ".running_var",
    "token": "",
    "embedding": "",
    "position_kernel": ".pos_proj.weight",
    "position_bias": ".pos_proj.bias",
    "gate": ".gating_param",
    "relative_position": ".relative_position_bias_table",
}


# What a checkpoint may hold besides weights: counters, and tables that a model computes itself.
COMPUTED = re.compile(
    r"(.*\.)?(num_batches_tracked|rel_indices|relative_position_index|attn_mask)|pre_logits\..*"
)

CLASSIFIERS = ("head", "head_dist")
TOP = (*CLASSIFIERS, "head_norm")  # layers that a model without the top lacks


def timm_names(model: keras.Model) -> dict[str, keras.Variable]:
    """timm's name of every variable of a model, in the order of the model's weights.

    Raises:
        ValueError: if the model has a variable that timm's naming has no place for.
    """
    rules = scheme_of(model)
    names: dict[str, keras.Variable] = {}
    for variable in model.weights:
        layer = layer_of(variable)
        module = _module(layer, rules)
        if module is None:
            raise ValueError(f"timm has no name for the weights of layer {layer!r}.")
        names[module + _suffix(layer, variable.name)] = variable
    return names


def names_on_top(model: keras.Model) -> set[str]:
    """timm's names of the weights that the model would have above its features."""
    rules = scheme_of(model)
    modules = [_module(layer, rules) for layer in TOP]
    return {f"{module}.{kind}" for module in modules if module for kind in ("weight", "bias")}


def scheme_of(model: keras.Model) -> list[Rule]:
    """The naming scheme that a model's layers belong to."""
    return _scheme({layer_of(variable) for variable in model.weights})


def layer_of(variable: keras.Variable) -> str:
    """The name of the layer in our grammar; sub-layers and blocks around it do not count."""
    parts = variable.path.split("/")[:-1]
    if parts[-1] in ("reduce", "expand"):  # of squeeze-and-excitation
        return f"{parts[-2]}_{parts[-1]}"
    return parts[-2] if parts[-1] == "projection" else parts[-1]


def _scheme(layers: set[str]) -> list[Rule]:
    if "patch_embed" in layers:
        return TRANSFORMER
    if "stage0_block0_qkv" in layers:
        return SWIN
    if "stage0_block0_dw" in layers:
        vits = any(re.fullmatch(r"stage\d+_vit_in", layer) for layer in layers)
        return MOBILEVIT if vits else MOBILENET if "head_conv" in layers else CONVNEXT
    if "stage0_block0_se_reduce" in layers:
        return REGNET
    if "stem_conv0_norm" not in layers:
        return BIT
    stem = DEEP if "stem_conv1" in layers else CONV7
    # timm pools the shortcuts exactly where it has the deep stem (ResNet-D).
    return RESNET + stem + (POOLED_SHORTCUT if stem is DEEP else STRIDED_SHORTCUT)


def _module(layer: str, rules: list[Rule]) -> str | None:
    for pattern, target in rules:
        match = re.fullmatch(pattern, layer)
        if match:
            return target(match) if callable(target) else match.expand(target)
    return None


def _suffix(layer: str, variable: str) -> str:
    is_scale = re.search(r"_scale\d?$", layer) is not None
    return ".gamma" if is_scale else SUFFIXES[variable]


def to_ours(tensor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A PyTorch tensor in Keras' layout; one that can't fit comes back in a shape that shows it."""
    if tensor.ndim == 4 and len(shape) == 2:  # 1x1 convolution -> Dense
        tensor = tensor[:, :, 0, 0]
    if tensor.ndim == 4:
        depthwise = shape[3] == 1 and tensor.shape[1] == 1
        return tensor.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    return tensor.T if tensor.ndim == 2 else tensor


def to_torch(tensor: np.ndarray, as_convolution: bool) -> np.ndarray:
    """The inverse of `to_ours`; `as_convolution` gives a Dense kernel its two axes of size 1."""
    if tensor.ndim == 4:
        depthwise = tensor.shape[3] == 1
        return tensor.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
    if tensor.ndim == 2:
        return tensor.T[:, :, None, None] if as_convolution else tensor.T
    return tensor


# Modules of timm's, outside ConvNeXt, whose matrices are 1x1 convolutions.
CONVOLUTIONS = (
    r"layer\d|patch_embed\.backbone|conv_head|blocks\.\d+\.\d+\.(conv_pw|se)|s\d\.b\d|final_conv"
    r"|stages\.\d\.\d\.conv"
)


def stored_as_convolution(name: str, shape: tuple[int, ...], model: keras.Model) -> bool:
    """Whether timm keeps a matrix of ours as a 1x1 convolution."""
    if name == "head.fc.weight":
        return scheme_of(model) is BIT
    if re.match(CONVOLUTIONS, name):
        return True
    # timm's ConvNeXt up to nano (80 channels and their multiples) computes its MLPs so.
    match = re.match(r"stages\.(\d)\.blocks\.\d+\.mlp\.fc", name)
    return match is not None and min(shape) < 96 * 2 ** int(match[1])
