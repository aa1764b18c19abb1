"""Steps that the cores of a processor share: each computes a part of every batch (TensorFlow)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


def one_thread_an_operation() -> None:
    """Have TensorFlow compute each operation on one core; nothing where it has begun to compute.

    Then operations of other parts run beside it. Otherwise each waits for the slower of its
    halves: on two cores that takes back two thirds of what sharing gives.
    """
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
    except RuntimeError:  # it has its threads already
        return


def share_training(model: keras.Model, count: int) -> None:
    """Have `fit` compute the gradients of `count` parts of a batch side by side, and average them.

    The step is that of the whole batch, but for batch statistics, which are a part's own; their
    moving averages take the mean of the parts'.

    Args:
        model: compiled. `fit` raises `ValueError` for batches that are no multiple of `count`.
        count: of parts.
    """
    import tensorflow as tf

    tracker = next(metric for metric in model.metrics if metric.name == "loss")

    def train_step(data: Any) -> Any:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        outputs, losses, gradients, moved = [], [], [], []
        averages = [weight for weight in model.non_trainable_weights if _is_float(weight)]
        before = [tf.identity(weight.value) for weight in averages]
        for part in zip(*(_parts(some, count) for some in (x, y, sample_weight)), strict=True):
            with tf.GradientTape() as tape:
                outputs.append(model(part[0], training=True))
                loss = model.compute_loss(*part[:2], outputs[-1], part[2], training=True)
                scaled = model.optimizer.scale_loss(loss)
            gradients.append(tape.gradient(scaled, model.trainable_weights))
            losses.append(loss)
            moved.append([tf.identity(weight.value) for weight in averages])
            for weight, value in zip(averages, before, strict=True):
                weight.assign(value)  # the next part begins there, too
        for weight, value, *after in zip(averages, before, *moved, strict=True):
            weight.assign(value + _mean([one - value for one in after]))
        model.optimizer.apply(
            [None if some[0] is None else _mean(some) for some in zip(*gradients, strict=True)],
            model.trainable_weights,
        )
        tracker.update_state(_mean(losses), sample_weight=tf.shape(tf.nest.flatten(x)[0])[0])
        return model.compute_metrics(x, y, _joined(outputs), sample_weight)

    model.train_step = train_step


def share_prediction(model: keras.Model, count: int) -> None:
    """Have `predict` compute `count` parts of a batch side by side; the last may be smaller."""
    import tensorflow as tf

    def predict_step(data: Any) -> Any:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        size = tf.shape(x)[0]
        rows = -(-size // count)
        # Not beyond the last image: oneDNN refuses to compute none.
        starts = [tf.minimum(rows * part, size - 1) for part in range(count)]
        parts = [x[start : start + rows] for start in starts]
        outputs = _joined([model(part, training=False) for part in parts])
        return keras.tree.map_structure(lambda output: output[:size], outputs)

    model.predict_step = predict_step


def _parts(batch: Any, count: int) -> Sequence[Any]:
    """Equal parts of an array or a structure of them."""
    import tensorflow as tf

    if batch is None:
        return [None] * count
    size = tf.nest.flatten(batch)[0].shape[0]
    if size is not None and size % count:
        raise ValueError(
            f"The cores share every batch: it must have a multiple of {count} images. "
            f"Received: a batch of {size}"
        )
    flat = [tf.split(array, count) for array in tf.nest.flatten(batch)]
    return [tf.nest.pack_sequence_as(batch, some) for some in zip(*flat, strict=True)]


def _joined(outputs: Sequence[Any]) -> Any:
    return keras.tree.map_structure(lambda *some: keras.ops.concatenate(some), *outputs)


def _mean(values: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.add_n(list(values)) / len(values)


def _is_float(weight: keras.Variable) -> bool:
    return keras.backend.is_float_dtype(weight.dtype)
