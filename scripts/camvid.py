"""Train a segmenter on CamVid for some minutes, and write docs/results/camvid.md with pictures.

    KERAS_BACKEND=torch python scripts/camvid.py ConvNeXtAtto --data camvid
    KERAS_BACKEND=torch python scripts/camvid.py DeiTTiny16 --weights deit_tiny.safetensors \\
        --learning-rate 3e-4 --steps 300 --data camvid

`--data` is a folder with train/, trainannot/, test/ and testannot/, as the SegNet tutorial has it:
masks of class numbers 0 to 10, and 11 where nothing counts. A stopped training goes on from its
last epoch. What is measured lies in docs/results/camvid/; the page shows all that is there.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_vitcnn as kv
from keras_vitcnn import data, inference

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results" / "camvid.md"
SHOWN = 3  # test images of a picture
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
ERRORS = np.array([(255, 255, 255), (213, 94, 0), (190, 190, 190)], "uint8")  # right, wrong, none


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
    batches = data.MaskBatches(train, size, options.batch_size, ignore_class=IGNORED)
    epochs = -(-options.steps // len(batches))
    steps = epochs * len(batches)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - steps // 20, warmup_target=options.learning_rate, warmup_steps=steps // 20
    )
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.01, clipnorm=1.0),
        inference.PixelCrossentropy(weights, IGNORED),
    )
    stem = f"{options.model.lower()}_{options.head}"
    kept = ROOT / "runs" / "camvid" / f"{stem}_{steps}"
    seconds = Seconds(kept / "seconds", batches)
    backup = keras.callbacks.BackupAndRestore(kept / "backup", delete_checkpoint=False)
    model.fit(
        data.batches.feed(batches) if keras.backend.backend() == "tensorflow" else batches,
        epochs=epochs,
        callbacks=[backup, seconds],
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
        if (photo, mask) in test[len(test) // (2 * SHOWN) :: len(test) // SHOWN]:
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
        "cpu_minutes": round(seconds.total / 60, 1),
        "steps": steps,
        "learning_rate": options.learning_rate,
        "batch_size": options.batch_size,
        "backend": keras.backend.backend(),
        "train_images": len(train),
        "test_images": len(test),
        "command": shlex.join(Path(part).name if "/" in part else part for part in sys.argv),
        "mean_iou": float(metric.result()),
        "mean_iou_of_the_commonest_class": float(constant.result()),
        "iou": dict(zip(CLASSES, (np.diag(matrix) / union).round(4).tolist(), strict=True)),
    }
    print(json.dumps(result, indent=2))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{stem}.json").write_text(json.dumps(result, indent=2) + "\n")
    picture = options.out / f"{stem}.jpg"
    draw(pictures).savefig(picture, dpi=80, bbox_inches="tight", pil_kwargs={"quality": 85})
    PAGE.write_text(page(options.out))


class Seconds(keras.callbacks.Callback):
    """The processor's time of a training, over all its parts, in a file."""

    def __init__(self, file: Path, batches: data.MaskBatches) -> None:
        super().__init__()
        self.file = file
        self.batches = batches
        self.total = float(file.read_text()) if file.exists() else 0.0
        self.last = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.batches.epoch = epoch  # a resumed training starts in the middle
        self.last = time.process_time()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.total += time.process_time() - self.last
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(str(self.total))


def page(folder: Path) -> str:
    """Everything that was measured, as a page of the site."""
    results = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    head = "| | " + " | ".join(f"{one['model']}" for one in results) + " |"
    rows: dict[str, list[str]] = {
        "begins with": [one["weights"] for one in results],
        "steps of so many crops": [f"{one['steps']} of {one['batch_size']}" for one in results],
        "minutes of one core": [str(one["cpu_minutes"]) for one in results],
        "**mIoU**": [f"**{one['mean_iou']:.1%}**" for one in results],
        "mIoU of predicting the commonest class": [
            f"{one['mean_iou_of_the_commonest_class']:.1%}" for one in results
        ],
    }
    rows |= {f"IoU, {name}": [f"{one['iou'][name]:.1%}" for one in results] for name in CLASSES}
    table = [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items()]
    first = results[0]
    commands = [
        f"KERAS_BACKEND={one['backend']} python scripts/{one['command']}" for one in results
    ]
    pictures = [
        f"## {one['model']}\n\n![Prediction over {SHOWN} test photos, and where it is wrong]"
        f"({folder.name}/{one['model'].lower()}_{one['head']}.jpg)\n"
        for one in results
    ]
    return "\n".join(
        [
            "# Segmentation of streets: CamVid",
            "",
            "Written by scripts/camvid.py. A segmenter of `inference.segmenter(backbone, 11, "
            f'"{first["head"]}", width={first["head_width"]})`, trained for some minutes on '
            f"{first['train_images']} photos of CamVid (Brostow et al., 2009; 480 × 360 pixels, as "
            f"the SegNet tutorial has them) in crops of {first['window'][1]} × "
            f"{first['window'][0]}, and tested on {first['test_images']} others with "
            "`inference.sliding_window`. Pixels without a class don't count.",
            "",
            head,
            "|---" * (len(results) + 1) + "|",
            *table,
            "",
            "```sh",
            *commands,
            "```",
            "",
            *pictures,
        ]
    )


def read(mask: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(mask) as image:
        return np.asarray(image)


def draw(pictures: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Any:
    """Of each photo the prediction over it, and where that is wrong: a column of them.

    Neither photos nor masks are ours to hand on: the photo is only seen through the colours.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    columns = len(pictures)
    figure = Figure(figsize=(3.4 * columns, 6.0), layout="constrained")
    for column, (image, predicted, labels) in enumerate(pictures):
        counted = labels != IGNORED
        wrong = counted & (predicted != labels)
        errors = np.where(wrong, 1, 0)
        errors[~counted] = 2
        shown = inference.overlay(image, predicted, COLOURS), ERRORS[errors]
        titles = "prediction", f"{wrong.sum() / counted.sum():.0%} of the pixels wrong"
        for row, (picture, title) in enumerate(zip(shown, titles, strict=True)):
            axis = figure.add_subplot(2, columns, row * columns + column + 1)
            axis.imshow(picture)
            axis.set_title(title, fontsize=11)
            axis.axis("off")
    patches = [
        Patch(color=colour / 255, label=name)
        for colour, name in zip(
            (*COLOURS, *ERRORS[1:]), (*CLASSES, "wrong", "not counted"), strict=True
        )
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=7, frameon=False)
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
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--test-images", type=int, default=78)
    parser.add_argument("--overlap", type=float, default=0.25, help="of windows, in the test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=Path("../shared/camvid"))
    parser.add_argument("--out", type=Path, default=PAGE.parent / "camvid")
    return parser.parse_args()


if __name__ == "__main__":
    main()
