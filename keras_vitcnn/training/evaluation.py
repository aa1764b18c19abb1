"""What a trained model reaches on a split: accuracy, by class, and what it confuses."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_vitcnn.data import EvalBatches, Split
from keras_vitcnn.data.batches import feed
from keras_vitcnn.extras import require
from keras_vitcnn.files import write_atomically
from keras_vitcnn.training import optimizers
from keras_vitcnn.training.variables import value_of

NAMED_CLASSES = 40  # on the axes of a picture; more would not be legible


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """A model's results on all images of a split."""

    loss: float  # mean cross-entropy
    top1: float  # fraction
    top5: float  # of 5 classes or fewer: 1
    confusion: np.ndarray  # (true class, predicted class), images

    def write(self, folder: Path, class_names: Sequence[str]) -> list[Path]:
        """`classes.csv` and `confusion.png` into a folder.

        Raises:
            ImportError: with the command that installs matplotlib.
        """
        require("matplotlib", "plot")
        folder.mkdir(parents=True, exist_ok=True)
        table, picture = folder / "classes.csv", folder / "confusion.png"
        write_atomically(table, self._by_class(class_names))
        write_atomically(picture, self._picture(class_names))
        return [table, picture]

    def _by_class(self, class_names: Sequence[str]) -> str:
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["class", "images", "recall", "precision", "most confused with"])
        for index, (name, row) in enumerate(zip(class_names, self.confusion, strict=True)):
            right, predicted = row[index], self.confusion[:, index].sum()
            wrong = np.where(np.arange(len(row)) == index, 0, row)
            writer.writerow(
                [
                    name,
                    row.sum(),
                    f"{right / row.sum():.4f}" if row.sum() else "",
                    f"{right / predicted:.4f}" if predicted else "",
                    class_names[int(wrong.argmax())] if wrong.any() else "",
                ]
            )
        return stream.getvalue()

    def _picture(self, class_names: Sequence[str]) -> bytes:
        from matplotlib.figure import Figure

        shares = self.confusion / np.maximum(self.confusion.sum(axis=1, keepdims=True), 1)
        side = min(12.0, 4 + 0.25 * len(class_names))
        figure = Figure(figsize=(side, side), layout="constrained")
        axes = figure.add_subplot()
        image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
        axes.set(xlabel="predicted", ylabel="true", title=f"top-1 {self.top1:.1%}")
        if len(class_names) <= NAMED_CLASSES:
            places = range(len(class_names))
            axes.set_xticks(places, class_names, rotation=90)
            axes.set_yticks(places, class_names)
        figure.colorbar(image, ax=axes, shrink=0.7, label="share of the true class")
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=120)
        return stream.getvalue()


def evaluate(model: keras.Model, split: Split, batch_size: int = 64) -> Evaluation:
    """Evaluate a model that ends in logits or probabilities of the split's classes.

    The last, partial batch counts like any other. Where the model's optimizer keeps an average of
    the weights, the average is evaluated.

    Args:
        model: images in [0, 255] -> (b, classes).
        split: images and labels.
        batch_size: images at once.

    Raises:
        ValueError: for a label that the model has no class for.
    """
    outputs = predicted(model, split, batch_size).astype("float64")
    classes = outputs.shape[1]
    check_labels(split.labels, classes)
    if np.allclose(outputs.sum(axis=1), 1, atol=1e-3) and (outputs >= 0).all():
        outputs = np.log(np.maximum(outputs, 1e-30))  # probabilities
    highest = outputs.max(axis=-1)
    log_sum = highest + np.log(np.exp(outputs - highest[:, None]).sum(axis=-1))
    rows = np.arange(len(split))
    true = outputs[rows, split.labels]
    answers = outputs.argmax(axis=-1)
    above = (outputs > true[:, None]).sum(axis=1)
    confusion = np.zeros((classes, classes), int)
    np.add.at(confusion, (split.labels, answers), 1)
    return Evaluation(
        loss=float(np.mean(log_sum - true)),
        top1=float(np.mean(answers == split.labels)),
        top5=float(np.mean(above < 5)),
        confusion=confusion,
    )


def predicted(model: keras.Model, split: Split, batch_size: int) -> np.ndarray:
    """The outputs for all images, of the weights' average where the optimizer keeps one."""
    batches = EvalBatches(split, batch_size)
    with optimizers.averaged(model):
        if _of_several_processes():
            return _alone(model, batches)[: len(split)]
        return model.predict(feed(batches), verbose=0)[: len(split)]


def _of_several_processes() -> bool:
    """Whether JAX's `predict` would spread a batch over processes, out of this one's reach."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    return jax.process_count() > 1


def _alone(model: keras.Model, batches: EvalBatches) -> np.ndarray:
    """What `predict` returns, on one device of this process."""
    import jax

    weights = [
        [value_of(variable) for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    ]
    weights = jax.device_put(weights, jax.local_devices()[0])
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        outputs = jax.jit(lambda weights, x: model.stateless_call(*weights, x, training=False)[0])
        return np.concatenate(
            [np.asarray(outputs(weights, batches[i][0])) for i in range(len(batches))]
        )
    finally:
        keras.distribution.set_distribution(before)


def check_labels(labels: np.ndarray, classes: int) -> None:
    """Raise `ValueError` unless all labels are in [0, classes)."""
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise ValueError(
            f"Image {wrong[0]} has the label {labels[wrong[0]]}, and the model's classes are 0 to "
            f"{classes - 1}: give it as many as the data have. Received: classes={classes}"
        )
