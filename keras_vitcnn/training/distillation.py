"""DeiT's distillation: one head learns the labels, the other what a teacher says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
from keras import ops

from keras_vitcnn.training.recipes import Recipe

HEADS = ("head", "head_dist")


def teacher_of(source: str | Path | keras.Model) -> keras.Model:
    """A teacher: a model, a `.keras` file, or the folder of a finished training.

    Raises:
        ValueError: if there is none.
    """
    if isinstance(source, keras.Model):
        return source
    path = Path(source) / "model.keras" if Path(source).is_dir() else Path(source)
    if not path.is_file():
        raise ValueError(
            "The teacher must be a .keras file or the folder of a finished training. "
            f"Received: teacher={str(source)!r}"
        )
    return keras.saving.load_model(path, compile=False)


def pupil(model: keras.Model, teacher: keras.Model) -> keras.Model:
    """A model beside its teacher: images -> (b, 3, classes), both heads' logits and the teacher's.

    The teacher runs as in inference and does not learn; the weights are those of `model`.

    Raises:
        ValueError: if `model` has no distillation head, or the teacher other images or classes.
    """
    names = {layer.name for layer in model.layers}
    if not set(HEADS) <= names:
        raise ValueError(
            "Distillation needs a model with a distillation token, such as DeiTTiny16Distilled. "
            f"Received: a model without the layer {min(set(HEADS) - names)!r}"
        )
    shapes = (model.input_shape, model.output_shape)
    if shapes != (teacher.input_shape, teacher.output_shape):
        raise ValueError(
            f"The teacher must take the images {shapes[0][1:]} and tell {shapes[1][-1]} classes "
            f"apart. Received: a teacher of {teacher.input_shape[1:]}, {teacher.output_shape[-1]}"
        )
    teacher.trainable = False
    image = keras.Input(model.input_shape[1:], name="image")
    heads = keras.Model(model.input, [model.get_layer(name).output for name in HEADS])
    said = [*heads(image), teacher(image, training=False)]
    return keras.Model(image, ops.stack([ops.cast(part, "float32") for part in said], axis=1))


def distillation_loss(recipe: Recipe) -> Any:
    """What a `pupil` minimises: (labels, its outputs) -> (b,).

    Hard: half and half, cross-entropy of the first head with the labels and of the second with the
    teacher's answer. Soft: the second part is the divergence from the teacher's probabilities at
    a temperature, times its square. Source: arXiv:2012.12877, section 4.
    """
    weight, temperature = recipe.distillation_weight, recipe.temperature

    def loss(labels: Any, outputs: Any) -> Any:
        head, distilled, teacher = (outputs[:, number] for number in range(3))
        of_labels = keras.losses.categorical_crossentropy(
            labels, head, from_logits=True, label_smoothing=recipe.label_smoothing
        )
        if recipe.distillation == "hard":
            answer = ops.one_hot(ops.argmax(teacher, axis=-1), teacher.shape[-1])
            of_teacher = ops.categorical_crossentropy(answer, distilled, from_logits=True)
        else:
            wanted = ops.log_softmax(teacher / temperature)
            found = ops.log_softmax(distilled / temperature)
            of_teacher = ops.sum(ops.exp(wanted) * (wanted - found), axis=-1) * temperature**2
        return (1 - weight) * of_labels + weight * of_teacher

    return loss
