"""Distillation: the loss against the paper's formula, and a pupil that follows its teacher."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_vitcnn import build
from keras_vitcnn.training import fit, optimizer, recipe
from keras_vitcnn.training.distillation import distillation_loss, pupil
from tests.helpers import TINY, to_numpy

SHAPE = (16, 16, 3)
SOFT = {"distillation": "soft", "distillation_weight": 0.1, "temperature": 3.0}


def model(name: str, classes: int = 4, size: int = 16) -> keras.Model:
    return build(
        TINY[name], input_shape=(size, size, 3), classes=classes, classifier_activation=None
    )


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_the_loss_is_the_paper_s(kind: str) -> None:
    rng = np.random.default_rng(0)
    outputs = rng.normal(0, 2, (5, 3, 4)).astype("float32")
    labels = np.eye(4, dtype="float32")[rng.integers(0, 4, 5)] * 0.7 + 0.3 / 4
    head, distilled, teacher = outputs[:, 0], outputs[:, 1], outputs[:, 2]
    smooth = 0.9 * labels + 0.1 / 4
    of_labels = -(smooth * log_softmax(head)).sum(axis=-1)
    if kind == "hard":
        asked = recipe("deit-distilled-300")
        of_teacher = -log_softmax(distilled)[np.arange(5), teacher.argmax(axis=-1)]
        expected = 0.5 * of_labels + 0.5 * of_teacher
    else:
        asked = recipe("deit-300", **SOFT)
        wanted = log_softmax(teacher / 3)
        divergence = (np.exp(wanted) * (wanted - log_softmax(distilled / 3))).sum(axis=-1)
        expected = 0.9 * of_labels + 0.1 * 9 * divergence
    found = distillation_loss(asked)(keras.ops.array(labels), keras.ops.array(outputs))
    np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-5)


def test_a_pupil_shows_both_heads_and_its_teacher() -> None:
    student, teacher = model("deit_distilled"), model("resnet")
    images = np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype("float32")
    both = pupil(student, teacher)
    outputs = both.predict(images, verbose=0)
    np.testing.assert_allclose(
        outputs[:, :2].mean(axis=1), student.predict(images, verbose=0), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(outputs[:, 2], teacher.predict(images, verbose=0), rtol=1e-5)
    assert {id(w) for w in both.trainable_variables} == {id(w) for w in student.trainable_variables}


def test_only_the_pupil_learns() -> None:
    student, teacher = model("deit_distilled"), model("resnet")
    before = [np.array(to_numpy(weight)) for weight in teacher.weights]
    both = pupil(student, teacher)
    asked = recipe("small-data", distillation="hard", warmup=0.0)
    built, total = optimizer(asked, student, 64)
    total.assign(1000)
    both.compile(built, distillation_loss(asked))
    heads = [np.array(to_numpy(student.get_layer(n).kernel)) for n in ("head", "head_dist")]
    images = np.random.default_rng(0).integers(0, 256, (8, *SHAPE)).astype("float32")
    both.fit(images, np.eye(4)[[0, 1, 2, 3] * 2], batch_size=4, verbose=0)
    for weight, value in zip(teacher.weights, before, strict=True):
        np.testing.assert_array_equal(to_numpy(weight), value)
    for name, value in zip(("head", "head_dist"), heads, strict=True):
        assert np.abs(to_numpy(student.get_layer(name).kernel) - value).max() > 1e-5


@pytest.mark.usefixtures("tiny_models")
def test_from_one_training_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from keras_vitcnn.models import registry

    row = replace(registry.VARIANTS["TinyViT"], name="TinyDistilled", config=TINY["deit_distilled"])
    monkeypatch.setitem(registry.VARIANTS, "TinyDistilled", row)
    quick = {"epochs": 1, "batch_size": 16, "image_size": 16, "limit_train": 48, "limit_val": 20}
    teacher = fit("TinyResNet", "digits", tmp_path / "teacher", **quick)
    asked = recipe("small-data", distillation="hard", ema=0.5)
    options = {"recipe": asked, "teacher": tmp_path / "teacher", "checkpoint_minutes": 0}
    done = fit("TinyDistilled", "digits", tmp_path / "pupil", **quick, **options)
    assert done.history[0]["step"] == 3
    assert done.evaluation.confusion.sum() == 20
    saved = keras.saving.load_model(tmp_path / "pupil" / "model.keras", compile=False)
    assert len(saved.weights) == len(done.model.weights)
    with pytest.raises(ValueError, match="needs a model with a distillation token"):
        fit("TinyViT", "digits", tmp_path / "other", **quick, **options)
    with pytest.raises(ValueError, match=r"must be a \.keras file"):
        fit("TinyDistilled", "digits", tmp_path / "x", **quick, **(options | {"teacher": "no"}))
    assert teacher.evaluation.top1 >= 0


def test_a_teacher_of_other_classes() -> None:
    with pytest.raises(ValueError, match=r"tell 4 classes apart.*5"):
        pupil(model("deit_distilled"), model("resnet", classes=5))
