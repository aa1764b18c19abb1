"""Training hyper-parameters as data, and the optimizer that a recipe describes."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import ops

# Weights with more than one axis longer than 1 that are no filters: position embeddings.
NOT_DECAYED = frozenset({"embedding"})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train. Lengths are fractions of the training, so that any budget can be given."""

    name: str
    optimizer: str = "adamw"  # or "sgd", with Nesterov's momentum
    learning_rate: float = 1e-3  # at its peak and at `reference_batch_size`; scaled linearly
    reference_batch_size: int = 64
    weight_decay: float = 0.05  # decoupled, times the learning rate; see `is_decayed`
    momentum: float = 0.9  # sgd's momentum, adamw's beta_1
    beta_2: float = 0.999
    warmup: float = 0.1  # fraction of the steps on which the learning rate rises from zero
    final_rate: float = 0.01  # of the peak, where the cosine ends
    label_smoothing: float = 0.1
    clip_norm: float | None = 1.0  # of all gradients together
    translate: float = 0.125  # random shift, as a fraction of the image's side

    def __post_init__(self) -> None:
        if self.optimizer not in ("adamw", "sgd"):
            raise ValueError(
                "`optimizer` must be one of ['adamw', 'sgd']. "
                f"Received: optimizer={self.optimizer!r}"
            )
        for name in ("learning_rate", "reference_batch_size"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"`{name}` must be positive. Received: {name}={getattr(self, name)}"
                )
        for name in ("warmup", "final_rate", "label_smoothing", "translate", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"`{name}` must be in [0, 1). Received: {name}={getattr(self, name)}"
                )

    def learning_rate_at(self, batch_size: int) -> float:
        """The peak of the learning rate under the linear rule of arXiv:1706.02677."""
        return self.learning_rate * batch_size / self.reference_batch_size


RECIPES = {
    row.name: row
    for row in (
        Recipe(name="small-data"),
        Recipe(
            name="sgd",
            optimizer="sgd",
            learning_rate=0.1,
            reference_batch_size=128,
            weight_decay=5e-4,
            label_smoothing=0.0,
            warmup=0.05,
            final_rate=0.0,
        ),
    )
}


def recipe(name: str | Recipe, **changes: Any) -> Recipe:
    """A recipe by its name, with any of its fields changed.

    Raises:
        ValueError: for an unknown name, with the known ones.
    """
    if isinstance(name, Recipe):
        return replace(name, **changes)
    if name not in RECIPES:
        nearest = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"the nearest is {nearest[0]!r}, " if nearest else ""
        raise ValueError(
            f"Unknown recipe; {hint}the recipes are: {', '.join(RECIPES)}. "
            f"Received: recipe={name!r}"
        )
    return replace(RECIPES[name], **changes)


@keras.saving.register_keras_serializable("keras_vitcnn")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises linearly from zero, then falls along half a cosine.

    Args:
        peak: highest learning rate.
        warmup: fraction of the steps before the peak.
        final_rate: of the peak, at the last step.
        total_steps: length of the training; a scalar variable of the optimizer where the length
            becomes known only after the step has been compiled.
    """

    def __init__(self, peak: float, warmup: float, final_rate: float, total_steps: Any) -> None:
        self.peak = peak
        self.warmup = warmup
        self.final_rate = final_rate
        self.total_steps = total_steps

    def __call__(self, step: Any) -> Any:
        done = (ops.cast(step, "float32") + 1) / ops.cast(self.total_steps, "float32")
        done = ops.minimum(done, 1.0)
        falling = (done - self.warmup) / (1 - self.warmup)
        cosine = 0.5 * (1 + ops.cos(np.pi * falling))
        fall = self.final_rate + (1 - self.final_rate) * cosine
        rise = done / max(self.warmup, 1e-12)
        return self.peak * ops.where(done < self.warmup, rise, fall)

    def get_config(self) -> dict[str, Any]:
        return {
            "peak": self.peak,
            "warmup": self.warmup,
            "final_rate": self.final_rate,
            "total_steps": int(ops.convert_to_numpy(self.total_steps)),
        }


def is_decayed(variable: Any) -> bool:
    """Whether weight decay pulls at a weight: only at filters and matrices.

    Norms, biases, layer scales, gates and tokens have at most one axis longer than 1; position
    embeddings are excepted by name.
    """
    axes = sum(size > 1 for size in variable.shape)
    return axes > 1 and variable.name not in NOT_DECAYED


def optimizer(recipe: Recipe, model: keras.Model, batch_size: int, dtype: str = "float32") -> Any:
    """The built optimizer of a recipe, and the variable that holds the length of the training.

    The length is a variable so that it can be set once the speed of a compiled step is known.

    Args:
        recipe: what to build.
        model: whose trainable variables it will update.
        batch_size: images of a step, for the linear rule.
        dtype: policy of the model; `"mixed_float16"` gets dynamic loss scaling.

    Returns:
        `(optimizer, total_steps)`; assign the number of steps to the latter before training.
    """
    peak = recipe.learning_rate_at(batch_size)
    schedule = WarmupCosine(peak, recipe.warmup, recipe.final_rate, total_steps=1)
    common = {
        "learning_rate": schedule,
        "weight_decay": recipe.weight_decay,
        "global_clipnorm": recipe.clip_norm,
    }
    if recipe.optimizer == "adamw":
        built = keras.optimizers.AdamW(beta_1=recipe.momentum, beta_2=recipe.beta_2, **common)
    else:
        built = keras.optimizers.SGD(momentum=recipe.momentum, nesterov=True, **common)
    weights = model.trainable_variables
    built.exclude_from_weight_decay([weight for weight in weights if not is_decayed(weight)])
    schedule.total_steps = total = built.add_variable((), initializer="ones", name="total_steps")
    if dtype == "mixed_float16":
        built = keras.optimizers.LossScaleOptimizer(built)
    built.build(weights)
    return built, total
