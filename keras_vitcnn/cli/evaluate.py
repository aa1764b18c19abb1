"""`keras-vitcnn evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from keras_vitcnn.cli import backend, options


@click.command()
@click.argument("model", type=options.PATH)
@click.option(
    "--data",
    help="Folder or tfds:NAME, whose validation images are taken.  [default: what it was trained "
    "with]",
)
@click.option("--out", type=options.PATH, help="Folder for the table and the picture.")
@click.option("--batch-size", type=options.POSITIVE, default=64, show_default=True)
@click.option("--limit-val", type=options.POSITIVE, help="Take so many images.")
@options.BACKEND
def evaluate(
    backend_name: str | None,
    model: Path,
    data: str | None,
    out: Path | None,
    batch_size: int,
    limit_val: int | None,
) -> None:
    """Print top-1 and top-5 of MODEL, the folder of a training or a .keras file.

    --out gets classes.csv, with recall and precision by class, and confusion.png.

    \b
    Examples:
      keras-vitcnn evaluate runs/training
      keras-vitcnn evaluate model.keras --data photos/ --out runs/evaluation
    """
    backend.choose(backend_name)
    settings = _settings(model)
    if data is None and "data" not in settings:
        raise ValueError(f"Give --data: the model's own is unknown. Received: model={str(model)!r}")
    import keras

    from keras_vitcnn import data as images
    from keras_vitcnn import training

    file = model / "model.keras" if model.is_dir() else model
    if not file.is_file():
        what = "has no finished model" if model.is_dir() else "does not exist"
        raise ValueError(
            f"{str(model)!r} {what}; give the folder of a finished training or a .keras file. "
            f"Received: model={str(model)!r}"
        )
    built = keras.saving.load_model(file, compile=False)
    first = keras.config.image_data_format() == "channels_first"
    found = images.load(
        data or settings["data"],
        image_size=built.input_shape[2 if first else 1],
        limit_train=len(settings["class_names"]) if "class_names" in settings else None,
        limit_val=limit_val or settings.get("limit_val"),
    )
    names = settings.get("class_names", list(found.class_names))
    if names != list(found.class_names) or len(names) != built.output_shape[-1]:
        raise ValueError(
            f"The model tells {built.output_shape[-1]} classes apart"
            f"{': ' + ', '.join(names[:3]) + ' ...' if settings else ''}, and the data have "
            f"{len(found.class_names)}, {', '.join(found.class_names[:3])} ... "
            f"Received: data={data or settings['data']!r}"
        )
    result = training.evaluate(built, found.val, batch_size)
    if out is not None:
        for path in result.write(out, found.class_names):
            click.echo(path)
    click.echo(
        f"top-1 {result.top1:.2%}, top-5 {result.top5:.2%}, loss {result.loss:.4f} "
        f"on {len(found.val)} images"
    )


def _settings(model: Path) -> dict[str, Any]:
    path = (model if model.is_dir() else model.parent) / "settings.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}
