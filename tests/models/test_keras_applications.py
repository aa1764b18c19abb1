"""ResNet-50 as its paper strides it, against keras.applications, which has it so."""

import keras
import numpy as np

import keras_vitcnn as kv
from keras_vitcnn.models.preprocessing import attach
from tests import helpers, keras_resnet50


def test_resnet_with_the_stride_in_front() -> None:
    size = (96, 64, 3)
    theirs = keras.applications.ResNet50(
        weights=None, input_shape=size, classes=11, classifier_activation=None
    )
    rng = np.random.default_rng(0)
    for weight in theirs.weights:  # its kernels are random already
        if len(weight.shape) == 1:
            value = rng.normal(0, 0.2, weight.shape)
            positive = weight.name in ("moving_variance", "gamma")
            weight.assign(np.abs(value) + 0.5 if positive else value)
    model = kv.build(
        keras_resnet50.CONFIG, input_shape=size, classes=11, classifier_activation=None
    )
    kv.load_weights(model, keras_resnet50.state_dict(theirs))
    attach(model, keras_resnet50.PREPROCESSING)
    images = np.random.default_rng(1).uniform(0, 255, (2, *size)).astype("float32")
    prepared = keras.applications.resnet.preprocess_input(images.copy())
    expected = helpers.outputs(theirs, prepared)
    assert expected.std() > 0.1
    got = helpers.outputs(model, images)
    assert np.abs(got - expected).max() <= 1e-4 * max(1, np.abs(expected).max())
