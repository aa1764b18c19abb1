"""Nearest images: an index of embeddings in Milvus, and how good a model's neighbours are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_vitcnn.analysis.embeddings import Embeddings
from keras_vitcnn.config import check_choice, check_positive
from keras_vitcnn.extras import require

METRICS = {"cosine": "COSINE", "l2": "L2"}
ABOUT = "_about"  # a second collection holds what there is to say about the first
ROWS = 1000  # sent at once


@dataclass(frozen=True)
class Neighbour:
    """An image that an index found."""

    name: str
    score: float  # cosine similarity, or squared L2 distance


def build_index(
    embeddings: Embeddings,
    uri: str | Path,
    *,
    metric: str = "cosine",
    collection: str = "images",
    about: dict[str, Any] | None = None,
) -> None:
    """Put embeddings into a collection of Milvus with an exact (FLAT) index.

    Args:
        embeddings: of `embed`.
        uri: of a Milvus server, "http://host:19530", or the path of a new index of Milvus Lite,
            embedded in this process, which must end in .db.
        metric: `"cosine"` or `"l2"`.
        collection: its name; must not exist.
        about: what else to keep (plain values), such as the model's name; see `describe_index`.

    Raises:
        ValueError: if the index or the collection is there already.
        OSError: if a server can't be reached.
        ImportError: with the command that installs Milvus.
    """
    check_choice("metric", metric, tuple(METRICS))
    if _is_server(uri):
        with _client(uri) as client:
            if client.has_collection(collection):
                raise ValueError(
                    "The collection is there already; drop it or choose another name. "
                    f"Received: collection={collection!r}"
                )
            try:
                _fill(client, embeddings, metric, collection, about or {})
            except BaseException:
                for name in (collection, collection + ABOUT):
                    client.drop_collection(name)
                raise
        return
    check_new_index(uri)
    file = _local(uri)
    unfinished = file.with_name(f"{file.stem}.part.db")
    shutil.rmtree(unfinished, ignore_errors=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _client(unfinished) as client:
            _fill(client, embeddings, metric, collection, about or {})
        unfinished.rename(file)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def check_new_index(uri: str | Path) -> None:
    """Raise `ValueError` unless an index of Milvus Lite can be made there; servers pass."""
    if not _is_server(uri) and _local(uri).exists():
        raise ValueError(f"The index is there already; delete it first. Received: uri={str(uri)!r}")


def describe_index(uri: str | Path, collection: str = "images") -> dict[str, Any]:
    """What is known of an index: `metric`, `dimension`, `images`, and what `about` said.

    Raises:
        ValueError: if there is no such index or collection.
        OSError: if a server can't be reached.
    """
    with _opened(uri, collection) as client:
        return _about(client, collection)


def query_index(
    uri: str | Path, vectors: np.ndarray, k: int = 10, collection: str = "images"
) -> list[list[Neighbour]]:
    """The k nearest images of each vector (n, d), nearest first.

    Raises:
        ValueError: if there is no such index, or the vectors have another dimension than it has.
        OSError: if a server can't be reached.
    """
    check_positive(k=k)
    vectors = np.atleast_2d(np.asarray(vectors, "float32"))
    with _opened(uri, collection) as client:
        dimension = _about(client, collection)["dimension"]
        if vectors.shape[1] != dimension:
            raise ValueError(
                f"The index holds vectors of {dimension} numbers: query it with the model that it "
                f"was built with. Received: vectors of {vectors.shape[1]} numbers"
            )
        found = client.search(collection, data=vectors.tolist(), limit=k, output_fields=["name"])
    return [
        [Neighbour(hit["entity"]["name"], float(hit["distance"])) for hit in hits] for hits in found
    ]


@dataclass(frozen=True, eq=False)
class Retrieval:
    """How many of an image's neighbours are of its class, over a labelled set."""

    recall: dict[int, float]  # k -> share of images with one of their class among the k nearest
    average_precision: dict[int, float]  # class -> mean over its images
    queries: int  # images whose class has another image

    @property
    def mean_average_precision(self) -> float:
        """The mean over the classes."""
        return float(np.mean(list(self.average_precision.values())))


def retrieval(
    vectors: np.ndarray,
    labels: Sequence[int] | np.ndarray,
    k: Sequence[int] = (1, 5, 10),
    metric: str = "cosine",
) -> Retrieval:
    """Look for each image among all others, exactly, and judge the ranking by its class.

    The average precision of an image is the mean, over the images of its class, of the precision
    down to each of them. Images without another one of their class are no queries.

    Args:
        vectors: (n, d).
        labels: (n,) integers.
        k: neighbours that count for recall.
        metric: `"cosine"` or `"l2"`.

    Raises:
        ValueError: if the numbers of vectors and labels differ, or no class has two images.
    """
    check_choice("metric", metric, tuple(METRICS))
    check_positive(k=tuple(k))
    labels = np.asarray(labels)
    vectors = np.asarray(vectors, "float32")
    if len(vectors) != len(labels):
        raise ValueError(
            f"There must be a label for each vector. Received: {len(vectors)} vectors, "
            f"{len(labels)} labels"
        )
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    queries = np.flatnonzero(counts[inverse] > 1)
    if not len(queries):
        raise ValueError("No class has two images, so there is nothing to find.")
    first_hits, precisions = [], []
    for start in range(0, len(queries), 256):
        rows = queries[start : start + 256]
        order = np.argsort(_distances(vectors[rows], vectors, metric), axis=1, kind="stable")
        order = order[order != rows[:, None]].reshape(len(rows), -1)  # an image isn't its neighbour
        relevant = labels[order] == labels[rows, None]
        first_hits.append(relevant.argmax(axis=1))
        precision = relevant.cumsum(axis=1) / np.arange(1, relevant.shape[1] + 1)
        precisions.append((precision * relevant).sum(axis=1) / relevant.sum(axis=1))
    first, average = np.concatenate(first_hits), np.concatenate(precisions)
    return Retrieval(
        recall={count: float(np.mean(first < count)) for count in k},
        average_precision={
            int(label): float(average[labels[queries] == label].mean())
            for label in np.unique(labels[queries])
        },
        queries=len(queries),
    )


