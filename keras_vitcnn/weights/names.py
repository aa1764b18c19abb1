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
    variables = stored_variables(model)
    rules = _scheme({layer_of(variable) for variable in variables})
    names: dict[str, keras.Variable] = {}
    for variable in variables:
        layer = layer_of(variable)
        module = _module(layer, rules)
        if module is None:
            raise ValueError(f"timm has no name for the weights of layer {layer!r}.")
        names[module + _suffix(layer, variable.name)] = variable
    return names


def stored_variables(model: keras.Model) -> list[keras.Variable]:
    """All that a checkpoint holds: the weights without the states of random generators."""
    return [v for v in model.weights if not v.path.endswith("seed_generator_state")]


def names_on_top(model: keras.Model) -> set[str]:
    """timm's names of the weights that the model would have above its features."""
    rules = _scheme({layer_of(variable) for variable in stored_variables(model)})
    modules = [_module(layer, rules) for layer in TOP]
    return {f"{module}.{kind}" for module in modules if module for kind in ("weight", "bias")}


def layer_of(variable: keras.Variable) -> str:
    """The name of the layer in our grammar; sub-layers and blocks around it do not count."""
    parts = variable.path.split("/")[:-1]
    return parts[-2] if parts[-1] == "projection" else parts[-1]


def _scheme(layers: set[str]) -> list[Rule]:
    if "patch_embed" in layers:
        return TRANSFORMER
    if "stage0_block0_dw" in layers:
        return CONVNEXT
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


def stored_as_convolution(name: str, shape: tuple[int, ...]) -> bool:
    """Whether timm keeps a matrix of ours as a 1x1 convolution."""
    if re.match(r"layer\d", name) or name.startswith("patch_embed.backbone"):
        return True
    # timm's ConvNeXt up to nano (80 channels and their multiples) computes its MLPs so.
    match = re.match(r"stages\.(\d)\.blocks\.\d+\.mlp\.fc", name)
    return match is not None and min(shape) < 96 * 2 ** int(match[1])
