"""Train a segmenter on CamVid for some minutes and write what it reaches, with pictures.

    KERAS_BACKEND=torch python scripts/camvid.py DeiTTiny16 --weights deit_tiny.safetensors

`--data` is a folder with train/, trainannot/, test/ and testannot/, as the SegNet tutorial has it:
masks of class numbers 0 to 10, and 11 where nothing counts.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_vitcnn as kv
from keras_vitcnn import data, inference

CLASSES = [
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
]
IGNORED = 11
COLOURS = np.array(
    [
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ],
    "uint8",
)


def main() -> None:
    options = parse()
    keras.utils.set_random_seed(options.seed)
    size = options.height, options.width
    backbone = kv.create_model(options.model, weights=options.weights, input_shape=(*size, 3))
    model = inference.segmenter(backbone, len(CLASSES), options.head, width=options.head_width)
    train, test = (
        data.mask_pairs(options.data / part, options.data / f"{part}annot")
        for part in ("train", "test")
    )
    test = test[:: max(1, len(test) // options.test_images)][: options.test_images]
    weights = np.sqrt(inference.class_weights((read(mask) for _, mask in train), len(CLASSES)))
    model.compile(
        keras.optimizers.AdamW(options.learning_rate, weight_decay=0.01, clipnorm=1.0),
        inference.PixelCrossentropy(weights, IGNORED),
    )
    batches = data.MaskBatches(train, size, options.batch_size, ignore_class=IGNORED)
    clock = Clock(options.learning_rate, options.minutes)
    model.fit(
        data.batches.feed(batches) if keras.backend.backend() == "tensorflow" else batches,
        epochs=10_000,
        callbacks=[clock],
        verbose=2,
    )

    metric, constant = (inference.mean_iou(len(CLASSES), IGNORED) for _ in range(2))
    commonest = np.zeros(len(CLASSES), "int64")
    for _, mask in train:
        commonest += np.bincount(read(mask).ravel(), minlength=12)[: len(CLASSES)]
    fixed = np.eye(len(CLASSES), dtype="float32")[commonest.argmax()]
    pictures = []
    for photo, mask in test:
        image, labels = np.asarray(data.images.upright(photo)), read(mask)
        probabilities = inference.sliding_window(model, image, options.overlap)
        metric.update_state(labels[None], probabilities[None])
        constant.update_state(labels[None], np.broadcast_to(fixed, (1, *labels.shape, len(fixed))))
        if len(pictures) < 4 and (photo, mask) in test[:: len(test) // 4]:
            pictures.append((image, probabilities.argmax(axis=-1), labels))
    matrix = np.asarray(keras.ops.convert_to_numpy(metric.total_cm), "float64")
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - np.diag(matrix)
    result = {
        "model": options.model,
        "weights": Path(options.weights or "random").name,
        "head": options.head,
        "head_width": options.head_width,
        "window": list(size),
        "overlap": options.overlap,
        "minutes": options.minutes,
        "steps": clock.steps,
        "batch_size": options.batch_size,
        "backend": keras.backend.backend(),
        "test_images": len(test),
        "mean_iou": float(metric.result()),
        "mean_iou_of_the_commonest_class": float(constant.result()),
        "iou": dict(zip(CLASSES, (np.diag(matrix) / union).round(4).tolist(), strict=True)),
    }
    print(json.dumps(result, indent=2))
    options.out.mkdir(parents=True, exist_ok=True)
    stem = f"{options.model.lower()}_{options.head}"
    (options.out / f"{stem}.json").write_text(json.dumps(result, indent=2) + "\n")
    draw(pictures).savefig(options.out / f"{stem}.png", dpi=80)


class Clock(keras.callbacks.Callback):
    """Ends a training when its minutes are over; a cosine takes the learning rate to zero."""

    def __init__(self, peak: float, minutes: float) -> None:
        super().__init__()
        self.peak = peak
        self.seconds = 60 * minutes
        self.steps = 0
        self.started = 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.started = self.started or time.perf_counter()
        done = min((time.perf_counter() - self.started) / self.seconds, 1.0)
        warm = min((self.steps + 1) / 20, 1.0)
        rate = self.peak * warm * (1 + math.cos(math.pi * done)) / 2
        self.model.optimizer.learning_rate.assign(rate)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps += 1
        if time.perf_counter() - self.started > self.seconds:
            self.model.stop_training = True


def read(mask: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(mask) as image:
        return np.asarray(image)


def draw(pictures: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Any:
    """Photo, prediction and truth of each, a row of them."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(3.6 * 3, 2.75 * len(pictures) + 0.4), layout="constrained")
    axes = figure.subplots(len(pictures), 3, squeeze=False)
    for row, (image, predicted, labels) in zip(axes, pictures, strict=True):
        shown = (
            image,
            inference.overlay(image, predicted, COLOURS),
            inference.overlay(image, labels, COLOURS),
        )
        for axis, picture in zip(row, shown, strict=True):
            axis.imshow(picture)
            axis.axis("off")
    for axis, title in zip(axes[0], ("photo", "prediction", "truth"), strict=True):
        axis.set_title(title)
    patches = [
        Patch(color=colour / 255, label=name) for colour, name in zip(COLOURS, CLASSES, strict=True)
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=6, frameon=False)
    return figure


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", help="name of the backbone, e.g. ConvNeXtAtto")
    parser.add_argument("--weights", help="as of every constructor; random unless given")
    parser.add_argument("--head", default="upernet", choices=["fpn", "upernet"])
    parser.add_argument("--head-width", type=int, default=64)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--test-images", type=int, default=78)
    parser.add_argument("--overlap", type=float, default=0.25, help="of windows, in the test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=Path("../shared/camvid"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/camvid"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
