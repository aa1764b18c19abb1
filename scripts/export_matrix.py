"""Export a small model of every family in every format from every backend; write docs/export.md.

    python scripts/export_matrix.py PHOTOS

PHOTOS is a folder of images: each exported model is run on eight of them in its own runtime. What
is measured is kept in runs/export/, so that a stopped run goes on where it was.
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

BACKENDS = ("tensorflow", "jax", "torch")
FOLDER = ROOT / "runs" / "export"
PAGE = ROOT / "docs" / "export.md"
SIZE = 32  # px; of the small models


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


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def page() -> str:
    from importlib.metadata import version

    from keras_vitcnn.inference import FORMATS

    rows = {
        (backend, row["family"], row["format"]): row
        for backend in BACKENDS
        for row in read(FOLDER / f"{backend}.jsonl")
    }
    families = list(dict.fromkeys(family for _, family, _ in rows))
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
                cells.append(f"no ({reasons.setdefault(row['reason'], len(reasons) + 1)})")
        lines.append(f"| {family} | " + " | ".join(cells) + " |")
    header = "| family | " + " | ".join(f"{name}, {backend}" for name, backend in columns) + " |"
    packages = ("keras", "tensorflow-cpu", "jax", "torch", "onnx", "onnxruntime", "openvino")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return "\n".join(
        [
            "# Export: what works from where",
            "",
            "One small model of each family with random weights (no gain 1, no bias 0), exported "
            "from each backend that Keras allows, and run again in the format's own runtime on "
            "eight real photos, together and one by one. A number is the largest difference of any "
            "logit, as a share of the largest logit; up to 1e-4 passes. Written by "
            f"`python scripts/export_matrix.py PHOTOS` with {versions}.",
            "",
            header,
            "|---" * (len(columns) + 1) + "|",
            *lines,
            "",
            *[f"{number}. `{reason}`" for reason, number in reasons.items()],
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--backend", choices=BACKENDS, help="measure this one in this process")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    if options.backend:
        measure(options.backend, options.photos)
        return
    for backend in BACKENDS:
        command = [sys.executable, __file__, str(options.photos), "--backend", backend]
        subprocess.run(command, env=os.environ | {"KERAS_BACKEND": backend}, check=True)
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
