"""Time every lowering of every operation, and print the table of ops/lowerings.py.

    python -m benchmarks.lowerings [--backend jax] [--operations dense] [--xla] [--rounds 5]

Forward and backward, batch 8, shapes of the zoo. The lowerings of a cell take turns, round by
round. Results are added to benchmarks/results/lowerings.jsonl; run it on a machine that does
nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

RESULTS = Path(__file__).parent / "results" / "lowerings.jsonl"
BATCH = 8
# (operation, kernel, side, channels, group width, strides)
CELLS = [
    ("depthwise", 7, 56, 96, 1, 1),  # ConvNeXt-T, stage by stage
    ("depthwise", 7, 28, 192, 1, 1),
    ("depthwise", 7, 14, 384, 1, 1),
    ("depthwise", 7, 7, 768, 1, 1),
    ("depthwise", 3, 112, 32, 1, 1),  # EfficientNet-B0
    ("depthwise", 3, 112, 96, 1, 2),
    ("depthwise", 5, 14, 480, 1, 1),
    ("depthwise_gradient", 7, 56, 96, 1, 1),  # ConvNeXt-T again: how its kernels are trained
    ("depthwise_gradient", 7, 28, 192, 1, 1),
    ("depthwise_gradient", 7, 14, 384, 1, 1),
    ("depthwise_gradient", 7, 7, 768, 1, 1),
    ("depthwise_gradient", 5, 28, 240, 1, 1),  # EfficientNet-B0
    ("depthwise_gradient", 5, 14, 480, 1, 1),
    ("grouped", 3, 56, 128, 4, 1),  # ResNeXt-50, stage by stage
    ("grouped", 3, 28, 256, 8, 1),
    ("grouped", 3, 14, 512, 16, 1),
    ("grouped", 3, 7, 1024, 32, 1),
    ("grouped", 3, 28, 192, 64, 1),  # RegNetY-4GF
    ("grouped", 3, 14, 512, 64, 1),
    ("dense", 3, 56, 64, 64, 1),  # ResNet-50
    ("dense", 3, 14, 256, 256, 1),
    ("dense", 1, 56, 256, 256, 1),
    ("dense", 1, 56, 256, 256, 2),
    ("dense", 1, 14, 480, 480, 1),  # EfficientNet-B0
    ("dense", 2, 28, 192, 192, 2),  # ConvNeXt-T between stages
    ("linear", 1, 56, 96, 384, 1),  # and within: from channels to group width
    ("linear", 1, 56, 384, 96, 1),
    ("linear", 1, 14, 384, 1536, 1),
    ("linear", 1, 7, 3072, 768, 1),
    ("pool", 3, 112, 64, 64, 2),  # ResNet-50
]


def operation_of(cell: tuple) -> Callable[..., Any]:
    from keras_vitcnn import ops

    operation, kernel, _side, channels, width, strides = cell
    if operation == "depthwise":
        return lambda x, k: ops.depthwise_conv2d(x, k, strides)
    if operation == "depthwise_gradient":
        return lambda x, k: ops.depthwise_conv2d(x, k, training=True)
    if operation == "grouped":
        return lambda x, k: ops.grouped_conv2d(x, k, channels // width, strides)
    if operation == "linear":
        return ops.linear
    if operation == "pool":
        return lambda x: ops.max_pool2d(x, kernel, strides)
    padding = "same" if strides == 1 else "valid"
    return lambda x, k: ops.conv2d(x, k, strides, padding)


def inputs(cell: tuple, dtype: str) -> list[Any]:
    import keras
    import numpy as np

    operation, kernel, side, channels, width, _strides = cell
    depthwise = operation.startswith("depthwise")
    taps = (kernel, kernel, *((channels, 1) if depthwise else (width, channels)))
    if operation == "linear":
        taps = (channels, width)
    rng = np.random.default_rng(0)
    shapes = [(BATCH, side, side, channels), taps][: 1 if operation == "pool" else 2]
    arrays = (rng.normal(size=shape).astype("float32") for shape in shapes)
    return [keras.ops.cast(keras.ops.convert_to_tensor(a), dtype) for a in arrays]


def forward(run: Callable, operation: str, name: str) -> Callable:
    """The operation in one lowering, and all others as the table has them."""
    import keras

    from keras_vitcnn.ops.lowerings import LOWERINGS, places

    only = {(operation, keras.backend.backend(), place): name for place in places()}

    def lowered(*tensors: Any) -> Any:
        with mock.patch.dict(LOWERINGS, only):
            return run(*tensors)

    return lowered


def backward(run: Callable, operation: str, name: str) -> Callable:
    """Forward, and the gradients of its squared sum in the image and the kernel."""
    return gradients(forward(run, operation, name))


def gradients(function: Callable) -> Callable:
    """Those of the squared sum of function(*tensors) in all of them."""
    import keras

    def loss(*tensors: Any) -> Any:
        return keras.ops.sum(keras.ops.square(function(*tensors)))

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return lambda *tensors: jax.grad(loss, tuple(range(len(tensors))))(*tensors)
    if backend == "tensorflow":
        import tensorflow as tf

        def taped(*tensors: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(tensors)
                value = loss(*tensors)
            return tape.gradient(value, tensors)

        return taped
    import torch

    def derived(*tensors: Any) -> Any:
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        return torch.autograd.grad(loss(*leaves), leaves)

    return derived


def compiled(function: Callable, xla: bool) -> Callable:
    """As the backend runs models."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=xla)
    return function


