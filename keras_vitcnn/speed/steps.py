"""The steps that are timed, for any `keras.Model`, and how fast the device could be at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_vitcnn.training import measure

Step = Callable[[], Any]  # returns after the device has finished

FEWEST, MOST = 5, 500  # timed steps
SMALLEST_PRODUCT = 512  # rows of the first matrix that `matmul_peak` tries
LARGEST_PRODUCT = 16384
LONG_PRODUCT = 0.1  # seconds of one product: twice the rows would take eight times as long
PRODUCTS = 4  # one after another, so that starting them does not count


def images(model: keras.Model, batch_size: int) -> np.ndarray:
    """Random images in [0, 255] of the model's own size, the same at every call."""
    shape = (batch_size, *model.inputs[0].shape[1:])
    return np.random.default_rng(0).uniform(0, 255, shape).astype("float32")


def inference(model: keras.Model, batch_size: int, jit_compile: str | bool = "auto") -> Step:
    """One forward pass of a batch that lies on the device, its output copied back.

    Args:
        jit_compile: as of `keras.Model.compile`.
    """
    model.compile(jit_compile=jit_compile)
    batch = keras.ops.convert_to_tensor(images(model, batch_size))
    return lambda: model.predict_on_batch(batch)


def training(model: keras.Model, batch_size: int, jit_compile: str | bool = "auto") -> Step:
    """One step of AdamW on a batch that lies on the device: forward, backward, update.

    Args:
        model: ends in probabilities.
        jit_compile: as of `keras.Model.compile`.
    """
    model.compile(
        optimizer=keras.optimizers.AdamW(1e-4),
        loss="sparse_categorical_crossentropy",
        jit_compile=jit_compile,
    )
    batch = keras.ops.convert_to_tensor(images(model, batch_size))
    classes = model.outputs[0].shape[-1]
    labels = keras.ops.convert_to_tensor(np.arange(batch_size, dtype="int32") % classes)
    return lambda: float(np.asarray(model.train_on_batch(batch, labels)).ravel()[0])


def timed(step: Step, seconds: float) -> list[float]:
    """Seconds of each of as many warm steps as fit into `seconds`, within FEWEST and MOST."""
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < FEWEST or (
        len(times) < MOST and time.perf_counter() - start + times[-1] < seconds
    ):
        times.append(measure.seconds(step))
    return times


def matmul_peak(dtype: str) -> float:
    """The most multiply-adds per second that a product of square matrices reaches here.

    Args:
        dtype: dtype policy; the product is of its compute dtype.
    """
    compute_dtype = keras.dtype_policies.get(dtype).compute_dtype
    best = 0.0
    rows = SMALLEST_PRODUCT
    while rows <= LARGEST_PRODUCT:
        step = _products(rows, compute_dtype)
        step()  # may compile
        seconds = min(measure.seconds(step) for _ in range(3)) / PRODUCTS
        best = max(best, rows**3 / seconds)
        if seconds > LONG_PRODUCT:
            break
        rows *= 2
    return best


def _products(rows: int, dtype: str) -> Step:
    # Powers of the matrix that averages stay as they are: nothing overflows in half precision.
    mean = keras.ops.full((rows, rows), 1 / rows, dtype=dtype)

    def step() -> Any:
        product = mean
        for _ in range(PRODUCTS):
            product = keras.ops.matmul(product, mean)
        return keras.ops.convert_to_numpy(keras.ops.cast(product[:1, :1], "float32"))

    return step
