"""`keras-vitcnn export`."""

from __future__ import annotations

from pathlib import Path

import click

from keras_vitcnn.cli import backend
from keras_vitcnn.cli.predict import image_files


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
    type=click.Path(path_type=Path),
    help="A folder of photos on which the exported model must agree with MODEL.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Where to.  [default: beside MODEL, with the format's suffix]",
)
@click.option("--count", type=click.IntRange(min=2), default=8, show_default=True, help="Photos.")
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
    tolerance: float,
) -> None:
    """Write MODEL, a .keras file, in another format, and check it in that format's own runtime.

    \b
    Example:
      keras-vitcnn export model.keras --format onnx --photos photos/
    """
    backend.choose(backend_name)
    import keras

    from keras_vitcnn import data, inference

    suffix = inference.FORMATS[format_name].suffix
    path = out or model.with_name(model.stem + (suffix or "_saved_model"))
    files = list(image_files((photos,)))[:count]
    loaded = keras.models.load_model(model)
    images = data.preprocess_for(loaded)(files)
    difference = inference.export(loaded, path, format_name, images, tolerance)
    click.echo(
        f"{path}: the largest difference on {len(files)} photos is {difference:.2g} of the "
        "largest output"
    )
