"""Parameters, multiply-adds and activations, counted on the graph: no backend profiler."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import singledispatch
from math import prod
from typing import Any

import keras

from keras_vitcnn.layers import (
    GatedPositionalSelfAttention,
    MultiHeadSelfAttention,
    PatchEmbedding,
    Remat,
    SqueezeExcitation,
    WindowAttention,
)
from keras_vitcnn.models import build


@dataclass(frozen=True)
class Complexity:
    """The cost of one image in the papers' counting."""

    params: int  # trainable: batch statistics are not parameters
    macs: int  # multiply-adds of convolutions, linear maps and both products of attention
    activations: int  # numbers that those same operations put out
    bias_adds: int  # additions of biases, which pycls counts into its MACs

    def __str__(self) -> str:
        return (
            f"{self.params / 1e6:.2f} M parameters, {self.macs / 1e9:.3f} GMACs, "
            f"{self.activations / 1e6:.2f} M activations"
        )


def complexity(
    model_or_config: Any, input_shape: tuple[int | None, ...] | None = None
) -> Complexity:
    """Count what one image costs.

    Args:
        model_or_config: a functional `keras.Model` or a config of the zoo.
        input_shape: of one image; the model's own (or the config's default) unless given. A model
            of variable image size needs one.

    Returns:
        `Complexity(params, macs, activations, bias_adds)`, integers.

    Raises:
        ValueError: if an image size is needed and missing.

    Source: one MAC is one "FLOP" of the papers; activations as in arXiv:2003.13678.
    """
    if not isinstance(model_or_config, keras.Model):
        with ThreadPoolExecutor(1) as own_thread:
            return own_thread.submit(_without_weights, model_or_config, input_shape).result()
    model = model_or_config
    if input_shape is not None and tuple(input_shape) != tuple(model.inputs[0].shape[1:]):
        image = keras.Input(shape=input_shape, name="image")
        model = keras.models.clone_model(model, input_tensors=image)
    if None in model.inputs[0].shape[1:]:
        raise ValueError(
            "`input_shape` is needed for a model of variable image size, e.g. (224, 224, 3). "
            f"Received: input_shape={input_shape}"
        )
    macs, activations, bias_adds = _graph(model)
    params = sum(prod(weight.shape) for weight in model_or_config.trainable_variables)
    return Complexity(params=params, macs=macs, activations=activations, bias_adds=bias_adds)


def _without_weights(config: Any, input_shape: tuple[int | None, ...] | None) -> Complexity:
    """Count on a model that never gets its weights: no memory, a fraction of the time.

    Keras keeps per thread what it still has to initialise, and would do it when the next such scope
    of the same thread ends.
    """
    with keras.StatelessScope(initialize_variables=False):
        return complexity(build(config, input_shape=input_shape))


def _graph(model: keras.Model) -> tuple[int, int, int]:
    macs = activations = bias_adds = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        counted = _layer(layer)
        macs += counted[0]
        activations += counted[1]
        bias_adds += counted[2]
    return macs, activations, bias_adds


def _layer(layer: Any) -> tuple[int, int, int]:
    if isinstance(layer, Remat):
        return _graph(layer.layer)
    if isinstance(layer, keras.Model):
        return _graph(layer)
    inputs = [tuple(t.shape) for t in keras.tree.flatten(layer.input)]
    products = layer_products(layer, inputs, tuple(layer.output.shape))
    outputs = sum(size for _, size in products)
    biased = getattr(layer, "projection", None) or getattr(layer, "expand", None) or layer
    bias_adds = outputs if getattr(biased, "use_bias", False) and products else 0
    return sum(macs for macs, _ in products), outputs, bias_adds


@singledispatch
def layer_products(layer: Any, inputs: list[tuple], output: tuple) -> list[tuple[int, int]]:
    """(multiply-adds, numbers put out) of each matrix product or convolution in a layer.

    Register this function for a layer class of your own to have it counted. Shapes include the
    batch axis.
    """
    return []


@layer_products.register
def _(layer: keras.layers.Conv2D, inputs: list[tuple], output: tuple) -> list[tuple[int, int]]:
    taps = prod(layer.kernel_size) * inputs[0][-1] // layer.groups
    size = prod(output[1:])
    return [(size * taps, size)]


@layer_products.register
def _(
    layer: keras.layers.DepthwiseConv2D, inputs: list[tuple], output: tuple
) -> list[tuple[int, int]]:
    size = prod(output[1:])
    return [(size * prod(layer.kernel_size), size)]


@layer_products.register
def _(
    layer: keras.layers.Conv2DTranspose, inputs: list[tuple], output: tuple
) -> list[tuple[int, int]]:
    taps = prod(layer.kernel_size) * layer.filters  # each number that goes in is spread over them
    return [(prod(inputs[0][1:]) * taps, prod(output[1:]))]


@layer_products.register
def _(layer: keras.layers.Dense, inputs: list[tuple], output: tuple) -> list[tuple[int, int]]:
    size = prod(output[1:])
    return [(size * inputs[0][-1], size)]


@layer_products.register
def _(layer: PatchEmbedding, inputs: list[tuple], output: tuple) -> list[tuple[int, int]]:
    size = prod(output[1:])
    return [(size * layer.patch_size**2 * inputs[0][-1], size)]


@layer_products.register
def _(layer: MultiHeadSelfAttention, inputs: list[tuple], output: tuple) -> list[tuple[int, int]]:
    *_, tokens, width = output
    sets = prod(output[1:-2])  # that attend within themselves
    return sets * _attention(tokens, width, layer.num_heads)


@layer_products.register
def _(layer: WindowAttention, inputs: list[tuple], output: tuple) -> list[tuple[int, int]]:
    _, rows, columns, width = output
    tokens = prod(layer.window)
    return (rows * columns // tokens) * _attention(tokens, width, layer.num_heads)


@layer_products.register
def _(layer: SqueezeExcitation, inputs: list[tuple], output: tuple) -> list[tuple[int, int]]:
    width = output[-1]
    return [(width * layer.hidden, layer.hidden), (layer.hidden * width, width)]


@layer_products.register
def _(
    layer: GatedPositionalSelfAttention, inputs: list[tuple], output: tuple
) -> list[tuple[int, int]]:
    _, tokens, width = output
    positions = tokens**2 * layer.num_heads
    return [*_attention(tokens, width, layer.num_heads), (3 * positions, positions)]


def _attention(tokens: int, width: int, num_heads: int) -> list[tuple[int, int]]:
    """Queries times keys, then attention times values."""
    macs = tokens**2 * width
    return [(macs, num_heads * tokens**2), (macs, tokens * width)]
