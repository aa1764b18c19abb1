"""Images a second through the augmentation of the papers' recipes, beside Keras' RandAugment.

    python scripts/augmentation_speed.py PHOTOS [--size 224] [--seconds 10]

PHOTOS is a folder of JPEGs. The figures of recipes begin with the files' bytes in memory and end
with finished batches; that of `keras.layers.RandAugment` with images that are decoded and cropped.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from keras_vitcnn.data import Split, TrainBatches
from keras_vitcnn.data.batches import THREADS
from keras_vitcnn.data.images import LazyImages
from keras_vitcnn.training import measure, recipe

RECIPES = ("resnet-90", "torchvision-600", "deit3-800", "deit-300", "convnext-300")
BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    options = parser.parse_args()
    files = [file.read_bytes() for file in sorted(options.photos.glob("*.jp*g"))]
    split = Split(LazyImages(files, options.size), np.arange(len(files)))
    machine = measure.machine()
    print(
        f"{machine['processor']}, {machine['cores']} cores, {len(files)} photos, "
        f"{options.size} pixels, {THREADS} threads\n"
    )
    print("| augmentation | images/s | beside RandAugment |\n|---|---:|---:|")
    reference = throughput(rand_augment(split), options.seconds, 1)
    print(f"| keras.layers.RandAugment, nothing else | {reference:,.0f} | 1 |")
    asked = {name: recipe(name) for name in RECIPES}
    asked["convnext-300, --augment keras-cv"] = recipe("convnext-300", policy="keras-cv")
    for name, augmentation in asked.items():
        batches = TrainBatches(
            split,
            classes=len(files),
            batch_size=BATCH,
            start=0,
            stop=10**9,
            flip=True,
            augmentation=augmentation,
        )
        rate = throughput(batches.__getitem__, options.seconds, THREADS)
        print(f"| {name}, from the JPEG on | {rate:,.0f} | {rate / reference:.1f} |", flush=True)


def rand_augment(split: Split) -> Callable[[int], object]:
    """Keras' layer in `tf.data`, which runs it on all cores."""
    import tensorflow as tf

    layer = keras.layers.RandAugment(value_range=(0, 255))
    images = tf.data.Dataset.from_tensor_slices(split.images[np.arange(4 * BATCH)])
    batches = images.repeat().batch(BATCH).map(layer, num_parallel_calls=tf.data.AUTOTUNE)
    stream = iter(batches.prefetch(tf.data.AUTOTUNE))
    return lambda index: next(stream)


def throughput(batch: Callable[[int], object], seconds: float, threads: int) -> float:
    """Images a second, after a warm-up."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(batch, range(2 * threads)))
        done, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < seconds:
            list(pool.map(batch, range(done, done + 2 * threads)))
            done += 2 * threads
    return done * BATCH / spent


if __name__ == "__main__":
    main()
