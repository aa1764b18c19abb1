"""Models for other runtimes, checked: what was exported is run again before it counts as done."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_vitcnn.extras import require


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format of exported models."""

    keras: str  # its name in `Model.export`
    suffix: str  # of its file; empty for a folder
    backends: tuple[str, ...]  # from which it can be written
    needs: tuple[str, ...]  # packages beside the backend, to export and to run it
    run: Callable[[Path, np.ndarray], np.ndarray]  # with its own runtime


def export(
    model: keras.Model,
    path: str | Path,
    format: str,
    images: Any,
    tolerance: float = 1e-4,
) -> float:
    """Write a model in another format, run it there, and say how far its outputs are from ours.

    The batch size stays free: the exported model sees the images one by one as well as together.
    Nothing is left at `path` unless both agree.

    Args:
        model: with a fixed image size and one output.
        path: of the file, with the format's suffix, or of the folder (SavedModel).
        format: `"saved_model"` (TensorFlow), `"onnx"`, `"openvino"`, `"litert"` or `"torch"`
            (`torch.export`).
        images: two or more, as the model takes them; real ones tell more than noise.
        tolerance: largest difference, as a share of the largest output (or of 1 if that is more).

    Returns:
        The largest difference of any output, as that share.

    Raises:
        ValueError: for an unknown format, one that this backend can't write, a suffix that does
            not fit, fewer than two images, or a difference beyond `tolerance`.
        ImportError: with the command that installs what is missing.
    """
    chosen = _chosen(format)
    path = Path(path)
    if path.suffix != chosen.suffix:
        raise ValueError(
            f"`path` must end in {chosen.suffix or 'no suffix, being a folder'!r} for "
            f"format={format!r}. Received: path={str(path)!r}"
        )
    images = np.asarray(images, model.inputs[0].dtype)
    if len(images) < 2:
        raise ValueError(
            f"`images` must be two or more, to see that the batch size is free. "
            f"Received: {len(images)} images"
        )
    for package in chosen.needs:
        require(package, "tensorflow" if package == "tensorflow" else "export")
    expected = keras.ops.convert_to_numpy(model(images, training=False))
    unfinished = path.parent / f"{path.name}.part"
    file = unfinished / (path.name or "model")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        if chosen.keras in ("torch", "onnx") and keras.backend.backend() == "torch":
            _write_from_torch(model, file, images[:2])
        else:
            model.export(str(file), format=chosen.keras, verbose=False)
        together = chosen.run(file, images)
        alone = np.concatenate([chosen.run(file, images[row : row + 1]) for row in range(2)])
        scale = max(1.0, float(np.abs(expected).max()))
        difference = max(
            float(np.abs(found - expected[: len(found)]).max()) / scale
            for found in (together, alone)
        )
        if not difference <= tolerance:
            raise ValueError(
                f"The exported model differs by {difference:.2g} of its largest output, more than "
                f"tolerance={tolerance:g}; nothing was written. Received: format={format!r}"
            )
        for part in unfinished.iterdir():  # OpenVINO's weights lie beside its graph
            _replace(part, path.parent / part.name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return difference


def run_exported(path: str | Path, format: str, images: np.ndarray) -> np.ndarray:
    """The output of an exported model for a batch, by the runtime of its format."""
    return _chosen(format, writing=False).run(Path(path), np.asarray(images))


def _chosen(name: str, writing: bool = True) -> Format:
    if name not in FORMATS:
        raise ValueError(f"`format` must be one of {list(FORMATS)}. Received: format={name!r}")
    backend = keras.backend.backend()
    if writing and backend not in FORMATS[name].backends:
        raise ValueError(
            f"{name} can be written from {' or '.join(FORMATS[name].backends)} only: save the "
            f"model as .keras and load it under KERAS_BACKEND={FORMATS[name].backends[0]}. "
            f"Received: format={name!r} on {backend}"
        )
    return FORMATS[name]


def _write_from_torch(model: keras.Model, file: Path, images: np.ndarray) -> None:
    """Keras fixes the batch size to 1 here unless it is told otherwise, and for ONNX can't be."""
    import torch

    batch = torch.export.Dim("batch")
    tensors = (keras.ops.convert_to_tensor(images),)
    shapes = [({0: batch},)]  # Keras' forward takes its arguments as one tuple
    model.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(model, tensors, dynamic_shapes=shapes, strict=False)
        if file.suffix == ".pt2":
            torch.export.save(program, str(file))
        else:
            exported = torch.onnx.export(program, dynamo=True, verbose=False)
            exported.save(str(file), external_data=False)


def _replace(new: Path, old: Path) -> None:
    if old.is_dir():
        shutil.rmtree(old)
    os.replace(new, old)


def _run_saved_model(path: Path, images: np.ndarray) -> np.ndarray:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))  # which owns the variables while it is asked
    return np.asarray(loaded.serve(tf.convert_to_tensor(images)))


def _run_onnx(path: Path, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def _run_openvino(path: Path, images: np.ndarray) -> np.ndarray:
    import openvino

    # OpenVINO may choose half precision for speed; a comparison needs what the model has.
    model = openvino.compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(model(images)[0])


def _run_litert(path: Path, images: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    index = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(index, images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(index, images)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def _run_torch(path: Path, images: np.ndarray) -> np.ndarray:
    import torch

    program = torch.export.load(str(path))
    with torch.inference_mode():
        return program.module()(torch.from_numpy(images)).numpy()


FORMATS = {
    "saved_model": Format(
        keras="tf_saved_model",
        suffix="",
        backends=("tensorflow", "jax"),
        needs=("tensorflow",),
        run=_run_saved_model,
    ),
    # From TensorFlow exact GELU becomes Erfc, which tf2onnx lacks; JAX needs jax2onnx and flax.
    "onnx": Format(
        keras="onnx",
        suffix=".onnx",
        backends=("torch",),
        needs=("onnx", "onnxruntime", "onnxscript"),
        run=_run_onnx,
    ),
    # From JAX Keras goes through TensorFlow's XlaCallModule, which OpenVINO can't read.
    "openvino": Format(
        keras="openvino",
        suffix=".xml",
        backends=("tensorflow", "torch"),
        needs=("openvino",),
        run=_run_openvino,
    ),
    "litert": Format(
        keras="litert",
        suffix=".tflite",
        backends=("tensorflow",),
        needs=("ai_edge_litert",),
        run=_run_litert,
    ),
    "torch": Format(
        keras="torch", suffix=".pt2", backends=("torch",), needs=("torch",), run=_run_torch
    ),
}
