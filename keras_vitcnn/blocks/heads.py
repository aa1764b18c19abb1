"""From the last map to a vector and to logits."""

from __future__ import annotations

from typing import Any

import keras

from keras_vitcnn.layers import Dense, HostNormal


def pool_map(x: Any, pooling: str) -> Any:
    """Map (b, h, w, c) -> vector (b, c), by `"avg"` or `"max"`.

    Raises:
        ValueError: for any other pooling.
    """
    choices = {
        "avg": keras.layers.GlobalAveragePooling2D,
        "max": keras.layers.GlobalMaxPooling2D,
    }
    if pooling not in choices:
        raise ValueError(
            f"`pooling` must be None or one of {list(choices)} for a model whose features are a "
            f"map. Received: pooling={pooling!r}"
        )
    return choices[pooling](data_format="channels_last", name="pool")(x)


def classifier(x: Any, classes: int, dropout_rate: float) -> Any:
    """Vector (b, c) -> logits (b, classes)."""
    x = keras.layers.Dropout(dropout_rate, name="head_dropout")(x)
    return Dense(classes, kernel_initializer=HostNormal(), name="head")(x)
