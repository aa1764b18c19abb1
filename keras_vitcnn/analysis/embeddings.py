"""Vectors of images: folders of any size, in bounded memory, from where an interrupted run was."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_vitcnn.files import replacing
from keras_vitcnn.system import cores

PART = 1024  # images between two writes


@dataclass(frozen=True, eq=False)
class Embeddings:
    """One vector for each image that could be read."""

    names: tuple[str, ...]  # paths relative to the folder, or numbers of an array's images
    vectors: np.ndarray  # (n, d) float32; mapped from its file where there is one
    skipped: tuple[str, ...] = ()  # images that could not be decoded

    @classmethod
    def load(cls, folder: str | Path) -> Embeddings:
        """What `embed(..., out=folder)` finished.

        Raises:
            ValueError: if the folder holds no finished embeddings.
        """
        folder = Path(folder)
        if not (folder / "names.json").is_file():
            raise ValueError(
                "The folder holds no finished embeddings; run `embed` with it as `out` (again). "
                f"Received: folder={str(folder)!r}"
            )
        listing = json.loads((folder / "names.json").read_text())
        vectors = np.load(folder / "vectors.npy", mmap_mode="r")
        return cls(tuple(listing["names"]), vectors, tuple(listing["skipped"]))


def embed(
    model: keras.Model,
    images: str | Path | Sequence[Path] | np.ndarray,
    out: str | Path | None = None,
    *,
    batch_size: int = 32,
    show_progress: bool = False,
) -> Embeddings:
    """The vector in front of a model's classifier, for every image.

    Images are prepared as the model's weights want them (`data.preprocess_for`). A file that can't
    be decoded is left out and named in `skipped`.

    Args:
        model: with its top, or without it and with `pooling`.
        images: a folder with all folders in it, a list of files, or an array (n, h, w, c), uint8.
        out: folder to write to, 1,024 images at a time: memory is bounded by that, and the same
            call after an interruption goes on where it was. Without it all is kept in memory.
        batch_size: images in one call of the model.
        show_progress: a bar on stderr.

    Raises:
        ValueError: if there are no images, none could be decoded, `out` belongs to another model or
            other images, or the model ends in a map.
    """
    encoder = keras.Model(model.input, _vector(model))
    names, sources = _listed(images)
    work = _Work(encoder, _preprocess(model), batch_size)
    folder = None if out is None else _opened(Path(out), _fingerprint(encoder, names, sources))
    if folder and (folder / "names.json").exists():
        return Embeddings.load(folder)
    starts = range(0, len(sources), PART)
    parts = []
    for start in _shown(starts, show_progress):
        file = folder and folder / "parts" / f"{start:012}.npz"
        if file and file.exists():
            continue
        vectors, kept = work.run(sources[start : start + PART])
        if file:
            with replacing(file) as unfinished, unfinished.open("wb") as stream:
                np.savez(stream, vectors=vectors, kept=kept)
        else:
            parts.append((vectors, kept))
    if folder:
        return _joined(folder, names, starts)
    kept = np.concatenate([kept for _, kept in parts])
    return Embeddings(
        vectors=np.concatenate([vectors for vectors, _ in parts]), **_read(names, kept)
    )


class _Work:
    """Decodes, encodes and counts what could not be decoded."""

    def __init__(self, encoder: keras.Model, preprocess: Any, batch_size: int) -> None:
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(
                f"`batch_size` must be a positive integer. Received: batch_size={batch_size!r}"
            )
        self.encoder = encoder
        self.preprocess = preprocess
        self.batch_size = batch_size

    def run(self, sources: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors (kept, d), and whether each source was kept (n,)."""
        width = self.encoder.output.shape[-1]
        vectors, kept = [np.empty((0, width), "float32")], []
        with ThreadPoolExecutor(min(4, cores())) as pool:
            for start in range(0, len(sources), self.batch_size):
                read = list(pool.map(self._read, sources[start : start + self.batch_size]))
                images = [image for image in read if image is not None]
                kept += [image is not None for image in read]
                if images:
                    # Full batches only: another shape would be compiled once more.
                    filled = images + images[-1:] * (self.batch_size - len(images))
                    found = self.encoder.predict_on_batch(np.stack(filled))
                    vectors.append(np.asarray(found, "float32")[: len(images)])
        return np.concatenate(vectors), np.array(kept, bool)

    def _read(self, source: Any) -> np.ndarray | None:
        try:
            return self.preprocess(source)
        except ImportError:
            raise
        except Exception:  # each of Pillow's decoders has kinds of its own
            return None


