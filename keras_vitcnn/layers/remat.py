from __future__ import annotations

from typing import Any

import keras

from keras_vitcnn.layers._register import register


@register
class Remat(keras.layers.Wrapper):
    """Run a block without keeping its activations: the backward pass computes them again.

    The block is called as a pure function of its input, its weights and its state, and the new
    state (batch statistics, random seeds) is assigned outside. That is what makes it work inside
    `fit` on every backend: nothing leaks out of a JAX trace, TensorFlow's `recompute_grad` captures
    no variables, and the second pass on PyTorch draws the same random numbers as the first.

    Args:
        layer: a functional model of one input and one output.

    Source: arXiv:1604.06174.
    """

    def call(self, x: Any, training: bool = False) -> Any:
        block = self.layer
        if not training:
            return block(x, training=False)
        trainable, state = block.trainable_variables, block.non_trainable_variables

        def pure(x: Any, *values: Any) -> tuple:
            y, new_state = block.stateless_call(
                list(values[: len(trainable)]), list(values[len(trainable) :]), x, training=True
            )
            return y, *new_state

        # Copies: PyTorch assigns in place, and the second pass must see the state of the first;
        # TensorFlow would capture a bare variable and count its gradient twice.
        values = [keras.ops.copy(keras.ops.convert_to_tensor(v)) for v in (*trainable, *state)]
        y, *new_state = keras.remat(pure)(x, *values)
        for variable, value in zip(state, new_state, strict=True):
            variable.assign(value)
        return y

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return self.layer.compute_output_shape(input_shape)
