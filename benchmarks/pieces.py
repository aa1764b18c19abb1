"""Where the time of a ConvNeXt-T goes: the parts of its blocks, each compiled and timed alone.

    python -m benchmarks.pieces [--backend jax] [--xla] [--gradient] [--rounds 7]

Batch 8, float32, the shapes of 224 px; the parts take turns, round by round. Prints milliseconds of
each part in all 18 blocks, stage by stage and together, as a Markdown table. Run it on a machine
that does nothing else.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.lowerings import compiled, gradients, in_turns

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
        "GELU": model(4 * channels, keras.layers.Activation("gelu")),
        "linear up, GELU": model(channels, up),
        "linear down": model(4 * channels, down),
        "scale, add": model(channels, scale, residual=True),
        "block": model(channels, *block(), residual=True),
    }


def step_of(model: Any, args: argparse.Namespace) -> Callable[[], Any]:
    """A pass of a model over random values."""
    import keras
    import numpy as np

    shape = (BATCH, *model.inputs[0].shape[1:])
    values = np.random.default_rng(0).normal(size=shape).astype("float32")
    # Of PyTorch's parameters the tensors alone: nobody asks for a graph of gradients here.
    weights = [keras.ops.stop_gradient(each.value) for each in model.trainable_variables]

    def forward(*tensors: Any) -> Any:
        *weights, x = tensors
        return model.stateless_call(weights, [], x, training=args.gradient)[0]

    run = compiled(gradients(forward) if args.gradient else forward, args.xla)
    return partial(run, *weights, keras.ops.convert_to_tensor(values))


def measure(side: int, channels: int, args: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of each part."""
    steps = {name: step_of(model, args) for name, model in parts(side, channels).items()}
    return in_turns(steps, args.rounds)


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
