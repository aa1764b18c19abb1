"""`fit`: one model trained into a folder, going on from its last checkpoint."""

from __future__ import annotations

import csv
import io
import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_vitcnn import data as images
from keras_vitcnn.data import ImageData, TrainBatches
from keras_vitcnn.data.batches import feed, steps_per_epoch
from keras_vitcnn.extras import require
from keras_vitcnn.files import write_atomically
from keras_vitcnn.models import adapt_to_image_size, build, scale_width
from keras_vitcnn.models.preprocessing import Preprocessing, attach, normalization_of
from keras_vitcnn.models.registry import find
from keras_vitcnn.training import fine_tuning, measure, optimizers
from keras_vitcnn.training.checkpoint import Checkpoints, restore, state
from keras_vitcnn.training.distillation import distillation_loss, pupil, teacher_of
from keras_vitcnn.training.distribution import Devices, devices
from keras_vitcnn.training.evaluation import Evaluation, check_labels, evaluate
from keras_vitcnn.training.progress import Reporter
from keras_vitcnn.training.recipes import Recipe
from keras_vitcnn.training.recipes import recipe as recipe_of
from keras_vitcnn.training.records import Record
from keras_vitcnn.training.runner import check_length, jit_compile
from keras_vitcnn.training.settings import SETTINGS, Settings, check_folder, flat
from keras_vitcnn.training.variables import value_of
from keras_vitcnn.training.watch import Watch

HISTORY = "history.csv"
MODEL = "model.keras"


class Diverged(ArithmeticError):
    """A loss or a weight stopped being finite."""


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
        distribute: `"data"` or `"model"`, see `keras_vitcnn.training.distribution.devices`; the
            result does not depend on it, but for batch statistics, which are a device's own.
        teacher: of a recipe that distils: a model, a `.keras` file, or the folder of a training.
        data_dir: of prepared tensorflow-datasets.
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
        found = images.load(
            asked.data,
            image_size=asked.image_size,
            limit_train=asked.limit_train,
            limit_val=asked.limit_val,
            flip=asked.flip,
            skip_bad_images=asked.skip_bad_images,
            photos=chosen.photos,
            data_dir=data_dir,
            progress=reporter.track,
        )
        for split in (found.train, found.val):
            check_labels(split.labels, len(found.class_names))
        decided = replace(asked, image_size=found.image_size, flip=found.flip)
        training = _Training(found, decided, seed, accumulate, used, reporter, folder)
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
        check_folder(folder, plain)
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


