"""What a setting or a form for CPUs is worth: a model without it and with it, in turns.

    python -m benchmarks.settings memory [--backend jax] [--models ConvNeXtTiny] [--training]
    python -m benchmarks.settings joined --backend torch --models ConvNeXtTiny ResNet50

Float32, batch 8, the models' own image size. Prints images per second, medians over the rounds, as
a Markdown table. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import ctypes
import os
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

from benchmarks.lowerings import in_turns

BATCH = 8
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # of glibc's malloc.h
# Where glibc ends up by itself in a process that has freed large blocks.
GIVEN_BACK = {M_MMAP_MAX: 65536, M_MMAP_THRESHOLD: 32 << 20, M_TRIM_THRESHOLD: 64 << 20}
BOTH = (False, True)
# Setting -> backends that have it, and whether it is a training step's.
SETTINGS = {
    "memory": (("tensorflow", "jax", "torch"), BOTH),
    "parts": (("tensorflow", "jax", "torch"), (False,)),
    "vectors": (("jax",), (False,)),
    "joined": (("torch",), (False,)),
    "linear": (("torch",), BOTH),
    "pool": (("jax", "torch"), BOTH),
    "gelu": (("tensorflow",), (True,)),
    "norms": (("torch",), (True,)),
    "kernels": (("tensorflow", "torch"), (True,)),
    "heads": (("jax", "tensorflow"), BOTH),
}
# Setting -> its operation in the table of lowerings.
OPERATIONS = {"linear": "linear", "pool": "pool", "kernels": "depthwise_gradient"}
MEANINGS = """settings:
  memory   what is freed stays with the process (training.keep_memory)
  parts    the cores share a predictor's batch
  vectors  XLA uses the processor's whole width in a predictor
  joined   PyTorch's products and convolutions with their activations (inference/torch_graph.py)
  linear   PyTorch's linear maps as this processor has them (ops/linear_map.py)
  pool     maximum pooling as this backend has it (ops/pooling.py)
  gelu     TensorFlow's GELU in training as one walk (ops/activation.py)
  norms    batch norms in training as PyTorch has them (layers/batch_normalization.py)
  kernels  gradients of depthwise kernels with exchanged roles (ops/convolution.py)
  heads    attention as two products of heads laid out once (layers/attention.py)
"""

Step = Callable[[], Any]


def memory(step: Callable[[], Step]) -> dict[bool, Step]:
    from keras_vitcnn.system import keep_memory, trim_memory

    # Arenas are those of the setting in both, because threads keep the one they began with.
    if not keep_memory():
        raise SystemExit("This C library's memory can't be told to stay: `memory` needs glibc.")
    run, kept = step(), True

    def switched(keep: bool) -> Any:
        nonlocal kept
        if keep and not kept:
            keep_memory()
        elif kept and not keep:
            for option, value in GIVEN_BACK.items():
                ctypes.CDLL(None).mallopt(option, value)
            trim_memory()
        kept = keep
        return run()

    return {keep: partial(switched, keep) for keep in (False, True)}


def without(name: str, backend: str) -> Callable[[], Any]:
    """What takes a setting away while it is open."""
    import keras

    from keras_vitcnn.inference import predictor, threads, torch_graph
    from keras_vitcnn.layers import BatchNormalization, attention
    from keras_vitcnn.ops import activation
    from keras_vitcnn.ops.lowerings import LOWERINGS, places

    if operation := OPERATIONS.get(name):
        native = {(operation, backend, place): "native" for place in places()}
        return partial(mock.patch.dict, LOWERINGS, native)
    return {
        "parts": partial(mock.patch.object, threads, "SMALLEST_PART", BATCH),
        "vectors": partial(mock.patch.object, predictor, "XLA_ON_CPUS", {}),
        "joined": partial(mock.patch.object, torch_graph, "available", lambda: False),
        "heads": partial(mock.patch.object, attention, "_products", lambda qkv: False),
        "norms": partial(
            mock.patch.object, BatchNormalization, "call", keras.layers.BatchNormalization.call
        ),
        "gelu": partial(
            mock.patch.object, activation, "_tensorflow_gelu", lambda: keras.activations.gelu
        ),
    }[name]


def turns_of(name: str, backend: str, step: Callable[[], Step]) -> dict[bool, Step]:
    """The step without a setting and with it."""
    if name == "memory":
        return memory(step)
    patch = without(name, backend)
    with patch():
        run = step()

    def patched() -> Any:
        with patch():  # the first call compiles
            return run()

    return {False: patched, True: step()}


def step_of(name: str, training: bool) -> Step:
    """A training step or a predictor's call of a model of its own."""
    import numpy as np

    import keras_vitcnn as kv
    from keras_vitcnn.speed import steps

    model = kv.create_model(name)
    if training:
        xla = False if os.environ["KERAS_BACKEND"] == "tensorflow" else "auto"
        train = steps.training(model, BATCH, xla)
        return lambda: np.asarray([train()])
    return partial(kv.predictor(model, BATCH), steps.images(model, BATCH))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog=MEANINGS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("--backend", choices=("tensorflow", "jax", "torch"))
    parser.add_argument("--models", nargs="+", default=["ConvNeXtTiny"])
    parser.add_argument("--training", action="store_true", help="training steps, not predictors")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    backends, modes = SETTINGS[args.setting]
    backend = args.backend or backends[0]
    if backend not in backends:
        parser.error(f"`{args.setting}` is of {' and '.join(backends)}, not of {backend}")
    if args.training not in modes:
        parser.error(f"`{args.setting}` is of {'training' if True in modes else 'predictors'} only")
    os.environ["KERAS_BACKEND"] = backend
    print(f"| {args.setting}, {backend} | without | with |\n|---|---|---|", flush=True)
    for name in args.models:
        turns = turns_of(args.setting, backend, partial(step_of, name, args.training))
        speeds = {on: 1e3 * BATCH / ms for on, ms in in_turns(turns, args.rounds).items()}
        print(f"| {name} | {speeds[False]:.2f} | {speeds[True]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
