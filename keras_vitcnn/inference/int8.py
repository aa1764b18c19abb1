"""Models in 8-bit integers for onnxruntime, calibrated on photos."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_vitcnn.extras import require
from keras_vitcnn.inference.export import export, run_exported
from keras_vitcnn.inference.fuse import fuse

# Norms, softmaxes and smooth activations stay as they are. A ReLU behind a convolution becomes a
# part of it, whose 256 steps then end where the ReLU cuts off.
QUANTIZED = ("Conv", "Gemm", "MatMul", "Relu", "Clip")
BATCH = 8  # images at once while calibrating: what all layers give for them is in memory


@dataclass(frozen=True, kw_only=True)
class Int8Export:
    """What `export_int8` wrote."""

    agreement: float  # share of images whose likeliest class is that of the model
    bytes: int  # of the file
    float_bytes: int  # of the same model, exported in float32


def export_int8(
    model: keras.Model,
    path: str | Path,
    calibration: Any,
    images: Any,
    least_agreement: float = 0.8,
) -> Int8Export:
    """Write a classifier as ONNX whose convolutions and matrices are 8-bit integers.

    Static quantization after training: norms are folded (`fuse`), weights get a scale for each
    channel, activations a scale and zero point from what they are on the `calibration` images. The
    products inside attention stay in float. Nothing is left at `path` unless the result agrees with
    the model.

    Args:
        model: with a fixed image size and one output; on PyTorch, from which ONNX is written.
        path: of the file, ends in .onnx.
        calibration: a hundred images or so as the model takes them, such as it will see.
        images: others, two or more, on which the result is compared with the model.
        least_agreement: share of `images` that must keep their likeliest class.

    Raises:
        ValueError: as `export`, and if fewer images keep their likeliest class.
        ImportError: with the command that installs what is missing.

    Source: onnxruntime.quantization, quantize-dequantize format.
    """
    require("onnxruntime", "export")
    path, images = Path(path), np.asarray(images)
    if path.suffix != ".onnx":
        raise ValueError(f"`path` must end in '.onnx'. Received: path={str(path)!r}")
    if not len(calibration):
        raise ValueError("`calibration` must have images. Received: none")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        exact, small = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        export(fuse(model), exact, "onnx", images)
        _quantize(exact, small, np.asarray(calibration))
        expected = keras.ops.convert_to_numpy(model(images, training=False))
        found = run_exported(small, "onnx", images.astype(model.inputs[0].dtype))
        agreement = float(np.mean(found.argmax(axis=-1) == expected.argmax(axis=-1)))
        if agreement < least_agreement:
            raise ValueError(
                f"Only {agreement:.0%} of {len(images)} images keep their likeliest class in int8, "
                f"less than least_agreement={least_agreement:g}; nothing was written. "
                f"Received: {len(calibration)} images to calibrate with"
            )
        done = Int8Export(
            agreement=agreement, bytes=small.stat().st_size, float_bytes=exact.stat().st_size
        )
        os.replace(small, path)
    return done


def _quantize(exact: Path, small: Path, calibration: np.ndarray) -> None:
    import onnxruntime
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantType,
        quant_pre_process,
        quantize_static,
    )

    source = onnxruntime.InferenceSession(str(exact), providers=["CPUExecutionProvider"])
    (entry,) = source.get_inputs()
    dtype = {"tensor(uint8)": "uint8"}.get(entry.type, "float32")

    class Batches(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = self._all()

        def _all(self) -> Iterator[dict[str, np.ndarray]]:
            for start in range(0, len(calibration), BATCH):
                yield {entry.name: calibration[start : start + BATCH].astype(dtype)}

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.batches, None)

    prepared = exact.with_name("prepared.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quant_pre_process(exact, prepared, skip_symbolic_shape=True)  # which can't follow `batch`
        quantize_static(
            prepared,
            small,
            Batches(),
            op_types_to_quantize=list(QUANTIZED),
            per_channel=True,
            # Signed weights saturate on x86 processors without VNNI: two products share 16 bits.
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QUInt8,
            extra_options={"MatMulConstBOnly": True},
        )
