"""One training: a model, a seed, the data and a recipe in; one record out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_vitcnn.data import EvalBatches, ImageData, Split, TrainBatches
from keras_vitcnn.data.batches import feed, steps_per_epoch
from keras_vitcnn.training import measure, optimizers
from keras_vitcnn.training.evaluation import evaluate
from keras_vitcnn.training.progress import Reporter
from keras_vitcnn.training.recipes import Recipe
from keras_vitcnn.training.records import Record
from keras_vitcnn.training.settings import Settings
from keras_vitcnn.training.watch import Watch

WARM_UP_STEPS = 2  # the first compiles; on some backends the second does, too
TIMED_STEPS = 4
BUDGET_MARGIN = 0.95  # a machine is not equally fast all the time
INFERENCE_SECONDS = 1.0  # of one timed pass


def train(
    build: Callable[[], keras.Model],
    data: ImageData,
    settings: Settings,
    *,
    seed: int,
    reporter: Reporter,
    title: str,
) -> Record:
    """Build, train, evaluate and measure a model that ends in logits.

    Returns:
        What was measured; with a `failure` instead of results if the loss stopped being finite.
    """
    memory = measure.PeakMemory()
    started = time.perf_counter()
    keras.utils.set_random_seed(seed)
    model = build()
    optimizer, total_steps = optimizers.optimizer(
        settings.recipe, model, settings.batch_size, settings.dtype
    )
    model.compile(optimizer, optimizers.loss(settings.recipe), jit_compile=jit_compile())

    def batches(start: int, stop: int) -> Any:
        return feed(
            TrainBatches(
                data.train,
                classes=len(data.class_names),
                batch_size=settings.batch_size,
                start=start,
                stop=stop,
                seed=seed,
                flip=data.flip,
                augmentation=settings.recipe,
            )
        )

    step_seconds, eval_seconds = _warm_up(model, batches, data, settings)
    compiled = time.perf_counter()

    per_epoch = steps_per_epoch(len(data.train), settings.batch_size)
    bounds = plan(settings, per_epoch, step_seconds, eval_seconds)
    check_length(settings.recipe, bounds[-1])
    history: list[Record] = []
    train_seconds = 0.0
    failure = ""
    task = reporter.bar(title, bounds[-1])
    while len(bounds) > 1:
        total_steps.assign(bounds[-1])
        reporter.bars.update(task, total=bounds[-1])
        start, stop = bounds[:2]
        watch = Watch(reporter, task)
        model.fit(batches(start, stop), shuffle=False, verbose=0, callbacks=[watch])
        train_seconds += watch.seconds
        if not math.isfinite(watch.loss):
            failure = f"the loss became {watch.loss} in epoch {stop / per_epoch:.3g}"
            break
        before = time.perf_counter()
        found = evaluate(model, data.val, settings.batch_size)
        if not math.isfinite(found.loss):
            failure = f"the validation loss became {found.loss} in epoch {stop / per_epoch:.3g}"
            break
        now = time.perf_counter()
        history.append(
            {
                "epoch": stop / per_epoch,
                "step": stop,
                "train_loss": watch.loss,
                "val_loss": found.loss,
                "val_top1": found.top1,
                "seconds": now - compiled,
            }
        )
        reporter.bars.update(task, note=f"top-1 {found.top1:.1%}")
        reporter.epoch(
            f"{title}: epoch {stop / per_epoch:.3g} of {bounds[-1] / per_epoch:.3g}, "
            f"loss {watch.loss:.3f}, top-1 {found.top1:.1%}"
        )
        bounds = bounds[1:]
        if len(bounds) > 1:  # a few seconds of warm-up foretell half an hour badly
            bounds = plan(
                settings, per_epoch, train_seconds / stop, now - before, stop, now - compiled
            )
    reporter.bars.remove_task(task)
    record: Record = {
        "epochs": stop / per_epoch,
        "steps": stop,
        "learning_rate": settings.recipe.learning_rate_at(settings.batch_size),
        "history": history,
        "compile_seconds": compiled - started,
        "seconds": time.perf_counter() - compiled,
    }
    if failure:
        return record | {"failure": failure}
    record["peak_memory"] = memory.read()
    return record | {
        "top1": history[-1]["val_top1"],
        "best_top1": max(entry["val_top1"] for entry in history),
        "train_images_per_second": stop * settings.batch_size / train_seconds,
        "inference_images_per_second": _inference_speed(model, data.val, settings.batch_size),
    }


def plan(
    settings: Settings,
    per_epoch: int,
    step_seconds: float,
    eval_seconds: float,
    done: int = 0,
    elapsed: float = 0.0,
) -> list[int]:
    """The steps at which to evaluate, from `done` to the end: every epoch, or evenly if less fits.

    With `minutes_per_model` as many steps as fit, with the evaluations, into what is left of them
    after `elapsed` seconds; one at least.
    """
    left = math.inf if settings.epochs is None else settings.epochs * per_epoch - done
    if settings.minutes_per_model is not None:
        budget = (60 * settings.minutes_per_model - elapsed) * BUDGET_MARGIN
        rounds = max(1, math.ceil(budget / (per_epoch * step_seconds + eval_seconds)))
        left = min(left, max(1, int((budget - rounds * eval_seconds) / step_seconds)))
    rounds = math.ceil(left / per_epoch)
    return np.linspace(done, done + left, rounds + 1).round().astype(int).tolist()


def _warm_up(
    model: keras.Model,
    batches: Callable[[int, int], Any],
    data: ImageData,
    settings: Settings,
) -> tuple[float, float]:
    """Compile both steps, then forget what was learned.

    Returns:
        Seconds of a training step and of an evaluation, zeros unless a budget needs them.
    """
    variables = [*model.variables, *model.optimizer.variables]
    before = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]
    few = _head(data.val, TIMED_STEPS * settings.batch_size)
    model.fit(batches(0, WARM_UP_STEPS), shuffle=False, verbose=0)
    evaluate(model, _head(few, settings.batch_size), settings.batch_size)
    step_seconds = eval_seconds = 0.0
    if settings.minutes_per_model is not None:
        steps = TIMED_STEPS
        for _ in range(2):  # the second time about as many as take two seconds
            watch = Watch()
            model.fit(batches(0, steps), shuffle=False, verbose=0, callbacks=[watch])
            step_seconds = watch.seconds / steps
            steps = int(np.clip(2 / step_seconds, TIMED_STEPS, 64))
        some = measure.seconds(lambda: evaluate(model, few, settings.batch_size))
        eval_seconds = some * len(data.val) / len(few)
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    return step_seconds, eval_seconds


def jit_compile() -> str | bool:
    """Keras' choice, except XLA inside TensorFlow on a CPU, which was measured to be slower."""
    backend = keras.backend.backend()
    return False if backend == "tensorflow" and not measure.accelerator() else "auto"


