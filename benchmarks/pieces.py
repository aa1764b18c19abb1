"""Where the time of a ConvNeXt-T goes: the parts of its blocks, each compiled and timed alone.

    python -m benchmarks.pieces [--backend jax] [--xla] [--gradient] [--rounds 7]

Batch 8, float32, the shapes of 224 px; the parts take turns, round by round. Prints milliseconds of
each part in all 18 blocks, stage by stage and together, as a Markdown table. Run it on a machine
that does nothing else.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.lowerings import compiled, wait_for

BATCH = 8
STAGES = [(56, 96, 3), (28, 192, 3), (14, 384, 9), (7, 768, 3)]  # side, channels, blocks


def parts(side: int, channels: int) -> dict[str, Any]:
    """Name -> keras.Model."""
    import keras

    from keras_vitcnn.layers import Dense, DepthwiseConv2D, LayerScale

    def model(width: int, *layers: keras.layers.Layer, residual: bool = False) -> keras.Model:
        inputs = y = keras.Input((side, side, width))
        for layer in layers:
            y = layer(y)
        return keras.Model(inputs, inputs + y if residual else y)

    def block() -> list[keras.layers.Layer]:
        norm = keras.layers.LayerNormalization(epsilon=1e-6)
        up = Dense(4 * channels, activation="gelu")
        return [DepthwiseConv2D(7), norm, up, Dense(channels), LayerScale()]

    depthwise, norm, up, down, scale = block()
    return {
        "depthwise": model(channels, depthwise),
        "norm": model(channels, norm),
        "linear up": model(channels, Dense(4 * channels)),
        "linear up, GELU": model(channels, up),
        "linear down": model(4 * channels, down),
        "scale, add": model(channels, scale, residual=True),
        "block": model(channels, *block(), residual=True),
    }


def with_gradient(forward: Callable) -> Callable:
    """Forward and backward in both arguments, which are lists of tensors."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(lambda weights, inputs: (forward(weights, inputs) ** 2).sum(), (0, 1))
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        def gradients(weights: list, inputs: list) -> Any:
            with tf.GradientTape() as tape:
                tape.watch((weights, inputs))
                loss = keras.ops.sum(keras.ops.square(forward(weights, inputs)))
            return tape.gradient(loss, (weights, inputs))

        return gradients
    import torch

    def derived(weights: list, inputs: list) -> Any:
        leaves = [tensor.detach().requires_grad_() for tensor in (*weights, *inputs)]
        count = len(weights)
        return torch.autograd.grad((forward(leaves[:count], leaves[count:]) ** 2).sum(), leaves)

    return derived


def step_of(model: Any, args: argparse.Namespace) -> Callable[[], None]:
    """One pass, which returns when it is done."""
    import keras
    import numpy as np

    shape = (BATCH, *model.inputs[0].shape[1:])
    image = np.random.default_rng(0).normal(size=shape).astype("float32")
    inputs = [keras.ops.convert_to_tensor(image)]
    # Of PyTorch's parameters the tensors alone: nobody asks for a graph of gradients here.
    weights = [keras.ops.stop_gradient(each.value) for each in model.trainable_variables]

    def forward(weights: list, inputs: list) -> Any:
        return model.stateless_call(weights, [], inputs[0], training=args.gradient)[0]

    run = compiled(with_gradient(forward) if args.gradient else forward, args.xla)
    return lambda: wait_for(run(weights, inputs))


def measure(side: int, channels: int, args: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of each part, medians over the rounds."""
    steps = {name: step_of(model, args) for name, model in parts(side, channels).items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(args.rounds):
        for name, step in steps.items():
            step()  # the part before has emptied the caches
            start = time.perf_counter()
            step()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=("tensorflow", "jax", "torch"), default="jax")
    parser.add_argument("--xla", action="store_true", help="compile TensorFlow's graphs with XLA")
    parser.add_argument("--gradient", action="store_true", help="backward, too")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    os.environ["KERAS_BACKEND"] = args.backend
    totals: dict[str, float] = {}
    for side, channels, blocks in STAGES:
        found = {name: blocks * value for name, value in measure(side, channels, args).items()}
        if not totals:
            print("| stage | " + " | ".join(found) + " |\n" + "|---" * (len(found) + 1) + "|")
        print(_row(f"{side}² × {channels}, {blocks} blocks", found), flush=True)
        for name, value in found.items():
            totals[name] = totals.get(name, 0.0) + value
    print(_row("together", totals))


def _row(title: str, values: dict[str, float]) -> str:
    return f"| {title} | " + " | ".join(f"{value:.0f}" for value in values.values()) + " |"


if __name__ == "__main__":
    main()
