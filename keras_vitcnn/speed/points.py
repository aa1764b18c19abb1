"""What can be measured: one model, one batch size, one image size, one dtype, one mode."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

from keras_vitcnn.config import check_choice, check_positive
from keras_vitcnn.models import trunk
from keras_vitcnn.models.registry import find
from keras_vitcnn.training.settings import DTYPES

MODES = ("inference", "training")
# -> jit_compile of keras.Model.compile
JIT: dict[str, str | bool] = {"auto": "auto", "on": True, "off": False}


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measurement; the field names are those of the results."""

    model: str  # name of a constructor, or timm's
    mode: str = "inference"  # or "training": forward, backward and an update by AdamW
    batch_size: int = 8
    image_size: int = 224  # pixels along a side
    dtype: str = "float32"  # dtype policy, or "mixed_bfloat16", "mixed_float16"
    jit: str = "auto"  # XLA or torch.compile as Keras chooses, or "on", "off"

    def __post_init__(self) -> None:
        row = find(self.model)
        object.__setattr__(self, "model", row.name)
        check_choice("mode", self.mode, MODES)
        check_choice("dtype", self.dtype, DTYPES)
        check_choice("jit", self.jit, tuple(JIT))
        check_positive(batch_size=self.batch_size, image_size=self.image_size)
        trunk.check_image(row.config, self.image_size, self.image_size)

    def __str__(self) -> str:
        return (
            f"{self.model}, {self.mode}, batch {self.batch_size}, {self.image_size} px, "
            f"{self.dtype}" + ("" if self.jit == "auto" else f", jit {self.jit}")
        )


def grid(
    models: Iterable[str],
    *,
    modes: Iterable[str] = ("inference",),
    batch_sizes: Iterable[int] = (8,),
    image_sizes: Iterable[int] = (224,),
    dtypes: Iterable[str] = ("float32",),
    jit: str = "auto",
) -> list[Point]:
    """Every combination, each once, model by model.

    Raises:
        ValueError: for a combination that can't work, and for an empty argument.
    """
    axes: dict[str, list[Any]] = {
        "models": list(models),
        "modes": list(modes),
        "dtypes": list(dtypes),
        "image_sizes": list(image_sizes),
        "batch_sizes": list(batch_sizes),
    }
    for name, values in axes.items():
        if not values:
            raise ValueError(f"`{name}` must not be empty. Received: {name}={values}")
    points = [
        Point(model=model, mode=mode, batch_size=batch, image_size=size, dtype=dtype, jit=jit)
        for model, mode, dtype, size, batch in product(*axes.values())
    ]
    return list(dict.fromkeys(points))
