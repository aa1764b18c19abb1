"""The optimizer that a recipe describes, built for a model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from keras_vitcnn.training.layer_groups import depths, undecayed
from keras_vitcnn.training.recipes import Recipe
from keras_vitcnn.training.schedules import WarmupCosine, WarmupSteps
from keras_vitcnn.training.variables import value_of


@keras.saving.register_keras_serializable("keras_vitcnn")
class CoupledSGD(keras.optimizers.SGD):
    """SGD whose weight decay is part of the gradient, as PyTorch's is and the papers' numbers mean.

    Keras' own decay pulls beside the momentum, a tenth as strong at a momentum of 0.9.

    Args:
        decay: factor of the weights that is added to their gradients.
        left_alone: paths of the weights that do not decay.
        **options: as of `keras.optimizers.SGD`.
    """

    def __init__(self, *, decay: float = 0.0, left_alone: tuple = (), **options: Any) -> None:
        super().__init__(**options)
        self.decay = decay
        self.left_alone = list(left_alone)

    def build(self, variables: list[Any]) -> None:
        if not self.built:
            weights = [(weight, weight.path in self.left_alone) for weight in variables]
            self._weights = lambda: weights  # Keras takes variables in a list for its own
        super().build(variables)

    def apply(self, grads: list[Any], trainable_variables: Any = None) -> None:
        """Add the decay to the gradients of all weights, and step."""
        decay = self.decay / _summed_replicas()
        decayed = [
            grad if alone or grad is None else grad + decay * ops.cast(weight, grad.dtype)
            for grad, (weight, alone) in zip(grads, self._weights(), strict=True)
        ]
        super().apply(decayed, trainable_variables)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"decay": self.decay, "left_alone": self.left_alone}


def optimizer(
    recipe: Recipe,
    model: keras.Model,
    batch_size: int,
    dtype: str = "float32",
    accumulate: int = 1,
) -> tuple[Any, keras.Variable]:
    """The built optimizer of a recipe, and the variable that holds the length of the training.

    The length is a variable so that it can be set once the speed of a compiled step is known.
    With `layer_decay` it is Keras' `MultiOptimizer`, one optimizer for every depth.

    Args:
        recipe: what to build.
        model: whose trainable variables it will update.
        batch_size: images of an update, for the linear rule.
        dtype: policy of the model; `"mixed_float16"` gets dynamic loss scaling.
        accumulate: batches whose gradients are averaged into one update; steps count batches.

    Returns:
        `(optimizer, total_steps)`; assign the number of steps to the latter before training.
    """
    weights = model.trainable_variables
    alone = undecayed(model, recipe.decayed)
    peak = recipe.learning_rate_at(batch_size)
    places = depths(model) if recipe.layer_decay is not None else {}
    top = max(places.values(), default=0)
    decay = recipe.layer_decay or 1.0
    schedules = {
        place: schedule(recipe, peak * decay ** (top - place))
        for place in sorted({*places.values(), top})
    }
    parts = {place: _one(recipe, rate, alone, accumulate) for place, rate in schedules.items()}
    built = parts[top]
    if places:
        patterns = {
            "|".join(f"{re.escape(n)}/.*" for n, p in sorted(places.items()) if p == place): part
            for place, part in parts.items()
        }
        built = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(built, patterns))
    total = parts[top].add_variable((), initializer="ones", name="total_steps")
    for rate in schedules.values():
        rate.total_steps = total
    if dtype == "mixed_float16":
        built = keras.optimizers.LossScaleOptimizer(built)
    built.build(weights)
    return built, total


def schedule(recipe: Recipe, peak: float) -> Any:
    """The learning rate over a training of one step; set `total_steps`."""
    options: dict[str, Any] = {"warmup": recipe.warmup, "start": recipe.warmup_start}
    if recipe.schedule == "steps":
        return WarmupSteps(peak, milestones=recipe.milestones, **options)
    return WarmupCosine(peak, final_rate=recipe.final_rate, **options)


def _one(recipe: Recipe, rate: Any, alone: list[Any], accumulate: int) -> Any:
    common: dict[str, Any] = {
        "learning_rate": rate,
        "global_clipnorm": recipe.clip_norm,
        "gradient_accumulation_steps": accumulate if accumulate > 1 else None,
    }
    if recipe.ema is not None:  # Keras averages at every batch, also between two updates
        common |= {"use_ema": True, "ema_momentum": recipe.ema ** (1 / accumulate)}
    if recipe.optimizer == "sgd":
        common |= {"momentum": recipe.momentum, "nesterov": recipe.nesterov}
        names = tuple(weight.path for weight in alone)
        built = CoupledSGD(decay=recipe.weight_decay, left_alone=names, **common)
    else:
        common |= {"beta_1": recipe.momentum, "beta_2": recipe.beta_2, "epsilon": recipe.epsilon}
        kind = {"adamw": keras.optimizers.AdamW, "lamb": keras.optimizers.Lamb}[recipe.optimizer]
        built = kind(weight_decay=recipe.weight_decay, **common)
        built.exclude_from_weight_decay(alone)
    if recipe.ema is not None:
        # `fit` ends at every evaluation and checkpoint, and would put the average in there.
        built.finalize_variable_values = _nothing
    return built


def averages(model: keras.Model) -> list[tuple[keras.Variable, keras.Variable]]:
    """Every trainable weight of a compiled model with its average; empty where none is kept."""
    built = getattr(model, "optimizer", None)
    built = getattr(built, "inner_optimizer", built)
    named = {
        variable.path.rsplit("/", 1)[-1]: variable
        for part in getattr(built, "optimizers", [built])
        if getattr(part, "use_ema", False)
        for variable in part.variables
    }
    if not named:
        return []
    weights = model.trainable_variables
    return [(weight, named[f"{weight.path.replace('/', '_')}_average"]) for weight in weights]


@contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """The averages of the weights, where the optimizer keeps some, in their place for a while.

    Keras' `SwapEMAWeights` loses the weights on PyTorch, where NumPy sees a variable's own memory.
    """
    before = [value_of(weight) for weight, _ in averages(model)]
    use_averages(model)
    try:
        yield
    finally:
        for (weight, _), value in zip(averages(model), before, strict=True):
            weight.assign(value)


def use_averages(model: keras.Model) -> None:
    """Put the averages of the weights, where the optimizer keeps some, in their place."""
    for weight, average in averages(model):
        weight.assign(value_of(average))  # itself would be one array on JAX, and deleted for both


def _summed_replicas() -> int:
    """How many gradients `apply` will add up; TensorFlow's replicas have had their share only."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def _nothing(variables: Any) -> None:
    """In place of `finalize_variable_values`."""


@keras.saving.register_keras_serializable("keras_vitcnn")
def binary_loss(labels: Any, logits: Any) -> Any:
    """Cross-entropy of a yes or no for every class, yes for all that have a share: (b,).

    Source: arXiv:2204.07118; mixed labels count fully, as in the official code.
    """
    wanted = ops.cast(labels > 0, "float32")
    return ops.mean(ops.binary_crossentropy(wanted, logits, from_logits=True), axis=-1)


def loss(recipe: Recipe) -> Any:
    """What a model that ends in logits minimises."""
    if recipe.loss == "binary":
        return binary_loss
    return keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=recipe.label_smoothing
    )
