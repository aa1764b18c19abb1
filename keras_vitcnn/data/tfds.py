"""Images of tensorflow-datasets, read once into memory as the encoded bytes they are stored as."""

from __future__ import annotations

import difflib
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_vitcnn.data.images import GIB, Source
from keras_vitcnn.data.sources import FOLDER_SIZE, Collection, Listing
from keras_vitcnn.extras import require

VAL_SPLITS = ("validation", "val", "test")
BYTES_LIMIT = 4 * GIB  # of encoded images held in memory
DOWNLOADS = "https://storage.googleapis.com"


def read(name: str, data_dir: str | Path | None = None) -> Collection:
    """A classification set by its name in tensorflow-datasets, downloaded if it is not prepared.

    Trains on the split `train`, validates with `validation` or `test`, or with a fixed stratified
    20 % of `train` where there is neither.

    Args:
        name: e.g. `"cifar10"` or `"cifar10:3.0.2"`.
        data_dir: where prepared sets lie; `$TFDS_DATA_DIR` or `~/tensorflow_datasets` by default.

    Raises:
        ValueError: for an unknown name, with the nearest; for a set without images and labels.
        OSError: if the set must be downloaded and there is no network.
    """
    tfds = _tfds()
    builder = _builder(tfds, name, data_dir)
    image_key, label_key = _keys(tfds, builder, name)
    if not builder.is_prepared():
        _download(builder, name)
    splits = builder.info.splits
    if "train" not in splits:
        raise ValueError(
            f"The set has no split 'train', only {sorted(splits)}. Received: data='tfds:{name}'"
        )
    val_name = next((split for split in VAL_SPLITS if split in splits), None)
    train = _listing(tfds, builder, "train", image_key, label_key)
    if val_name is None:
        train, val = train.split()
    else:
        val = _listing(tfds, builder, val_name, image_key, label_key)
    height, width = builder.info.features[image_key].shape[:2]
    split = f"its splits train and {val_name}" if val_name else "a stratified 80/20 split"
    return Collection(
        train=train,
        val=val,
        class_names=tuple(builder.info.features[label_key].names),
        image_size=min(height, width) if height and width else FOLDER_SIZE,
        origin=f"tensorflow-datasets' {builder.info.full_name}, {split}",
        fingerprint=builder.info.full_name,
    )


def _tfds() -> Any:
    for module in ("tensorflow_datasets", "tensorflow"):  # its files are TensorFlow's records
        require(module, "tensorflow,data")
    require("PIL", "data")
    import keras
    import tensorflow as tf
    import tensorflow_datasets as tfds

    if keras.backend.backend() != "tensorflow":
        tf.config.set_visible_devices([], "GPU")  # else it takes the other backend's memory
    logging.getLogger("absl").addFilter(_concerns_us)
    return tfds


def _concerns_us(record: logging.LogRecord) -> bool:
    """False for what tensorflow-datasets tells of its own code to whoever reads a set."""
    return "FeatureConnector.dtype" not in record.getMessage()


def _builder(tfds: Any, name: str, data_dir: str | Path | None) -> Any:
    try:
        return tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError:
        known = tfds.list_builders(with_community_datasets=False)
        nearest = difflib.get_close_matches(name.partition("/")[0].partition(":")[0], known, n=3)
        hint = f"the nearest names are: {', '.join(nearest)}" if nearest else "no name is similar"
    except AssertionError as error:  # a version that does not exist
        hint = " ".join(str(error).split()).rpartition(": ")[2].rstrip(".")
    raise ValueError(f"Unknown tensorflow-datasets name; {hint}. Received: data='tfds:{name}'")


def _keys(tfds: Any, builder: Any, name: str) -> tuple[str, str]:
    """The one image and the one class label of an example."""
    features = builder.info.features
    keys = []
    for kind in (tfds.features.Image, tfds.features.ClassLabel):
        found = [key for key in features if isinstance(features[key], kind)]
        preferred = [key for key in builder.info.supervised_keys or () if key in found]
        if len(found) != 1 and len(preferred) != 1:
            raise ValueError(
                f"The set has {len(found)} features of kind {kind.__name__}, and a comparison "
                f"needs one; its features are {list(features)}. Received: data='tfds:{name}'"
            )
        keys.append((preferred or found)[0])
    return keys[0], keys[1]


def _download(builder: Any, name: str) -> None:
    mend = (
        f"If it lies prepared elsewhere, name the folder that holds {builder.name}/ in "
        f"TFDS_DATA_DIR or data_dir. Received: data='tfds:{name}'"
    )
    where = f"The set is not prepared in {os.fspath(builder.data_dir)!r}"
    try:  # tensorflow-datasets itself would go on trying for minutes, and leave folders behind
        urllib.request.urlopen(DOWNLOADS, timeout=5).close()
    except urllib.error.HTTPError:
        pass  # an answer all the same
    except OSError as error:
        raise OSError(f"{where}, and there is no network to download it. {mend}") from error
    try:
        builder.download_and_prepare()
    except Exception as error:  # whatever a download or a script of the set's author raises
        reason = " ".join(str(error).split())[:300]
        raise OSError(f"{where}, and its download failed ({reason}). {mend}") from error


def _listing(tfds: Any, builder: Any, split: str, image_key: str, label_key: str) -> Listing:
    def values(key: str) -> Iterator[np.ndarray]:
        """One feature of all examples in their stored order; images as encoded bytes."""
        decoders = {key: tfds.decode.SkipDecoding()} if key == image_key else None
        only = tfds.decode.PartialDecoding({key: True}, decoders=decoders)
        dataset = builder.as_dataset(split=split, decoders=only)
        # In batches, because handing over one example costs more than reading it.
        return iter(tfds.as_numpy(dataset.map(lambda example: example[key]).batch(1024)))

    def fetch(indices: np.ndarray) -> Sequence[Source]:
        images: list[bytes] = []
        total = start = 0
        for batch in values(image_key):
            first, last = np.searchsorted(indices, (start, start + len(batch)))
            chosen = [batch[index - start] for index in indices[first:last]]
            images += chosen
            start += len(batch)
            total += sum(map(len, chosen))
            if total > BYTES_LIMIT:
                raise ValueError(
                    f"The split {split!r} does not fit into {BYTES_LIMIT // GIB} GiB of memory; "
                    "set limit_train and limit_val (--limit-train, --limit-val). "
                    f"Received: data='tfds:{builder.name}'"
                )
        return images

    labels = np.concatenate(list(values(label_key)))
    if (labels < 0).any():
        raise ValueError(
            f"The split {split!r} has images without a label. Received: data='tfds:{builder.name}'"
        )
    return Listing(labels, fetch)