def wait_for(result: Any) -> None:
    """Read one number of each result, which has to be computed for it, on a GPU too."""
    import keras

    for tensor in keras.tree.flatten(result):
        keras.ops.convert_to_numpy(tensor[(0,) * len(tensor.shape)])


def measure(cell: tuple, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Milliseconds: lowering -> {"forward", "backward"}, medians over rounds that take turns."""
    from keras_vitcnn.ops.lowerings import CHOICES, ONLY_TORCH

    names = [n for n in CHOICES[cell[0]] if n not in ONLY_TORCH or args.backend == "torch"]
    tensors, run = inputs(cell, args.dtype), operation_of(cell)
    steps = {
        (name, way.__name__): compiled(way(run, cell[0], name), args.xla)
        for name in names
        for way in (forward, backward)
    }
    found: dict[str, dict[str, float]] = {name: {} for name in names}
    turns = {key: partial(step, *tensors) for key, step in steps.items()}
    for (name, way), milliseconds in in_turns(turns, args.rounds).items():
        found[name][way] = milliseconds
    return found


def in_turns(steps: dict[Any, Callable[[], Any]], rounds: int) -> dict[Any, float]:
    """Milliseconds of each step: medians over rounds in which all of them take turns."""
    for step in steps.values():
        wait_for(step())
    times: dict[Any, list[float]] = {key: [] for key in steps}
    for _ in range(rounds):
        for key, step in steps.items():
            wait_for(step())  # the one before has emptied the caches
            start = time.perf_counter()
            wait_for(step())
            times[key].append(1e3 * (time.perf_counter() - start))
    return {key: statistics.median(values) for key, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=("tensorflow", "jax", "torch"), default="jax")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--xla", action="store_true", help="compile TensorFlow's graphs with XLA")
    operations = list(dict.fromkeys(cell[0] for cell in CELLS))
    parser.add_argument("--operations", nargs="+", choices=operations, default=operations)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    os.environ["KERAS_BACKEND"] = args.backend
    from keras_vitcnn.ops.lowerings import listed, places
    from keras_vitcnn.system import device, processor

    RESULTS.parent.mkdir(exist_ok=True)
    totals: dict[str, dict[str, float]] = {}
    for cell in (cell for cell in CELLS if cell[0] in args.operations):
        found = measure(cell, args)
        for name, times in found.items():
            sums = totals.setdefault(cell[0], {})
            sums[name] = sums.get(name, 0.0) + sum(times.values())
        shown = "   ".join(
            f"{name} {times['forward']:.1f} / {times['backward']:.1f}"
            for name, times in found.items()
        )
        print(f"{cell}: {shown} ms", flush=True)
        record = {
            "backend": args.backend + ("-xla" if args.xla else ""),
            "device": device(),
            "dtype": args.dtype,
            "cpus": os.cpu_count(),
            "processor": processor(),
            "cell": cell,
            "milliseconds": found,
        }
        with RESULTS.open("a") as file:
            file.write(json.dumps(record) + "\n")
    print("\n# forward and backward of all shapes together, milliseconds")
    for operation, sums in totals.items():
        best = min(sums, key=lambda name: sums[name])
        now = listed(operation, args.backend)
        note = "" if best == now else f"  # the table has {now}: {sums[now]:.0f}"
        place = places()[0]
        print(f'("{operation}", "{args.backend}", "{place}"): "{best}",  # {sums[best]:.0f}{note}')


if __name__ == "__main__":
    main()
