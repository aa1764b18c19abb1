"""What kind of layer a weight belongs to, and how deep it lies: by layers, never by weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import keras

from keras_vitcnn.layers import GroupNormalization

# Attributes of the layers that multiply: filters, matrices, and LoRA's adapters of these.
KERNELS = ("kernel", "position_kernel", "lora_kernel_a", "lora_kernel_b")
NORMS = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    GroupNormalization,
    keras.layers.RMSNormalization,
)
BLOCKS_OF_A_GROUP = 3  # in the long stage of a model of four
LAST_OF_FOUR = 12


def all_layers(layer: Any) -> Iterator[keras.layers.Layer]:
    """A layer or model and every layer inside it."""
    yield layer
    inside = layer.layers if isinstance(layer, keras.Model) else vars(layer).values()
    for value in inside:
        for part in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(part, keras.layers.Layer):
                yield from all_layers(part)


def undecayed(model: keras.Model, decayed: str) -> list[keras.Variable]:
    """The trainable weights that weight decay leaves alone.

    Args:
        model: any.
        decayed: `"kernels"`, only filters and matrices, so no norms, biases, layer scales, gates,
            tokens and position embeddings; `"all but norms"`; or `"all"`.
    """
    if decayed == "all":
        return []
    if decayed == "all but norms":
        norms = [layer for layer in all_layers(model) if isinstance(layer, NORMS)]
        left = {id(weight) for layer in norms for weight in layer.trainable_variables}
        return [weight for weight in model.trainable_variables if id(weight) in left]
    owned = [(layer, name) for layer in all_layers(model) for name in KERNELS]
    kept = {id(getattr(layer, name)) for layer, name in owned if hasattr(layer, name)}
    return [weight for weight in model.trainable_variables if id(weight) not in kept]


def depths(model: keras.Model) -> dict[str, int]:
    """Name of each layer with weights -> its place in layer-wise learning-rate decay.

    0 is the stem, the embeddings and tokens; then one for every transformer block, or, in a model
    of stages, one per stage, where the third of four counts one for every three blocks and the
    fourth is 12, as in the official ConvNeXt; the last is the final norm and the head.
    """
    names = {weight.path.split("/")[0] for weight in model.trainable_variables}
    columnar = _is_columnar(names)
    in_four = not columnar and max(_stage(name, columnar) or 0 for name in names) == 4
    places = {name: _decayed_place(name, _stage(name, columnar), in_four) for name in names}
    top = 1 + max((place for place in places.values() if place is not None), default=0)
    return {name: top if place is None else place for name, place in places.items()}


def stages(model: keras.Model) -> dict[str, int | None]:
    """Name of each layer with weights -> 0 for the stem, embeddings and tokens, 1 for the first
    stage (of a columnar transformer: block) and so on, `None` for the final norm and the head.
    """
    columnar = _is_columnar(layer.name for layer in model.layers)
    return {layer.name: _stage(layer.name, columnar) for layer in model.layers if layer.weights}


def _is_columnar(names: Iterable[str]) -> bool:
    return any(re.match(r"block\d+_", name) for name in names)


def _stage(name: str, columnar: bool) -> int | None:
    if match := re.match(r"block(\d+)_" if columnar else r"stage(\d+)_", name):
        return 1 + int(match[1])
    return None if name.startswith(("head", "norm")) else 0


def _decayed_place(name: str, stage: int | None, in_four: bool) -> int | None:
    """`None` for what comes after all blocks."""
    if in_four and stage == 3:
        block = re.match(r"stage2_block(\d+)_", name)
        return 3 + (int(block[1]) if block else 0) // BLOCKS_OF_A_GROUP
    return LAST_OF_FOUR if in_four and stage == 4 else stage