def check_length(recipe: Recipe, steps: int) -> None:
    """Raise `ValueError` if a training is too short for the recipe's average of the weights."""
    if recipe.ema is not None and steps * (1 - recipe.ema) < 1:
        raise ValueError(
            f"The recipe averages the weights over {1 / (1 - recipe.ema):,.0f} steps, and the "
            f"training has {steps:,}: give it more epochs or smaller batches, set a smaller decay "
            f"(--set ema={max(0.0, 1 - 5 / steps):.4g}) or none (--set ema=none). "
            f"Received: ema={recipe.ema}"
        )


def _inference_speed(model: keras.Model, split: Split, batch_size: int) -> float:
    """Images per second of compiled `predict`, from memory: the median of five warm passes."""
    one = _head(split, batch_size)
    model_seconds = measure.median_seconds(lambda: evaluate(model, one, batch_size), 3)
    count = batch_size * int(np.clip(INFERENCE_SECONDS / model_seconds, 1, 16))
    rows = np.arange(count) % len(split)
    block = feed(EvalBatches(Split(split.images[rows], split.labels[rows]), batch_size))
    return count / measure.median_seconds(lambda: model.predict(block, verbose=0))


def _head(split: Split, count: int) -> Split:
    rows = np.arange(min(count, len(split)))
    return Split(split.images[rows], split.labels[rows])
