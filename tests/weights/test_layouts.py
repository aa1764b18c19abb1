"""Keys as the official repositories and old ports wrote them."""

import re
from typing import Any

import numpy as np
import pytest

import keras_vitcnn as kv
from keras_vitcnn.weights.layouts import to_timm_layout
from keras_vitcnn.weights.tensors import Tensor
from tests import helpers

State = dict[str, np.ndarray]


def filled(name: str) -> tuple[Any, State]:
    model = kv.build(helpers.TINY[name], input_shape=(16, 16, 3), classes=5)
    helpers.randomize(model, seed=5)
    return model, kv.to_timm(model)


def renamed(state: State, rules: list[tuple[str, str]]) -> State:
    result = {}
    for name, value in state.items():
        for pattern, target in rules:
            name = re.sub(pattern, target, name)
        result[name] = value
    return result


TO_CONVNEXT = [
    (r"^head\.norm\.", "norm."),
    (r"^head\.fc\.", "head."),
    (r"^stem\.", "downsample_layers.0."),
    (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
    (r"^stages\.(\d)\.blocks\.(\d)", r"stages.\1.\2"),
    (r"conv_dw", "dwconv"),
    (r"mlp\.fc(\d)", r"pwconv\1"),
    (r"mlp\.grn\.weight", "grn.gamma"),
    (r"mlp\.grn\.bias", "grn.beta"),
]
TO_DEIT3 = [(r"\.ls(\d)\.gamma$", r".gamma_\1")]


@pytest.mark.parametrize(
    ("name", "rules"),
    [("convnext", TO_CONVNEXT), ("convnext_v2", TO_CONVNEXT), ("deit3", TO_DEIT3)],
)
def test_official_keys(name: str, rules: list[tuple[str, str]]) -> None:
    model, state = filled(name)
    official = renamed(state, rules)
    assert official.keys() != state.keys()
    for key in official:
        if "grn" in key:
            official[key] = official[key].reshape(1, 1, 1, -1)
        elif "pwconv" in key:  # linear layers there
            value = official[key]
            official[key] = value.reshape(value.shape[:2]) if value.ndim == 4 else value
    helpers.randomize(model, seed=6)
    kv.load_weights(model, {"model": official})
    back = kv.to_timm(model)
    assert all(np.array_equal(back[key], state[key]) for key in state)


def test_a_patch_projection_as_a_linear_layer_and_an_old_representation_layer() -> None:
    model, state = filled("vit")
    old = dict(state)
    kernel = old["patch_embed.proj.weight"]
    old["patch_embed.proj.weight"] = kernel.reshape(len(kernel), -1)
    old["pre_logits.fc.weight"] = np.zeros((12, 12), "float32")
    helpers.randomize(model, seed=6)
    kv.load_weights(model, old)
    assert np.array_equal(kv.to_timm(model)["patch_embed.proj.weight"], kernel)


def named(names: list[str]) -> dict[str, Tensor]:
    """A tensor for every name, told apart by its shape."""
    return {name: Tensor((i + 1,), lambda: np.zeros(1)) for i, name in enumerate(names)}


@pytest.mark.parametrize("architecture", ["tf_efficientnet_lite0", "efficientnet_b1"])
def test_efficientnet_pytorch(timm: Any, architecture: str) -> None:
    """Both write their modules in the order of the network, so the two lists correspond."""
    import torch

    with torch.device("meta"):
        model = timm.create_model(architecture)
    theirs = [name for name in model.state_dict() if "num_batches" not in name]
    old, block, number = [], "", -1
    for name in theirs:
        if (match := re.match(r"(blocks\.\d+\.\d+)\.(.*)", name)) is None:
            table = {"conv_stem": "_conv_stem", "conv_head": "_conv_head", "classifier": "_fc"}
            table |= {"bn1": "_bn0", "bn2": "_bn1"}
            module, kind = name.split(".", 1)
            old.append(f"{table[module]}.{kind}")
            continue
        number += match[1] != block
        block = match[1]
        expands = f"{block}.conv_pwl.weight" in theirs
        table = {"conv_dw": "_depthwise_conv", "se.conv_reduce": "_se_reduce"}
        table |= {"se.conv_expand": "_se_expand", "conv_pw": "_project_conv"}
        table |= {"bn1": "_bn1", "bn2": "_bn2"}
        if expands:
            table |= {"conv_pw": "_expand_conv", "conv_pwl": "_project_conv"}
            table |= {"bn1": "_bn0", "bn2": "_bn1", "bn3": "_bn2"}
        module, kind = match[2].rsplit(".", 1)
        old.append(f"_blocks.{number}.{table[module]}.{kind}")
    back = to_timm_layout(named(old), theirs)
    assert [(name, tensor.shape) for name, tensor in back.items()] == [
        (name, tensor.shape) for name, tensor in named(theirs).items()
    ]


def test_torchvision_mobilenet_v2(timm: Any) -> None:
    import torch
    from torchvision.models import mobilenet_v2

    with torch.device("meta"):
        theirs = timm.create_model("mobilenetv2_100").state_dict()
        old = mobilenet_v2().state_dict()
    shapes = {n: tuple(t.shape) for n, t in theirs.items() if "num_batches" not in n}
    tensors = {
        n: Tensor(tuple(t.shape), lambda: np.zeros(1)) for n, t in old.items() if "num_b" not in n
    }
    back = to_timm_layout(tensors, shapes)
    assert {name: tensor.shape for name, tensor in back.items()} == shapes
