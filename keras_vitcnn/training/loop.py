"""The loop of `fit`: steps, evaluations, checkpoints, and what happens to losses that diverge."""

from __future__ import annotations

import csv
import io
import math
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_vitcnn.data import ImageData, TrainBatches
from keras_vitcnn.data.batches import feed, steps_per_epoch, waiting_time
from keras_vitcnn.files import write_atomically
from keras_vitcnn.training import optimizers
from keras_vitcnn.training.checkpoint import Checkpoints, restore, state
from keras_vitcnn.training.distillation import distillation_loss
from keras_vitcnn.training.distribution import Devices
from keras_vitcnn.training.evaluation import Evaluation, evaluate
from keras_vitcnn.training.progress import Reporter
from keras_vitcnn.training.records import Record
from keras_vitcnn.training.runner import jit_compile
from keras_vitcnn.training.settings import Settings
from keras_vitcnn.training.variables import value_of
from keras_vitcnn.training.watch import Watch

HISTORY = "history.csv"
BOARD = "tensorboard"


class Diverged(ArithmeticError):
    """A loss or a weight stopped being finite."""


class Training:
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
        tensorboard: bool = False,
    ) -> None:
        self.data = data
        self.settings = settings
        self.seed = seed
        self.accumulate = accumulate
        self.devices = used
        self.pupil: keras.Model | None = None  # the model beside its teacher
        self.reporter = reporter
        self.folder = folder
        self.board = folder / BOARD if tensorboard and used.writes else None
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
        self.devices.prepare(trained, evaluated=model)
        step, history, losses = self._resumed(model)
        bar = self.reporter.bar("training", self.total)
        self.reporter.bars.advance(bar, step)
        events = _events(self.board, step) if self.board else None
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
                waited = waiting_time(batches, watch.begun) / max(watch.seconds, 1e-9)
                history.append(self._entry(step, losses, evaluation, waited))
                history[-1]["seconds"] = round(watch.seconds, 3)
                if events:
                    _write_events(events, history[-1])
                losses = []
            if step == self.total or time.monotonic() - saved >= 60 * checkpoint_minutes:
                self._save(model, {"step": step, "history": history, "losses": losses})
                saved = time.monotonic()
        self.reporter.bars.remove_task(bar)
        if events:
            events.close()
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


def _write_history(path: Path, history: list[Record]) -> None:
    if history:
        stream = io.StringIO()
        writer = csv.DictWriter(stream, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        write_atomically(path, stream.getvalue())


def _events(folder: Path, step: int) -> Any:
    """What TensorBoard reads; what an interrupted run wrote beyond `step` disappears from it."""
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step + 1)


def _write_events(events: Any, entry: Record) -> None:
    for name, value in entry.items():
        if name != "step":
            events.add_scalar(name, value, entry["step"])
    events.flush()
