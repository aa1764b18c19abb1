"""keras.applications' ResNet-50 in timm's terms: an independent ResNet with its stride in front."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np

import keras_vitcnn as kv
from keras_vitcnn.models.preprocessing import Preprocessing

CONFIG = replace(kv.config_of("ResNet50"), stride_on="first", norm_epsilon=1.001e-5)
# Caffe's: colours less their means, blue first.
PREPROCESSING = Preprocessing(
    mean=(123.68 / 255, 116.779 / 255, 103.939 / 255), std=(1 / 255, 1 / 255, 1 / 255)
)


def state_dict(model: keras.Model) -> dict[str, np.ndarray]:
    """Its weights by timm's names, for images with red first.

    A bias in front of a batch norm only shifts what the norm subtracts.
    """
    found = {}

    def take(theirs: str, conv_name: str, norm_name: str) -> None:
        kernel, bias = model.get_layer(f"{theirs}_conv").get_weights()
        gamma, beta, mean, variance = model.get_layer(f"{theirs}_bn").get_weights()
        found[f"{conv_name}.weight"] = kernel.transpose(3, 2, 0, 1)
        found[f"{norm_name}.weight"] = gamma
        found[f"{norm_name}.bias"] = beta
        found[f"{norm_name}.running_mean"] = mean - bias
        found[f"{norm_name}.running_var"] = variance

    take("conv1", "conv1", "bn1")
    found["conv1.weight"] = found["conv1.weight"][:, ::-1]
    for stage, depth in enumerate(CONFIG.depths):
        for block in range(depth):
            theirs = f"conv{stage + 2}_block{block + 1}"
            ours = f"layer{stage + 1}.{block}"
            for i in (1, 2, 3):
                take(f"{theirs}_{i}", f"{ours}.conv{i}", f"{ours}.bn{i}")
            if block == 0:
                take(f"{theirs}_0", f"{ours}.downsample.0", f"{ours}.downsample.1")
    kernel, bias = model.get_layer("predictions").get_weights()
    found["fc.weight"], found["fc.bias"] = kernel.T, bias
    return found