class _Training:
    """The loop: epochs, evaluations, checkpoints."""

    def __init__(
        self,
        data: ImageData,
        settings: Settings,
        seed: int,
        accumulate: int,
        used: Devices,
        reporter: Reporter,
        folder: Path,
    ) -> None:
        self.data = data
        self.settings = settings
        self.seed = seed
        self.accumulate = accumulate
        self.devices = used
        self.pupil: keras.Model | None = None  # the model beside its teacher
        self.reporter = reporter
        self.folder = folder
        self.checkpoints = Checkpoints(folder / "checkpoints")
        self.batch_size = settings.batch_size // accumulate
        if self.batch_size > len(data.train):
            raise ValueError(
                f"`batch_size` must be at most the number of training images, {len(data.train)}. "
                f"Received: batch_size={settings.batch_size}, accumulate={accumulate}"
            )
        self.per_epoch = steps_per_epoch(len(data.train), self.batch_size)
        self.total = (settings.epochs or 1) * self.per_epoch

    def run(self, model: keras.Model, checkpoint_minutes: float) -> tuple[Evaluation, list[Record]]:
        recipe = self.settings.recipe
        optimizer, total_steps = optimizers.optimizer(
            recipe, model, self.settings.batch_size, self.settings.dtype, self.accumulate
        )
        model.compile(optimizer, optimizers.loss(recipe), jit_compile=jit_compile())
        trained = self.pupil or model
        if self.pupil:
            trained.compile(optimizer, distillation_loss(recipe), jit_compile=jit_compile())
        total_steps.assign(self.total)
        self.devices.prepare(trained)
        step, history, losses = self._resumed(model)
        bar = self.reporter.bar("training", self.total)
        self.reporter.bars.advance(bar, step)
        saved = time.monotonic()
        evaluation = None
        while step < self.total:
            stop = min((step // self.per_epoch + 1) * self.per_epoch, self.total)
            left = 60 * checkpoint_minutes - (time.monotonic() - saved)
            if self.devices.processes > 1:  # they would not stop at the same step
                left = math.inf
            watch = Watch(self.reporter, bar, seconds=max(left, 0.0))
            batches = feed(self._batches(step, stop))
            trained.fit(batches, shuffle=False, verbose=0, callbacks=[watch])
            if watch.failed_step is not None:
                raise self._diverged(f"The loss became {watch.loss}", step + watch.failed_step)
            losses.append((self.devices.mean(watch.loss), watch.steps))
            step += watch.steps
            if step == stop:
                evaluation = evaluate(model, self.data.val, self.batch_size)
                waited = getattr(batches, "waited", 0.0) / max(watch.seconds, 1e-9)
                history.append(self._entry(step, losses, evaluation, waited))
                history[-1]["seconds"] = round(watch.seconds, 3)
                losses = []
            if step == self.total or time.monotonic() - saved >= 60 * checkpoint_minutes:
                self._save(model, {"step": step, "history": history, "losses": losses})
                saved = time.monotonic()
        self.reporter.bars.remove_task(bar)
        return evaluation or evaluate(model, self.data.val, self.batch_size), history

    def _resumed(self, model: keras.Model) -> tuple[int, list[Record], list[Any]]:
        last, complaints = self.checkpoints.last()
        where = f"step {last.notes['step']}" if last else "the beginning"
        for complaint in complaints:
            self.reporter.say(f"{complaint}; going on from {where}")
        if last is None:
            return 0, [], []
        restore(model, last)
        self.reporter.say(f"going on from {where} of {self.total}")
        return last.notes["step"], last.notes["history"], last.notes["losses"]

    def _batches(self, start: int, stop: int) -> TrainBatches:
        return TrainBatches(
            self.data.train,
            classes=len(self.data.class_names),
            batch_size=self.batch_size,
            start=start,
            stop=stop,
            seed=self.seed,
            flip=self.data.flip,
            augmentation=self.settings.recipe,
            part=self.devices.part,
        )

    def _entry(self, step: int, losses: list[Any], evaluation: Evaluation, waited: float) -> Record:
        entry = {
            "epoch": step / self.per_epoch,
            "step": step,
            "learning_rate": self.learning_rate(step - 1),
            "train_loss": sum(loss * n for loss, n in losses) / sum(n for _, n in losses),
            "val_loss": evaluation.loss,
            "val_top1": evaluation.top1,
            "val_top5": evaluation.top5,
        }
        self.reporter.say(
            f"epoch {entry['epoch']:g} of {self.total // self.per_epoch}: "
            f"loss {entry['train_loss']:.3f}, top-1 {evaluation.top1:.1%}"
            + (f", waiting for data: {waited:.0%}" if waited else "")
        )
        return entry

    def learning_rate(self, step: int) -> float:
        recipe = self.settings.recipe
        rate = optimizers.schedule(recipe, recipe.learning_rate_at(self.settings.batch_size))
        rate.total_steps = self.total
        return float(rate(step))

    def _save(self, model: keras.Model, notes: Record) -> None:
        if not self.devices.writes:
            return
        for name, variable in state(model).items():
            value = value_of(variable)
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise self._diverged(f"{name} stopped being finite", notes["step"] - 1)
        self.checkpoints.save(model, notes)
        _write_history(self.folder / HISTORY, notes["history"])

    def _diverged(self, what: str, step: int) -> Diverged:
        chosen = self._batches(step, step + 1).chosen(step)
        files = self.data.train.files
        named = ", ".join(str(files[i]) if files else str(i) for i in chosen)
        kept = self.checkpoints.paths()
        return Diverged(
            f"{what} in step {step + 1} of {self.total} (epoch {1 + step // self.per_epoch}). "
            f"Its images are {named}. Last good checkpoint: {kept[-1] if kept else 'none'}. "
            "A smaller learning rate (--set learning_rate=...), a longer warm-up or clipped "
            "gradients (--set clip_norm=1) may mend it."
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
        weights=weights,
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
    model.save(temporary, include_optimizer=False)
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


def _write_history(path: Path, history: list[Record]) -> None:
    if history:
        stream = io.StringIO()
        writer = csv.DictWriter(stream, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        write_atomically(path, stream.getvalue())
