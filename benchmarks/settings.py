"""What the settings for CPUs are worth: a model without one of them and with it, in turns.

    python -m benchmarks.settings memory [--backend jax] [--models ConvNeXtTiny] [--training]
    python -m benchmarks.settings parts --backend torch --models ConvNeXtTiny ResNet50
    python -m benchmarks.settings vectors

`memory`: what is freed stays with the process (`training.keep_memory`). `parts`: the cores share a
predictor's batch. `vectors`: XLA uses the processor's whole width in a predictor. Float32, batch 8,
the models' own image size. Prints images per second, medians over the rounds, as a Markdown table.
Run it on a machine that does nothing else.
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


def parts(step: Callable[[], Step]) -> dict[bool, Step]:
    from keras_vitcnn.inference import threads

    with mock.patch.object(threads, "SMALLEST_PART", BATCH):
        whole = step()
    return {False: whole, True: step()}


def vectors(step: Callable[[], Step]) -> dict[bool, Step]:
    from keras_vitcnn.inference import predictor

    with mock.patch.object(predictor, "XLA_ON_CPUS", {}):
        narrow = step()
        narrow()  # compiled now
    return {False: narrow, True: step()}


SETTINGS = {each.__name__: each for each in (memory, parts, vectors)}


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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("--backend", choices=("tensorflow", "jax", "torch"), default="jax")
    parser.add_argument("--models", nargs="+", default=["ConvNeXtTiny"])
    parser.add_argument("--training", action="store_true", help="of `memory`: training steps")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if args.training and args.setting != "memory":
        parser.error("--training goes with `memory`: the other settings are a predictor's")
    if args.setting == "vectors" and args.backend != "jax":
        parser.error("`vectors` is an option of XLA, with which predictors run on JAX")
    os.environ["KERAS_BACKEND"] = args.backend
    print(f"| {args.setting}, {args.backend} | without | with |\n|---|---|---|", flush=True)
    for name in args.models:
        turns = SETTINGS[args.setting](partial(step_of, name, args.training))
        speeds = {on: 1e3 * BATCH / ms for on, ms in in_turns(turns, args.rounds).items()}
        print(f"| {name} | {speeds[False]:.2f} | {speeds[True]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