def _vector(model: keras.Model) -> Any:
    """What the classifier sees; of two heads (distilled DeiT) the mean of what they see."""
    layers = {layer.name: layer for layer in model.layers}
    if "head_dropout" in layers:
        seen = [layers[n].input for n in ("head_dropout", "head_dist_dropout") if n in layers]
        return seen[0] if len(seen) == 1 else keras.layers.Average(name="embedding")(seen)
    if len(model.outputs) == 1 and len(model.output.shape) == 2:
        return model.output
    raise ValueError(
        "`model` must end in a vector for each image: build it with its top, or with `pooling`. "
        f"Received: model={model.name!r} with outputs of shape {model.outputs[0].shape}"
    )


def _preprocess(model: keras.Model) -> Any:
    from keras_vitcnn.data import preprocess_for  # what building a model does not need

    return preprocess_for(model)


def _listed(images: Any) -> tuple[tuple[str, ...], Sequence[Any]]:
    from keras_vitcnn.data.sources import SUFFIXES

    sources: Any
    if isinstance(images, np.ndarray):
        names, sources = tuple(str(row) for row in range(len(images))), images
    elif isinstance(images, (str, Path)):
        folder = Path(images)
        sources = sorted(
            file
            for file in folder.rglob("*")
            if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
        )
        names = tuple(file.relative_to(folder).as_posix() for file in sources)
    else:
        sources = [Path(file) for file in images]
        names = tuple(file.as_posix() for file in sources)
    if not len(sources):
        shown = str(images) if isinstance(images, (str, Path)) else type(images).__name__
        raise ValueError(f"There are no images to embed. Received: images={shown!r}")
    return names, sources


def _fingerprint(encoder: keras.Model, names: Sequence[str], sources: Any) -> dict[str, str]:
    """What a folder of embeddings belongs to."""
    weights = hashlib.blake2b(digest_size=8)
    for value in encoder.get_weights():
        weights.update(np.ascontiguousarray(value).tobytes())
    images = hashlib.blake2b(digest_size=8)
    if isinstance(sources, np.ndarray):
        images.update(np.ascontiguousarray(sources).tobytes())
    else:
        for name, file in zip(names, sources, strict=True):
            size = file.stat().st_size if file.is_file() else -1
            images.update(f"{name}\0{size}\n".encode())
    return {"model": weights.hexdigest(), "images": images.hexdigest()}


def _opened(folder: Path, fingerprint: dict[str, str]) -> Path:
    """The folder, new or begun by the same call."""
    settings = folder / "settings.json"
    if settings.exists():
        if json.loads(settings.read_text()) != fingerprint:
            raise ValueError(
                "The folder holds embeddings of another model or of other images: choose another "
                f"one, or delete it. Received: out={str(folder)!r}"
            )
    else:
        (folder / "parts").mkdir(parents=True, exist_ok=True)
        with replacing(settings) as unfinished:
            unfinished.write_text(json.dumps(fingerprint))
    return folder


def _joined(folder: Path, names: tuple[str, ...], starts: range) -> Embeddings:
    """One file of all vectors, copied part by part."""
    files = [folder / "parts" / f"{start:012}.npz" for start in starts]
    kept = np.concatenate([np.load(file)["kept"] for file in files])
    listing = _read(names, kept)
    with replacing(folder / "vectors.npy") as unfinished:
        shape = int(kept.sum()), np.load(files[0])["vectors"].shape[1]
        together = np.lib.format.open_memmap(unfinished, "w+", "float32", shape)
        row = 0
        for file in files:
            vectors = np.load(file)["vectors"]
            together[row : row + len(vectors)] = vectors
            row += len(vectors)
        together.flush()
        del together
    with replacing(folder / "names.json") as unfinished:
        unfinished.write_text(json.dumps(listing))
    shutil.rmtree(folder / "parts")
    return Embeddings.load(folder)


def _read(names: tuple[str, ...], kept: np.ndarray) -> dict[str, tuple[str, ...]]:
    """The names of what was decoded and of what was not."""
    skipped = tuple(name for name, k in zip(names, kept, strict=True) if not k)
    if len(skipped) == len(names):
        raise ValueError(
            f"None of the {len(names)} images could be decoded. Received: {names[0]!r}, ..."
        )
    read = tuple(name for name, k in zip(names, kept, strict=True) if k)
    return {"names": read, "skipped": skipped}


def _shown(starts: range, show: bool) -> Any:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(starts, "embedding", console=console, disable=not show)
