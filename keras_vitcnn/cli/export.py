"""`keras-vitcnn export`."""

from __future__ import annotations

from pathlib import Path

import click

from keras_vitcnn.cli import backend, options
from keras_vitcnn.cli.predict import image_files

CALIBRATED = 100  # photos


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["saved_model", "onnx", "openvino", "litert", "torch"]),
    required=True,
)
@click.option(
    "--photos",
    required=True,
    type=options.PATH,
    help="A folder of photos on which the exported model must agree with MODEL.",
)
@click.option(
    "--out",
    type=options.PATH,
    help="Where to.  [default: beside MODEL, with the format's suffix]",
)
@click.option("--count", type=click.IntRange(min=2), default=8, show_default=True, help="Photos.")
@click.option(
    "--int8",
    "calibration",
    type=options.PATH,
    help="Quantize to 8-bit integers (onnx), calibrated on up to 100 photos of this folder.",
)
@click.option("--tolerance", type=click.FloatRange(min=0), default=1e-4, show_default=True)
@click.option(
    "--backend",
    "backend_name",
    type=click.Choice(backend.BACKENDS),
    help="From which to export.  [default: $KERAS_BACKEND, else the first that is installed]",
)
def export(
    backend_name: str | None,
    model: Path,
    format_name: str,
    photos: Path,
    out: Path | None,
    count: int,
    calibration: Path | None,
    tolerance: float,
) -> None:
    """Write MODEL, a .keras file, in another format, and check it in that format's own runtime.

    \b
    Examples:
      keras-vitcnn export model.keras --format onnx --photos photos/
      keras-vitcnn export model.keras --format onnx --photos val/ --count 100 --int8 train/
    """
    backend.choose(backend_name)
    import keras

    from keras_vitcnn import data, inference

    suffix = inference.FORMATS[format_name].suffix
    if calibration is not None:
        if format_name != "onnx":
            raise ValueError(f"--int8 is for onnx. Received: format={format_name!r}")
        suffix = ".int8" + suffix
    path = out or model.with_name(model.stem + (suffix or "_saved_model"))
    files = list(image_files((photos,)))[:count]
    seen = [] if calibration is None else list(image_files((calibration,)))
    loaded = keras.models.load_model(model)
    preprocess = data.preprocess_for(loaded)
    if seen:
        chosen = seen[:: -(-len(seen) // CALIBRATED)]
        done = inference.export_int8(loaded, path, preprocess(chosen), preprocess(files))
        click.echo(
            f"{path}: {done.agreement:.1%} of {len(files)} photos keep their likeliest class; "
            f"{done.bytes / 1e6:.1f} MB, {done.float_bytes / 1e6:.1f} MB in float32"
        )
        return
    difference = inference.export(loaded, path, format_name, preprocess(files), tolerance)
    click.echo(
        f"{path}: the largest difference on {len(files)} photos is {difference:.2g} of the "
        "largest output"
    )
