"""`fit`: one model trained into a folder, going on from its last checkpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

from keras_vitcnn.data import ImageData
from keras_vitcnn.extras import require
from keras_vitcnn.files import write_atomically
from keras_vitcnn.models import adapt_to_image_size, build, scale_width
from keras_vitcnn.models.preprocessing import Preprocessing, attach, normalization_of
from keras_vitcnn.models.pretrained import Wanted
from keras_vitcnn.models.registry import find
from keras_vitcnn.training import fine_tuning, measure, optimizers
from keras_vitcnn.training.distillation import pupil, teacher_of
from keras_vitcnn.training.distribution import devices
from keras_vitcnn.training.evaluation import Evaluation, check_labels
from keras_vitcnn.training.loop import Training
from keras_vitcnn.training.progress import Reporter
from keras_vitcnn.training.recipes import Recipe
from keras_vitcnn.training.recipes import recipe as recipe_of
from keras_vitcnn.training.records import Record
from keras_vitcnn.training.runner import check_length
from keras_vitcnn.training.settings import SETTINGS, Settings, check_folder, flat

MODEL = "model.keras"


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """What a finished training left."""

    out: Path
    model: keras.Model  # as it was evaluated: of averaged weights where the recipe averages them
    evaluation: Evaluation
    history: list[Record]  # one per epoch
    class_names: tuple[str, ...]


def fit(
    model: str,
    data: str | Path = "digits",
    out: str | Path = "runs/training",
    *,
    recipe: str | Recipe = "small-data",
    epochs: int | None = None,
    batch_size: int | None = None,
    image_size: int | None = None,
    seed: int = 0,
    accumulate: int = 1,
    remat: bool = False,
    weights: Any = None,
    freeze: int | str | None = None,
    lora_rank: int | None = None,
    checkpoint_minutes: float = 10.0,
    distribute: str = "",
    teacher: str | Path | keras.Model | None = None,
    data_dir: str | Path | None = None,
    tensorboard: bool = False,
    show_progress: bool = False,
    **settings: Any,
) -> Fitted:
    """Train one model, and evaluate it after every epoch.

    Called again with the same `out`, it goes on where it was: on a CPU to the same weights, bit for
    bit, as if it had never stopped.

    Args:
        model: name of a constructor or timm's name.
        data: as of `keras_vitcnn.data.load`.
        out: folder for `settings.json`, `history.csv`, `checkpoints/` and, in the end,
            `model.keras`, `classes.csv` and `confusion.png`.
        recipe: name of a recipe, in the model's own variant of it, or a changed one.
        epochs, batch_size, image_size: the recipe's by default; the learning rate follows the
            batch size by the linear rule. Without a size in the recipe the data decide.
        seed: of the weights, the images' order and their augmentation.
        accumulate: batches that a step of `batch_size` images is computed in.
        remat: keep one activation per block and compute the others again.
        weights: to begin with, as of `keras_vitcnn.build`.
        freeze: what of these weights not to train, as of `fine_tuning.freeze`.
        lora_rank: train adapters of this rank and the head only, see `fine_tuning.enable_lora`;
            they are merged into the model that is saved.
        checkpoint_minutes: between two checkpoints; there is one at the end, too.
        distribute: `"data"`, `"model"` or `"cores"`, see
            `keras_vitcnn.training.distribution.devices`; the result does not depend on it, but for
            batch statistics, which are a device's or core's own.
        teacher: of a recipe that distils: a model, a `.keras` file, or the folder of a training.
        data_dir: of prepared tensorflow-datasets.
        tensorboard: write the history for TensorBoard, too, into `out`/tensorboard.
        show_progress: bars on stderr.
        **settings: further fields of `keras_vitcnn.training.Settings`.

    Raises:
        ValueError: for anything that can't work, and for an `out` that holds another training.
        OSError: if data can't be read or a checkpoint not be written.
        ImportError: with the command that installs what is missing.
        Diverged: if the loss stops being finite, with the step, its images and the checkpoint.
    """
    name = find(model).name
    require("matplotlib", "plot")
    if tensorboard:
        require("tensorboardX", "tensorboard")
    chosen = recipe_of(recipe, model=name)
    asked = Settings(
        data=str(data),
        recipe=chosen,
        epochs=chosen.epochs if epochs is None else epochs,
        batch_size=chosen.batch_size if batch_size is None else batch_size,
        image_size=chosen.image_size if image_size is None else image_size,
        **settings,
    )
    _check(asked, accumulate, checkpoint_minutes, teacher is not None)
    fine_tuning.check(weights, freeze, lora_rank)
    folder, used = Path(out), devices(distribute)
    used.check(asked.batch_size // accumulate, chosen.clip_norm)
    with Reporter(show_progress and used.writes) as reporter, used.scope():
        found = asked.load(data_dir, reporter.track)
        for split in (found.train, found.val):
            check_labels(split.labels, len(found.class_names))
        decided = replace(asked, image_size=found.image_size, flip=found.flip)
        training = Training(found, decided, seed, accumulate, used, reporter, folder, tensorboard)
        check_length(chosen, training.total)
        plain = flat(
            decided,
            model=name,
            seed=seed,
            accumulate=accumulate,
            remat=remat,
            weights=str(weights),
            freeze=freeze,
            lora_rank=lora_rank,
            teacher=None if teacher is None else str(teacher),
            data_fingerprint=found.fingerprint,
            class_names=list(found.class_names),
            backend=keras.backend.backend(),
        )
        check_folder(folder, plain, "training")
        keras.utils.set_random_seed(seed)
        built = _built(name, found, decided, weights, remat)
        fine_tuning.prepare(built, freeze, lora_rank)
        if teacher is not None:
            training.pupil = pupil(built, teacher_of(teacher))
        if used.writes:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / SETTINGS, json.dumps(plain, indent=2) + "\n")
        reporter.say(found.description)
        reporter.say(f"recipe {chosen.name}: {chosen.rule(decided.batch_size)}")
        evaluation, history = training.run(built, checkpoint_minutes)
        optimizers.use_averages(built)
        if lora_rank is not None:
            built = fine_tuning.merge_lora(built)
    if used.writes:
        evaluation.write(folder, found.class_names)
        _save_model(built, folder / MODEL)
    return Fitted(
        out=folder,
        model=built,
        evaluation=evaluation,
        history=history,
        class_names=found.class_names,
    )


def _built(
    name: str, data: ImageData, settings: Settings, weights: Any, remat: bool
) -> keras.Model:
    size = data.image_size
    last = keras.config.image_data_format() == "channels_last"
    config = scale_width(find(name).config, settings.width_multiplier)
    if weights is None:  # published weights belong to the design as it is
        config, _ = adapt_to_image_size(config, size, settings.stem_stride)
    model = build(
        config,
        weights=Wanted(weights, name),  # with the variant's own normalisation
        input_shape=(size, size, 3) if last else (3, size, size),
        classes=len(data.class_names),
        classifier_activation=None,
        drop_path_rate=settings.drop_path_rate or 0.0,
        dtype=settings.dtype,
        remat=remat,
    )
    # As it is evaluated, the saved model wants its images.
    shown = Preprocessing(image_size=(size, size), crop_pct=1.0, labels=data.class_names)
    mean, std = normalization_of(model) or (shown.mean, shown.std)
    attach(model, replace(shown, mean=mean, std=std))
    return model


def _save_model(model: keras.Model, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.keras")
    # Keras saves how a model was compiled, whatever include_optimizer says, and then complains when
    # it loads averages or a schedule. The same layers in a model that never was compiled:
    keras.Model(model.input, model.output, name=model.name).save(temporary)
    temporary.replace(path)


def _check(settings: Settings, accumulate: int, checkpoint_minutes: float, taught: bool) -> None:
    if accumulate < 1 or settings.batch_size % accumulate:
        raise ValueError(
            f"`accumulate` must be a divisor of the batch size, {settings.batch_size}. "
            f"Received: accumulate={accumulate}"
        )
    if not checkpoint_minutes >= 0:
        raise ValueError(
            "`checkpoint_minutes` must not be negative. "
            f"Received: checkpoint_minutes={checkpoint_minutes}"
        )
    if settings.minutes_per_model is not None:
        raise ValueError(
            "A training that can be resumed has a number of epochs, not a time: set `epochs`. "
            f"Received: minutes_per_model={settings.minutes_per_model}"
        )
    if settings.dtype == "mixed_float16" and not measure.accelerator():
        raise ValueError(
            "No accelerator is in use, and processors compute float16 slowly or not at all: use "
            "mixed_bfloat16 or float32. Received: dtype='mixed_float16'"
        )
    if taught != bool(settings.recipe.distillation):
        mend = "set `distillation` to 'hard' or 'soft'" if taught else "give a `teacher`"
        raise ValueError(
            f"A recipe that distils and a teacher belong together: {mend}. "
            f"Received: distillation={settings.recipe.distillation!r}"
        )
