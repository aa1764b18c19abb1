"""The gradient of a model's output in its input, on any backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np


def input_gradient(
    model: keras.Model, score: Callable[[Any], Any], x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """d(sum of score(model(x))) / dx, in inference mode.

    Args:
        model: of one input and one output.
        score: tensor to tensor, of differentiable Keras operations.
        x: float array, a batch.

    Returns:
        (model(x), the gradient), both as arrays; the gradient has x's shape.
    """
    x = np.asarray(x, "float32")
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        def total(x: Any, trainable: Any, state: Any) -> Any:
            y, _ = model.stateless_call(trainable, state, x, training=False)
            return keras.ops.sum(score(y)), y

        values = [
            [variable.value for variable in variables]
            for variables in (model.trainable_variables, model.non_trainable_variables)
        ]
        gradient, y = jax.jit(jax.grad(total, has_aux=True))(x, *values)
    elif backend == "tensorflow":
        import tensorflow as tf

        tensor = tf.convert_to_tensor(x)
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            y = model(tensor, training=False)
            result = keras.ops.sum(score(y))
        gradient = tape.gradient(result, tensor)
    else:
        import torch

        tensor = keras.ops.convert_to_tensor(x).detach().requires_grad_()
        with torch.enable_grad():
            y = model(tensor, training=False)
            (gradient,) = torch.autograd.grad(keras.ops.sum(score(y)), tensor)
        y = y.detach()
    return keras.ops.convert_to_numpy(y), keras.ops.convert_to_numpy(gradient)
