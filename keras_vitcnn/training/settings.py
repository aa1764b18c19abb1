"""The settings of a comparison: everything that changes a result, checked and written down."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from keras_vitcnn import data as images
from keras_vitcnn.data import ImageData
from keras_vitcnn.training.recipes import Recipe, recipe

DTYPES = ("float32", "mixed_bfloat16", "mixed_float16")
DEFAULT_EPOCHS = 10
SETTINGS = "settings.json"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How all models of one comparison are trained."""

    data: str = "digits"  # or a folder, or "tfds:NAME"; see `keras_vitcnn.data.load`
    epochs: int | None = None  # 10, or as many as `minutes_per_model` allows
    batch_size: int = 64
    image_size: int | None = None  # pixels; by default the data decides
    recipe: Recipe = field(default_factory=lambda: recipe("small-data"))
    dtype: str = "float32"  # dtype policy, or "mixed_bfloat16", "mixed_float16"
    drop_path_rate: float | None = None  # of the last block; by default the recipe's
    minutes_per_model: float | None = None  # of training and evaluation, compilation excluded
    limit_train: int | None = None  # images, every class keeping its share
    limit_val: int | None = None
    width_multiplier: float = 1.0  # on the channels of every model
    stem_stride: int | None = None  # instead of the rule of `models.adapt_to_image_size`
    flip: bool | None = None  # mirror images while training; by default the data decide
    skip_bad_images: bool = False

    def __post_init__(self) -> None:
        if self.epochs is None and self.minutes_per_model is None:
            object.__setattr__(self, "epochs", DEFAULT_EPOCHS)
        if self.drop_path_rate is None:
            object.__setattr__(self, "drop_path_rate", self.recipe.drop_path_rate)
        if self.dtype not in DTYPES:
            raise ValueError(
                f"`dtype` must be one of {list(DTYPES)}. Received: dtype={self.dtype!r}"
            )
        if not 0 <= (self.drop_path_rate or 0) < 1:
            raise ValueError(
                "`drop_path_rate` must be in [0, 1). "
                f"Received: drop_path_rate={self.drop_path_rate}"
            )
        for name in (
            "epochs",
            "batch_size",
            "image_size",
            "minutes_per_model",
            "limit_train",
            "limit_val",
            "width_multiplier",
            "stem_stride",
        ):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"`{name}` must be positive. Received: {name}={value}")

    def load(self, data_dir: str | Path | None, progress: Any) -> ImageData:
        """The images; arguments as of `keras_vitcnn.data.load`."""
        return images.load(
            self.data,
            image_size=self.image_size,
            limit_train=self.limit_train,
            limit_val=self.limit_val,
            flip=self.flip,
            skip_bad_images=self.skip_bad_images,
            photos=self.recipe.photos,
            data_dir=data_dir,
            progress=progress,
        )


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """`name: old value -> new value` of every setting that is not equal."""
    return [
        f"{name}: {json.dumps(old.get(name))} -> {json.dumps(new.get(name))}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def flat(settings: Settings, **more: Any) -> dict[str, Any]:
    """Plain values of one level, for JSON: the recipe's fields become `recipe.learning_rate` ..."""
    values = asdict(settings) | more
    fields = values.pop("recipe")
    values["recipe"] = fields.pop("name")
    values |= {f"recipe.{name}": value for name, value in fields.items()}
    return as_read(values)


def as_read(values: dict[str, Any]) -> dict[str, Any]:
    """The values as they come back from a JSON file: tuples are lists, paths strings."""
    return json.loads(json.dumps(values, default=lambda value: str(Path(value))))


def read_settings(folder: Path) -> dict[str, Any]:
    """What an earlier call wrote into a folder, {} without one."""
    try:
        return json.loads((folder / SETTINGS).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(
            f"{SETTINGS} in the folder is not valid JSON; use another folder. "
            f"Received: out={str(folder)!r}"
        ) from error


def check_folder(
    folder: Path, plain: dict[str, Any], what: str, free: Collection[str] = ()
) -> None:
    """Raise `ValueError` unless a folder is new or holds the same settings, but for `free` ones."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"`out` must be a folder. Received: out={str(folder)!r}")
    old, new = (
        {name: value for name, value in values.items() if name not in free}
        for values in (read_settings(folder), plain)
    )
    if old != new and (folder / SETTINGS).exists():
        raise ValueError(
            f"The folder holds a {what} with other settings "
            f"({'; '.join(differences(old, new))}). Use these, or another folder. "
            f"Received: out={str(folder)!r}"
        )
