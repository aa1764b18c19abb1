"""`keras-vitcnn search build | query | compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from keras_vitcnn.cli import backend, options

NEIGHBOURS = click.option("-k", type=options.POSITIVE, default=5, show_default=True)


@click.group()
def search() -> None:
    """Find images that look alike to a model, and compare what models find alike."""


@search.command()
@click.argument("model")
@click.argument("folder", type=options.PATH)
@click.option(
    "--index",
    required=True,
    help="Where to: a path that ends in .db (Milvus Lite), or a Milvus server's http://...",
)
@click.option(
    "--weights", default="imagenet", show_default=True, help="As for keras-vitcnn predict."
)
@click.option("--metric", type=click.Choice(["cosine", "l2"]), default="cosine", show_default=True)
@click.option("--collection", default="images", show_default=True, help="Its name in Milvus.")
@click.option(
    "--embeddings",
    type=options.PATH,
    help="Folder for the vectors; started again after an interruption, the command goes on there.  "
    "[default: the index' name and .embeddings]",
)
@click.option("--batch-size", type=options.POSITIVE, default=32, show_default=True)
@options.BACKEND
def build(
    backend_name: str | None,
    model: str,
    folder: Path,
    index: str,
    weights: str,
    metric: str,
    collection: str,
    embeddings: Path | None,
    batch_size: int,
) -> None:
    """Index all images of FOLDER by what MODEL (a name, or a .keras file) makes of them.

    \b
    Examples:
      keras-vitcnn search build DeiTTiny16 photos/ --index deit.db
      keras-vitcnn search build model.keras photos/ --index http://localhost:19530
    """
    backend.choose(backend_name)
    from keras_vitcnn import analysis

    if not folder.is_dir():
        raise ValueError(f"The folder does not exist. Received: {str(folder)!r}")
    analysis.check_new_index(index)
    about = {
        "model": _absolute(model),
        "weights": _absolute(weights),
        "folder": _absolute(str(folder)),
    }
    found = analysis.embed(
        _model(about),
        folder,
        embeddings or _embeddings(index, collection),
        batch_size=batch_size,
        show_progress=True,
    )
    if found.skipped:
        click.echo(
            f"left out {len(found.skipped)} files that can't be decoded, the first is "
            f"{found.skipped[0]}",
            err=True,
        )
    analysis.build_index(found, index, metric=metric, collection=collection, about=about)
    click.echo(f"{len(found.names)} images in {index}")


@search.command()
@click.argument("index")
@click.argument("photos", nargs=-1, required=True, type=options.PATH)
@NEIGHBOURS
@click.option("--collection", default="images", show_default=True)
@click.option("--picture", type=options.PATH, help="Write what was found there.")
@options.BACKEND
def query(
    backend_name: str | None,
    index: str,
    photos: tuple[Path, ...],
    k: int,
    collection: str,
    picture: Path | None,
) -> None:
    """Print the images of INDEX that are nearest to each of PHOTOS."""
    backend.choose(backend_name)
    rows = _neighbours(index, collection, photos, k)
    for photo, neighbours in zip(photos, rows, strict=True):
        click.echo(photo)
        for one in neighbours:
            click.echo(f"  {one.score:8.4f}  {one.name}")
    if picture:
        _draw(picture, photos, {index: rows}, {index: _about(index, collection)["folder"]})


@search.command()
@click.argument("indexes", nargs=-1, required=True)
@click.option(
    "--query",
    "photos",
    multiple=True,
    required=True,
    type=options.PATH,
    help="A photo; may be given several times.",
)
@click.option(
    "--picture",
    type=options.PATH,
    default=Path("neighbours.png"),
    show_default=True,
    help="What each index found for the same photos.",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="JSON file, image -> class number, for recall and mAP.  [default: the sub-folder of each "
    "image is its class]",
)
@NEIGHBOURS
@click.option("--collection", default="images", show_default=True)
@options.BACKEND
def compare(
    backend_name: str | None,
    indexes: tuple[str, ...],
    photos: tuple[Path, ...],
    picture: Path,
    labels: Path | None,
    k: int,
    collection: str,
) -> None:
    """Put the neighbours of the same photos in two or three INDEXES side by side.

    Prints recall and mean average precision of each over its own images, where these have classes.
    """
    backend.choose(backend_name)
    if len(indexes) < 2:
        raise ValueError(f"Give two indexes or more to compare. Received: {' '.join(indexes)}")
    from keras_vitcnn import analysis

    rows, folders = {}, {}
    for index in indexes:
        about = _about(index, collection)
        name = Path(about["model"]).name
        title = f"{name}\n{about['metric']}"
        rows[title] = _neighbours(index, collection, photos, k)
        folders[title] = about["folder"]
        vectors = analysis.Embeddings.load(_embeddings(index, collection))
        classes = _classes(vectors.names, labels)
        if classes is None:
            click.echo(f"{index}: {name}, no classes")
            continue
        scores = analysis.retrieval(vectors.vectors, classes, (1, k), about["metric"])
        recalls = ", ".join(f"recall@{n} {share:.1%}" for n, share in scores.recall.items())
        click.echo(
            f"{index}: {name}, {recalls}, mAP {scores.mean_average_precision:.1%} "
            f"({scores.queries} queries)"
        )
    _draw(picture, photos, rows, folders)
    click.echo(f"Picture: {picture}")


def _absolute(value: str) -> str:
    """A path that an index can keep; names stay as they are."""
    return str(Path(value).resolve()) if Path(value).exists() else value


def _model(about: dict[str, Any]) -> Any:
    if about["model"].endswith(".keras"):
        import keras

        return keras.models.load_model(about["model"])
    from keras_vitcnn import create_model

    return create_model(about["model"], weights=about["weights"])


def _about(index: str, collection: str) -> dict[str, Any]:
    from keras_vitcnn import analysis

    return analysis.describe_index(index, collection)


def _neighbours(index: str, collection: str, photos: tuple[Path, ...], k: int) -> Any:
    from keras_vitcnn import analysis

    for photo in photos:
        if not photo.is_file():
            raise ValueError(f"The photo does not exist. Received: {str(photo)!r}")
    found = analysis.embed(_model(_about(index, collection)), list(photos))
    if found.skipped:
        raise ValueError(f"The photo can't be decoded. Received: {found.skipped[0]!r}")
    return analysis.query_index(index, found.vectors, k, collection)


def _embeddings(index: str, collection: str) -> Path:
    if "://" in index:
        return Path(f"{collection}.embeddings")
    return Path(index).with_suffix(".embeddings")


def _classes(names: tuple[str, ...], labels: Path | None) -> list[int] | None:
    if labels is not None:
        numbers = json.loads(labels.read_text())
        missing = next((name for name in names if name not in numbers), None)
        if missing is not None:
            raise ValueError(f"The labels lack {missing!r}. Received: labels={str(labels)!r}")
        return [numbers[name] for name in names]
    folders = [name.rpartition("/")[0] for name in names]
    order = {folder: number for number, folder in enumerate(sorted(set(folders)))}
    return [order[folder] for folder in folders] if len(order) > 1 else None


def _draw(picture: Path, photos: tuple[Path, ...], rows: Any, folders: dict[str, str]) -> None:
    from keras_vitcnn import analysis, data
    from keras_vitcnn.files import replacing

    found: dict[str, Any] = {
        title: [
            [data.decode(Path(folders[title]) / one.name, 128) for one in neighbours]
            for neighbours in results
        ]
        for title, results in rows.items()
    }
    titles = {
        title: [[f"{one.score:.3f}" for one in neighbours] for neighbours in results]
        for title, results in rows.items()
    }
    queries = [data.decode(photo, 128) for photo in photos]
    figure = analysis.plot_neighbours(queries, found, titles)
    picture.parent.mkdir(parents=True, exist_ok=True)
    with replacing(picture) as unfinished:
        figure.savefig(unfinished, format="png", dpi=110)
