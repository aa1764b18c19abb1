"""Training a part of a model: the head, the last stages, or low-rank adapters (LoRA)."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import keras

from keras_vitcnn.config import check_positive
from keras_vitcnn.training.distillation import HEADS
from keras_vitcnn.training.layer_groups import all_layers, stages

# What an attention or MLP calls its matrices: this library's blocks, and Keras' own attention.
ADAPTED = re.compile(r"(?:^|_)(?:qkv|qk|v|proj|fc1|fc2|pw1|pw2|query|key|value|attention_output)$")


def freeze(model: keras.Model, until: int | str) -> None:
    """Leave a model's first layers as they are in training.

    Frozen batch norms use their averages, as in inference, and no longer update them. What is
    frozen stays so in a saved model; `model.trainable = True` takes it back. Compile afterwards.

    Args:
        model: of this library, built or loaded.
        until: stages (of a columnar transformer: blocks) to freeze together with all that comes
            before them, from 0, the stem and embeddings alone; or `"head"`: everything but the
            classifier.

    Raises:
        ValueError: if the model has fewer stages, or no classifier to train.
    """
    if until == "head":
        _check_head(model)
        for layer in model.layers:
            layer.trainable = layer.name in HEADS
        return
    places = stages(model)
    count = max((place for place in places.values() if place is not None), default=0)
    if not isinstance(until, int) or not 0 <= until <= count:
        raise ValueError(
            f"`until` must be an integer from 0 to {count}, the number of stages (or blocks) of "
            f"this model, or 'head'. Received: until={until!r}"
        )
    for name, place in places.items():
        model.get_layer(name).trainable = place is None or place > until


def enable_lora(model: keras.Model, rank: int, alpha: float | None = None) -> int:
    """Freeze a model but for its head and for low-rank adapters of its attention and MLPs.

    Every matrix W of an attention or an MLP (of a ConvNet: the 1 x 1 convolutions of its blocks)
    becomes W + alpha / rank * A B, A with `rank` columns and B with `rank` rows, of which A and B
    are trained. B starts at zero, so that the outputs are those of before. A saved model holds the
    sum; `merge_lora` makes it a model without adapters. Compile afterwards.

    Args:
        model: built or loaded.
        rank: of the adapters.
        alpha: their scale; the rank unless given.

    Returns:
        How many matrices got an adapter.

    Raises:
        ValueError: if the model has no such matrix, so that LoRA would train nothing, or has
            adapters already.

    Source: arXiv:2106.09685, with `keras.layers.Dense.enable_lora`.
    """
    check_positive(rank=rank)
    kinds = (keras.layers.Dense, keras.layers.EinsumDense)
    layers = [one for one in dict.fromkeys(all_layers(model)) if isinstance(one, kinds)]
    adapted = [one for one in layers if ADAPTED.search(one.name)]
    if not adapted:
        raise ValueError(
            "The model has no matrices of attention or MLPs, so LoRA would train nothing: freeze "
            f"its first stages instead. Received: model={model.name!r}"
        )
    if any(one.lora_enabled for one in layers):
        raise ValueError(
            f"The model has adapters already; merge them first. Received: model={model.name!r}"
        )
    for layer in all_layers(model):  # outer ones first: setting one sets all that is inside
        inside = {id(one) for one in all_layers(layer)}
        layer.trainable = layer.name in HEADS or any(id(one) in inside for one in adapted)
    for layer in adapted:
        layer.enable_lora(rank, lora_alpha=alpha)
    return len(adapted)


def merge_lora(model: keras.Model) -> keras.Model:
    """The model without adapters that computes the same, all of it trainable.

    Args:
        model: with adapters, of `enable_lora` or loaded.
    """
    merged = model.__class__.from_config(_plain(model.get_config()))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "merged.weights.h5"
        model.save_weights(file)  # Keras writes the sums
        merged.load_weights(file)
    for name in ("variant", "preprocessing"):
        if hasattr(model, name):
            setattr(merged, name, getattr(model, name))
    return merged


def check(weights: Any, until: int | str | None, rank: int | None) -> None:
    """Raise `ValueError` unless `prepare` can do that with a model of these weights."""
    if until is None and rank is None:
        return
    received = f"Received: weights={weights!r}, freeze={until!r}, lora_rank={rank!r}"
    if weights is None:
        raise ValueError(f"What is not trained must come from `weights`. {received}")
    if until is not None and rank is not None:
        raise ValueError(f"LoRA freezes all but the head by itself: choose one. {received}")


def prepare(model: keras.Model, until: int | str | None, rank: int | None) -> None:
    """`freeze` or `enable_lora`, whichever was asked for."""
    if until is not None:
        freeze(model, until)
    if rank is not None:
        enable_lora(model, rank)


def _plain(config: Any) -> Any:
    """A model's config where all is trained and nothing adapted."""
    if isinstance(config, dict):
        return {
            key: _plain(value)
            for key, value in config.items()
            if key not in ("trainable", "lora_rank", "lora_alpha")
        }
    return [_plain(part) for part in config] if isinstance(config, list) else config


def _check_head(model: keras.Model) -> None:
    if not any(layer.name in HEADS for layer in model.layers):
        raise ValueError(
            "The model has no classifier: build it with include_top=True. "
            f"Received: model={model.name!r}"
        )
