"""Trained weights on photos: the same answers as timm's, and what wrong preparation costs."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import keras_vitcnn as kv
from keras_vitcnn.data import decode_predictions, preprocess_for
from keras_vitcnn.data.labels import class_names
from keras_vitcnn.models.preprocessing import attach
from tests.reference import timm_logits

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photos(shared: Callable[[str], Path]) -> tuple[list[Path], np.ndarray]:
    labels = json.loads((shared("photos") / "labels.json").read_text())
    files = sorted(labels)
    return [shared("photos") / name for name in files], np.array([labels[name] for name in files])


def test_deit_tiny(
    timm: Any, shared: Callable[[str], Path], photos: tuple[list[Path], np.ndarray]
) -> None:
    files, labels = photos
    checkpoint = shared("weights/deit_tiny_patch16_224.safetensors")
    reference = timm.create_model("deit_tiny_patch16_224.fb_in1k", checkpoint_path=str(checkpoint))
    theirs = timm_logits(reference, files)

    model = kv.DeiTTiny16(weights=checkpoint)
    preprocess = preprocess_for(model)
    assert preprocess.settings.crop_pct == 0.9
    images = preprocess(files)
    ours = model.predict(images, batch_size=50, verbose=0)
    assert np.mean(ours.argmax(1) == theirs.argmax(1)) >= 0.995
    assert abs(np.mean(ours.argmax(1) == labels) - np.mean(theirs.argmax(1) == labels)) <= 0.005
    assert np.mean(ours.argmax(1) == labels) > 0.7
    best = decode_predictions(ours, top=1)
    assert [p[0].id for p in best] == [class_names()[i][0] for i in ours.argmax(1)]

    settings = replace(preprocess.settings, mean=(0.0,) * 3, std=(1.0,) * 3)
    attach(model, settings)  # the negative: what another normalisation costs
    wrong = model.predict(images, batch_size=50, verbose=0)
    assert np.mean(wrong.argmax(1) == labels) < np.mean(ours.argmax(1) == labels) - 0.01