def plot_neighbours(
    queries: Sequence[Any], found: dict[str, Sequence[Sequence[Any]]], titles: Any = None
) -> Any:
    """Each query's nearest images under several models, side by side.

    Args:
        queries: images (h, w, 3), uint8.
        found: model's name -> for each query its neighbours' images, nearest first.
        titles: model's name -> for each query a word for each neighbour; unless `None`.
    """
    require("matplotlib", "plot")
    from matplotlib.figure import Figure

    most = max(len(images) for rows in found.values() for images in rows)
    lines = len(queries) * len(found)
    figure = Figure(figsize=(1.35 * (most + 1), 1.5 * lines), layout="constrained")
    axes = figure.subplots(lines, most + 1, squeeze=False)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.axis("off")
    for row, query in enumerate(queries):
        for column, (name, results) in enumerate(found.items()):
            line = axes[row * len(found) + column]
            line[0].axis("on")
            line[0].set_ylabel(name, fontsize=8)
            line[0].imshow(query)
            for place, image in enumerate(results[row]):
                line[place + 1].imshow(image)
                if titles is not None:
                    line[place + 1].set_title(titles[name][row][place], fontsize=7)
    return figure


def _distances(queries: np.ndarray, vectors: np.ndarray, metric: str) -> np.ndarray:
    if metric == "cosine":
        queries, vectors = (
            part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12)
            for part in (queries, vectors)
        )
        return -(queries @ vectors.T)
    return (vectors**2).sum(axis=1) - 2 * queries @ vectors.T


def _is_server(uri: str | Path) -> bool:
    return "://" in str(uri)


def _local(uri: str | Path) -> Path:
    file = Path(uri)
    if file.suffix != ".db":
        raise ValueError(
            "An index is a Milvus server's address (http://...) or a path that ends in .db. "
            f"Received: uri={str(uri)!r}"
        )
    return file


@contextmanager
def _client(uri: str | Path) -> Iterator[Any]:
    require("pymilvus", "search")
    import logging
    import os

    if not _is_server(uri):
        require("milvus_lite", "search")
        # Its server, in this process, prints a traceback for every call that it lacks.
        logging.getLogger("grpc._server").setLevel(logging.CRITICAL)

    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from pymilvus import MilvusClient
    from pymilvus.exceptions import MilvusException

    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # what it logs, it raises too
    try:
        client = MilvusClient(str(uri))
    except MilvusException as error:
        raise OSError(
            f"Milvus can't be reached ({error.message}). Received: uri={uri!r}"
        ) from error
    try:
        yield client
    except MilvusException as error:
        raise OSError(f"Milvus failed ({error.message}). Received: uri={str(uri)!r}") from error
    finally:
        client.close()
        if not _is_server(uri):  # the server inside this process would keep the file
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(str(uri))


@contextmanager
def _opened(uri: str | Path, collection: str) -> Iterator[Any]:
    if not _is_server(uri) and not _local(uri).exists():
        raise ValueError(f"There is no such index; build it first. Received: uri={str(uri)!r}")
    with _client(uri) as client:
        if not client.has_collection(collection + ABOUT):
            raise ValueError(
                f"The index has no collection of that name, but {client.list_collections()}. "
                f"Received: collection={collection!r}"
            )
        for name in (collection, collection + ABOUT):
            client.load_collection(name)
        yield client


def _fill(
    client: Any, embeddings: Embeddings, metric: str, collection: str, about: dict[str, Any]
) -> None:
    count, dimension = embeddings.vectors.shape
    _create(client, collection, dimension, metric)
    for start in range(0, count, ROWS):
        vectors = np.asarray(embeddings.vectors[start : start + ROWS])
        rows = [
            {"id": start + row, "name": embeddings.names[start + row], "vector": vector}
            for row, vector in enumerate(vectors.tolist())
        ]
        client.insert(collection, rows)
    client.flush(collection)
    known = about | {"metric": metric, "dimension": dimension, "images": count}
    _create(client, collection + ABOUT, 2, "l2")  # last: an index that has it is complete
    client.insert(collection + ABOUT, [{"id": 0, "name": json.dumps(known), "vector": [0.0, 0.0]}])
    client.flush(collection + ABOUT)


def _create(client: Any, collection: str, dimension: int, metric: str) -> None:
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("name", DataType.VARCHAR, max_length=8192)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type=METRICS[metric])
    client.create_collection(collection, schema=schema, index_params=index)


def _about(client: Any, collection: str) -> dict[str, Any]:
    (row,) = client.get(collection + ABOUT, ids=[0], output_fields=["name"])
    return json.loads(row["name"])
