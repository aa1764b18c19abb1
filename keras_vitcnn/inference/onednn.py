"""The form in which TensorFlow's optimiser makes one oneDNN call of a layer normalization."""

from __future__ import annotations

import os
from typing import Any

import keras

from keras_vitcnn.system import cpuinfo, x86

# Of /proc/cpuinfo: by one of them TensorFlow turns oneDNN on unless it is told otherwise.
FEATURES = {"avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile"}


def available() -> bool:
    """Whether TensorFlow computes with oneDNN on this processor; `False` where nobody knows."""
    if not x86():
        return False
    told = os.environ.get("TF_ENABLE_ONEDNN_OPTS")
    if told:
        return told.lower() in ("1", "true")
    return not FEATURES.isdisjoint(cpuinfo().split())


def kind_of(layer: Any) -> type:
    """The layer's class, or one that computes the same in a third of the time.

    That is, in graphs of an open batch size.
    """
    if type(layer) is not keras.layers.LayerNormalization or layer.compute_dtype != "float32":
        return type(layer)
    along_channels = layer.axis in (-1, [-1], len(layer.input.shape) - 1)
    joins = along_channels and layer.center and layer.scale
    return _JoinedLayerNormalization if joins else type(layer)


class _JoinedLayerNormalization(keras.layers.LayerNormalization):
    """One batch normalization whose channels are the positions, each scaled by 1 and shifted by 0.

    TensorFlow's optimiser knows these operations by their names and order, and oneDNN's kernel
    takes two or three axes. Both vectors must be filled at every call: of a known size they become
    constants, and nothing is joined.
    """

    def call(self, inputs: Any) -> Any:
        import tensorflow as tf

        shape, channels = tf.shape(inputs), inputs.shape[-1]
        rows = inputs
        if len(inputs.shape) > 3:
            rows = tf.reshape(inputs, (shape[0], -1, channels))
        count = tf.reduce_prod(tf.shape(rows)[:-1])
        y, *_ = tf.raw_ops.FusedBatchNormV3(
            x=tf.reshape(rows, (1, count, channels, 1)),
            scale=tf.fill([count], 1.0),
            offset=tf.fill([count], 0.0),
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            data_format="NCHW",
        )
        y = tf.reshape(y, tf.shape(rows)) * self.gamma + self.beta
        return tf.reshape(y, shape) if rows is not inputs else y
