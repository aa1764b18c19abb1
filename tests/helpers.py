"""What several test modules share: tiny models, gradients on any backend, fresh processes."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_vitcnn as kv
from keras_vitcnn import config_of

ROOT = Path(__file__).resolve().parent.parent

# One small point of every corner of the two design spaces; all take images of 16 x 16 pixels.
_TWO_STAGES = {"depths": (1, 1), "widths": (8, 16), "strides": (1, 2), "stem_stride": 2}
_MOBILE = {
    "depths": (1, 2),
    "widths": (8, 16),
    "strides": (1, 2),
    "kernels": (3, 3),
    "expansions": (1, 2),
    "stem_width": 8,
    "head_width": 16,
}
TINY = {
    "convnext": replace(config_of("ConvNeXtTiny"), **_TWO_STAGES, kernel=3),
    "convnext_v2": replace(config_of("ConvNeXtV2Tiny"), **_TWO_STAGES, kernel=3),
    "resnet": replace(config_of("ResNet50"), **_TWO_STAGES),
    "resnet_d": replace(config_of("ResNet50D"), **_TWO_STAGES),
    "resnext": replace(config_of("ResNeXt50"), **_TWO_STAGES, groups=4, expansion=2, stem_width=8),
    "gresnet": replace(
        config_of("GResNet50"), **(_TWO_STAGES | {"strides": (2, 2)}), stem_width=16
    ),
    "vit": replace(config_of("ViTTiny16"), width=12, depth=2, patch_size=4),
    "deit_distilled": replace(config_of("DeiTTiny16Distilled"), width=12, depth=1, patch_size=4),
    "deit3": replace(config_of("DeiT3Small16"), width=12, num_heads=3, depth=2, patch_size=4),
    "vit_c": replace(
        config_of("ViTC1GF"), width=12, depth=2, stem_widths=(8, 8), stem_strides=(2, 2)
    ),
    "hybrid": replace(
        config_of("ViTR50Base16"),
        width=12,
        num_heads=3,
        depth=2,
        backbone=replace(
            config_of("ViTR50Base16").backbone, depths=(1,), widths=(32,), strides=(1,)
        ),
    ),
    "convit": replace(
        config_of("ConViTTiny"),
        width=16,
        depth=2,
        local_blocks=1,
        class_token_block=1,
        patch_size=4,
    ),
    "mobilenet": replace(config_of("MobileNetV2"), **_MOBILE),
    "efficientnet": replace(config_of("EfficientNetB0"), **_MOBILE | {"kernels": (3, 5)}),
    # A quarter of so few channels may all be off, and then nothing behind them learns.
    "regnet_y": replace(config_of("RegNetY002"), **_TWO_STAGES, stem_width=8, squeeze=1.0),
    "regnet_z": replace(
        config_of("RegNetZ005"), **_TWO_STAGES, stem_width=8, head_width=16, expansion=2
    ),
    "bit": replace(
        config_of("BiTR50x1"), **_TWO_STAGES | {"widths": (32, 32)}, stem_width=32, expansion=1
    ),
    # Windows of 3 on a map of 8 x 8 are shifted and filled up.
    "swin": replace(
        config_of("SwinTiny"),
        depths=(2, 1),
        widths=(8, 16),
        num_heads=(2, 4),
        window=3,
        stem_stride=2,
    ),
    "mobilevit": replace(
        config_of("MobileViTXXS"),
        depths=(1, 1),
        widths=(8, 8),
        strides=(1, 2),
        stem_width=8,
        head_width=16,
        token_widths=(8,),
        token_depths=(1,),
        num_heads=2,
    ),
}


def needs_slim(config: Any) -> bool:
    """Whether a config is neither a plain `ConvNetConfig` nor a `TransformerConfig`."""
    plain = kv.ConvNetConfig | kv.TransformerConfig
    return bool(getattr(config, "group_width", None)) or not isinstance(config, plain)


def slim(config: Any) -> Any:
    """The same strides and kinds of blocks, with few channels and blocks; see `needs_slim`."""
    stages = len(config.depths)
    depths = (1,) * (stages - 1) + (2,)
    if isinstance(config, kv.ConvNetConfig):
        head = {"head_width": 16} if config.head_width else {}
        widths = {"widths": (16,) * stages, "group_width": 8, "stem_width": 8}
        return replace(config, depths=depths, **widths, **head)
    if isinstance(config, kv.BiTConfig):
        return replace(config, depths=depths, widths=(32,) * stages, stem_width=32, expansion=1)
    if isinstance(config, kv.SwinConfig):
        heads = tuple(2**stage for stage in range(stages))
        widths = tuple(8 * count for count in heads)
        return replace(config, depths=depths, widths=widths, num_heads=heads, image_size=224)
    narrow = replace(config, widths=(8,) * stages, stem_width=8, head_width=16, image_size=224)
    if isinstance(config, kv.MobileNetConfig):
        blocks = {"kernels": (3,) * (stages - 1) + (5,), "expansions": (1,) + (2,) * (stages - 1)}
        return replace(narrow, depths=depths, **blocks)
    transformers = len(config.token_widths)
    return replace(narrow, token_widths=(8,) * transformers, token_depths=(1,) * transformers)


def to_numpy(x: Any) -> np.ndarray:
    """A tensor of any backend and float type as a float64 array."""
    return np.asarray(keras.ops.convert_to_numpy(x)).astype("float64")


def randomize(layer: keras.layers.Layer, seed: int = 0) -> None:
    """Replace every weight by random numbers, so that no gain is 0 or 1 and no bias is 0."""
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        if keras.backend.is_float_dtype(weight.dtype):
            value = rng.normal(0, 0.2, weight.shape)
            positive = weight.name in ("moving_variance", "gamma")
            weight.assign(np.abs(value) + 0.5 if positive else value)


def images(count: int = 2, size: int | tuple[int, int] = 16, channels: int = 3) -> np.ndarray:
    """Random uint8 images, the same at every call."""
    height, width = (size, size) if isinstance(size, int) else size
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (count, height, width, channels), "uint8")


def compiled(function: Callable) -> Callable:
    """`function` as one program where running its operations one by one compiles each (JAX)."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function


