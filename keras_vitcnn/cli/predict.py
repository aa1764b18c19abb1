"""`keras-vitcnn predict`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from keras_vitcnn.cli import backend, options

BATCH = 32  # photos decoded and classified at once


@click.command()
@click.argument("model")
@click.argument("photos", nargs=-1, required=True, type=options.PATH)
@click.option(
    "--weights",
    default="imagenet",
    show_default=True,
    help="imagenet (the model's default published weights), one of its tags (keras-vitcnn list "
    "--pretrained), the path of a .safetensors, .pth or .weights.h5 file, hf://owner/repo, or "
    "package:NAME for a checkpoint in an installed Python package.",
)
@click.option("--top", type=options.POSITIVE, default=5, show_default=True)
@options.BACKEND
def predict(
    backend_name: str | None, model: str, photos: tuple[Path, ...], weights: str, top: int
) -> None:
    """Print the likeliest ImageNet classes of each of PHOTOS, files or folders of them.

    \b
    Examples:
      keras-vitcnn predict ConvNeXtTiny cat.jpg
      keras-vitcnn predict DeiTTiny16 photos/ --weights deit_tiny.safetensors --top 1
    """
    backend.choose(backend_name)
    from keras_vitcnn import create_model, data

    files = list(image_files(photos))
    built = create_model(model, weights=weights)
    if built.load_report.random:
        raise ValueError(
            "These weights have no classifier of ImageNet's 1,000 classes, so the model's would be "
            f"random. Received: weights={weights!r}"
        )
    preprocess = data.preprocess_for(built)
    labels = preprocess.settings.labels or None
    for start in range(0, len(files), BATCH):
        batch = files[start : start + BATCH]
        probabilities = built.predict(preprocess(batch), verbose=0)
        predictions = data.decode_predictions(probabilities, top=top, labels=labels)
        for file, best in zip(batch, predictions, strict=True):
            click.echo(file)
            for prediction in best:
                click.echo(f"  {prediction.probability:7.2%}  {prediction.name}")


def image_files(photos: tuple[Path, ...]) -> Iterator[Path]:
    """The files themselves, and the images of the folders in the order of their names.

    Raises:
        ValueError: for a path that is not there, and for a folder without images.
    """
    from keras_vitcnn.data.sources import SUFFIXES

    for path in photos:
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            if not found:
                raise ValueError(f"The folder holds no images. Received: {str(path)!r}")
            yield from found
        elif path.is_file():
            yield path
        else:
            raise ValueError(f"The photo does not exist. Received: {str(path)!r}")
