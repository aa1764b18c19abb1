"""Every named model: its config, its name in timm, and the constructor made of them."""

from __future__ import annotations

import difflib
import fnmatch
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras

from keras_vitcnn.models import published
from keras_vitcnn.models.build import build
from keras_vitcnn.models.pretrained import Wanted


class Constructor(Protocol):
    """The one signature of every model; `build` says what the arguments mean."""

    __name__: str

    def __call__(
        self,
        include_top: bool = True,
        include_preprocessing: bool = True,
        weights: str | Path | None = None,
        input_tensor: Any = None,
        input_shape: tuple[int | None, ...] | None = None,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: str | None = "softmax",
        name: str | None = None,
        *,
        drop_path_rate: float = 0.0,
        dropout_rate: float = 0.0,
        dtype: Any = None,
        remat: bool = False,
    ) -> keras.Model: ...


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A row of the zoo."""

    name: str
    config: Any
    constructor: Constructor
    source: str  # paper or official code
    timm: tuple[str, ...]  # timm's names of this architecture; empty where timm lacks it
    alias: str  # lower-case name; the first of timm's where there is one


VARIANTS: dict[str, Variant] = {}


def variant(name: str, config: Any, source: str, *, timm: str = "", alias: str = "") -> Constructor:
    """Register a model and return its constructor.

    Args:
        name: of the constructor.
        config: what it builds.
        source: paper or official code, for the docstring.
        timm: timm's names, the default first, separated by spaces.
        alias: lower-case name of a model that timm lacks.
    """
    timm_names = tuple(timm.split())
    default_name = alias or timm_names[0]

    def constructor(
        include_top: bool = True,
        include_preprocessing: bool = True,
        weights: str | Path | None = None,
        input_tensor: Any = None,
        input_shape: tuple[int | None, ...] | None = None,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: str | None = "softmax",
        name: str | None = None,
        *,
        drop_path_rate: float = 0.0,
        dropout_rate: float = 0.0,
        dtype: Any = None,
        remat: bool = False,
    ) -> keras.Model:
        return build(
            config,
            include_top=include_top,
            include_preprocessing=include_preprocessing,
            weights=Wanted(weights, row.name),
            input_tensor=input_tensor,
            input_shape=input_shape,
            pooling=pooling,
            classes=classes,
            classifier_activation=classifier_activation,
            name=name or default_name,
            drop_path_rate=drop_path_rate,
            dropout_rate=dropout_rate,
            dtype=dtype,
            remat=remat,
        )

    constructor.__name__ = constructor.__qualname__ = name
    constructor.__module__ = "keras_vitcnn"
    arguments = (build.__doc__ or "").split("include_top:", 1)[1]
    constructor.__doc__ = f"""Build {name} ({source}).

    The config is `keras_vitcnn.config_of({name!r})`.

    Args:
        include_top:{arguments}"""
    row = Variant(
        name=name,
        config=config,
        constructor=constructor,
        source=source,
        timm=timm_names,
        alias=default_name,
    )
    VARIANTS[name] = row
    return constructor


def find(name: str) -> Variant:
    """The row of a constructor's or timm's name; `ValueError` with the nearest names otherwise."""
    if name in VARIANTS:
        return VARIANTS[name]
    aliases = {alias: row for row in VARIANTS.values() for alias in (row.alias, *row.timm)}
    if name in aliases:
        return aliases[name]
    lowered = {known.lower(): known for known in (*VARIANTS, *aliases)}
    nearest = difflib.get_close_matches(str(name).lower(), lowered, n=3, cutoff=0.5)
    hint = ", ".join(lowered[match] for match in nearest) or "see keras_vitcnn.list_models()"
    raise ValueError(f"Unknown model; the nearest names are: {hint}. Received: name={name!r}")


def create_model(name: str, **options: Any) -> keras.Model:
    """Build a model by name.

    Args:
        name: a constructor's (`"ConvNeXtTiny"`) or timm's (`"convnext_tiny"`).
        **options: as of every constructor, see `build`.

    Raises:
        ValueError: for an unknown name, with the nearest ones.
    """
    return find(name).constructor(**options)


def list_models(pattern: str = "*", pretrained: bool = False) -> list[str]:
    """Names of the constructors that match a shell pattern, in the zoo's order.

    Args:
        pattern: e.g. `"ConvNeXt*"`; case matters.
        pretrained: only those with published weights; `list_weights` has their tags.
    """
    names = [name for name in VARIANTS if fnmatch.fnmatchcase(name, pattern)]
    if not pretrained:
        return names
    return [name for name in names if published.checkpoints(VARIANTS[name].timm)]


def list_weights(pattern: str = "*") -> dict[str, list[published.Published]]:
    """The published checkpoints of the constructors that match a shell pattern.

    Args:
        pattern: e.g. `"ConvNeXt*"`; case matters.

    Returns:
        Constructor's name -> its checkpoints, the one that `weights="imagenet"` means first. The
        `tag` of each is a value for `weights`; where one stands for checkpoints of two image sizes,
        the other one is named in full, `name`.
    """
    models = list_models(pattern, pretrained=True)
    return {name: published_for(VARIANTS[name]) for name in models}


def published_for(row: Variant) -> list[published.Published]:
    """A variant's checkpoints, its default first: the first one with ImageNet-1k's classes."""
    found = published.checkpoints(row.timm)
    return sorted(found, key=lambda checkpoint: checkpoint is not _default(found))


def _default(found: list[published.Published]) -> published.Published | None:
    return next((checkpoint for checkpoint in found if checkpoint.classes == 1000), None)


def config_of(name: str) -> Any:
    """The frozen config behind a constructor's or timm's name."""
    return find(name).config