def call(layer: Callable, *inputs: Any, **options: Any) -> Any:
    """layer(*inputs, **options) of a layer or model that changes no state."""
    tensors = [keras.ops.convert_to_tensor(x) for x in inputs]
    return compiled(lambda *tensors: layer(*tensors, **options))(*tensors)


def outputs(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """What `model.predict` returns, as float64, without the program that it would compile."""
    return to_numpy(call(model, images))


def gradients(function: Callable, *arrays: np.ndarray) -> list[np.ndarray]:
    """d(sum of function(*arrays)) / d(each array), by the backend's own differentiation."""

    def total(*tensors: Any) -> Any:
        return keras.ops.sum(keras.ops.cast(function(*tensors), "float32"))

    tensors = [keras.ops.convert_to_tensor(array) for array in arrays]
    if keras.backend.backend() == "jax":
        import jax

        grads = compiled(jax.grad(total, argnums=tuple(range(len(tensors)))))(*tensors)
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(tensors)
            result = total(*tensors)
        grads = tape.gradient(result, tensors)
    else:
        import torch

        tensors = [tensor.detach().requires_grad_() for tensor in tensors]
        grads = torch.autograd.grad(total(*tensors), tensors)
    return [to_numpy(grad) for grad in grads]


HIDE = """
import sys

ASKED_FOR = set()

class _Hidden:
    '''A module finder that does not find some packages, as if they were not installed.'''

    def __init__(self, finder):
        self._finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HIDDEN:
            ASKED_FOR.add(name.split(".")[0])
            return None
        return self._finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self._finder, name)

sys.meta_path[:] = [_Hidden(finder) for finder in sys.meta_path]
"""


def run_python(code: str, *, backend: str | None = None, hidden: Iterable[str] = ()) -> str:
    """Run `code` in a fresh process and return what it prints.

    Args:
        code: indentation common to all lines is removed.
        backend: of Keras; this process' own by default.
        hidden: top-level packages that the process can't import; which of them it tried to, the
            code finds in the set `ASKED_FOR`.
    """
    hide = f"HIDDEN = {set(hidden)!r}\n{HIDE}\n" if hidden else ""
    result = subprocess.run(
        [sys.executable, "-c", hide + textwrap.dedent(code)],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": backend or keras.backend.backend()},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
