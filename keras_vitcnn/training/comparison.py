"""`compare`: several models, the same images, one recipe, one budget, one report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_vitcnn.analysis import complexity
from keras_vitcnn.data import ImageData
from keras_vitcnn.data.batches import in_data_format, steps_per_epoch
from keras_vitcnn.extras import require
from keras_vitcnn.models import adapt_to_image_size, build, scale_width
from keras_vitcnn.models.registry import find
from keras_vitcnn.training import measure, report
from keras_vitcnn.training.progress import Reporter
from keras_vitcnn.training.recipes import Recipe
from keras_vitcnn.training.recipes import recipe as recipe_of
from keras_vitcnn.training.records import Findings, Record, RunFolder
from keras_vitcnn.training.runner import check_length, train
from keras_vitcnn.training.settings import Settings, flat

BASELINE = "linear model"
BASELINE_EPOCHS = 20  # where the other models' number depends on their speed


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model as it will be trained."""

    name: str  # of its constructor
    config: Any
    adaptation: str  # what was done to it for the image size, "" for nothing
    params: int
    macs: int


def compare(
    models: Iterable[str],
    data: str | Path = "digits",
    out: str | Path = "runs/comparison",
    *,
    seeds: Sequence[int] = (0,),
    recipe: str | Recipe = "small-data",
    data_dir: str | Path | None = None,
    show_progress: bool = False,
    **settings: Any,
) -> Findings:
    """Train models on the same images under the same recipe and budget, and write a report.

    Everything is checked before the first step and before anything is written. Each finished
    training is one line of `results.jsonl`; called again with the same `out`, it goes on after the
    last one, and may be given more models and more seeds.

    Args:
        models: names of constructors or timm's names.
        data: as of `keras_vitcnn.data.load`.
        out: folder for `settings.json`, `results.jsonl`, `baseline.jsonl` (a linear model on the
            pixels), `report.md`, `report.html` and the plots.
        seeds: each model is trained once with each; they decide weights, order and augmentation.
        recipe: name of a recipe, or a changed one.
        data_dir: of prepared tensorflow-datasets.
        show_progress: bars on stderr.
        **settings: the fields of `keras_vitcnn.training.Settings`: `epochs`, `batch_size`,
            `image_size`, `dtype`, `drop_path_rate`, `minutes_per_model`, `limit_train`,
            `limit_val`, `width_multiplier`, `stem_stride`, `flip`, `skip_bad_images`.

    Raises:
        ValueError: for anything that can't work, and for an `out` that holds a comparison with
            other settings, naming them.
        OSError: if data have to be downloaded and can't.
        ImportError: with the command that installs what is missing.
    """
    names = list(dict.fromkeys(find(name).name for name in models))
    seeds = list(dict.fromkeys(int(seed) for seed in seeds))
    for argument, value in (("models", names), ("seeds", seeds)):
        if not value:
            raise ValueError(f"`{argument}` must not be empty. Received: {argument}={value}")
    asked = Settings(data=str(data), recipe=recipe_of(recipe), **settings)
    if asked.recipe.distillation:
        raise ValueError(
            "A comparison has no teacher; use a recipe that needs none, or `fit`. "
            f"Received: distillation={asked.recipe.distillation!r}"
        )
    require("matplotlib", "plot")
    folder = RunFolder(out)
    with Reporter(show_progress) as reporter:
        found, decided = load_images(asked, data_dir, reporter)
        plain = described(decided, found, names, seeds)
        folder.check(plain)
        done = {(r["model"], r["seed"]) for r in folder.records(folder.results)}
        missing = [(name, seed) for seed in seeds for name in names if (name, seed) not in done]
        candidates = {
            name: candidate(name, find(name).config, found, decided)
            for name in dict.fromkeys(n for n, _ in missing)
        }

        for addition in folder.open(plain):
            reporter.say(f"added to the comparison in {out}: {addition}")
        reporter.say(found.description)
        reporter.say(f"recipe {asked.recipe.name}: {asked.recipe.rule(asked.batch_size)}")
        if len(missing) < len(names) * len(seeds):
            reporter.say(f"done already: {len(names) * len(seeds) - len(missing)} of the trainings")
        _baseline(folder, found, decided, seeds, reporter)
        for number, (name, seed) in enumerate(missing, 1):
            title = f"{name}, seed {seed} ({number}/{len(missing)})"
            record = trained(candidates[name], seed, found, decided, reporter, title)
            folder.append(folder.results, record)
            reporter.say(f"{title}: {outcome(record)}")
    return report.write(folder)


def load_images(
    asked: Settings, data_dir: str | Path | None, reporter: Reporter
) -> tuple[ImageData, Settings]:
    """The images of a run, and its settings with what the data decided."""
    found = asked.load(data_dir, reporter.track)
    if asked.batch_size > len(found.train):
        raise ValueError(
            "`batch_size` must be at most the number of training images, "
            f"{len(found.train)}. Received: batch_size={asked.batch_size}"
        )
    if asked.epochs is not None:
        check_length(
            asked.recipe, asked.epochs * steps_per_epoch(len(found.train), asked.batch_size)
        )
    return found, replace(asked, image_size=found.image_size, flip=found.flip)


def described(
    settings: Settings, data: ImageData, models: list[str], seeds: list[int]
) -> dict[str, Any]:
    """What a run's folder remembers of it, plain values."""
    return flat(
        settings,
        data_fingerprint=data.fingerprint,
        backend=keras.backend.backend(),
        models=models,
        seeds=seeds,
        about={
            "data": Path(data.name).name,
            "description": data.description,
            "train_images": len(data.train),
            "val_images": len(data.val),
        },
    )


def candidate(name: str, config: Any, data: ImageData, settings: Settings) -> Candidate:
    """A design as wide as the settings ask for, and fit for the images."""
    try:
        config = scale_width(config, settings.width_multiplier)
        config, note = adapt_to_image_size(config, data.image_size, settings.stem_stride)
        cost = complexity(_built(config, data, settings))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return Candidate(name=name, config=config, adaptation=note, params=cost.params, macs=cost.macs)


def _built(config: Any, data: ImageData, settings: Settings) -> keras.Model:
    return build(
        config,
        input_shape=_input_shape(data),
        classes=len(data.class_names),
        classifier_activation=None,
        drop_path_rate=settings.drop_path_rate or 0.0,
        dtype=settings.dtype,
    )


def _input_shape(data: ImageData) -> tuple[int, int, int]:
    size = data.image_size
    last = keras.config.image_data_format() == "channels_last"
    return (size, size, 3) if last else (3, size, size)


def trained(
    candidate: Candidate,
    seed: int,
    data: ImageData,
    settings: Settings,
    reporter: Reporter,
    title: str,
) -> Record:
    """Train a candidate once: what it is, what it reached, and on which machine."""
    what = {
        "model": candidate.name,
        "seed": seed,
        "params": candidate.params,
        "macs": candidate.macs,
        "adaptation": candidate.adaptation,
    }
    result = train(
        lambda: _built(candidate.config, data, settings),
        data,
        settings,
        seed=seed,
        reporter=reporter,
        title=title,
    )
    return what | result | {"machine": measure.machine()}


def _baseline(
    folder: RunFolder, data: ImageData, settings: Settings, seeds: list[int], reporter: Reporter
) -> None:
    """What softmax regression on standardised pixels reaches: a network must be well above it."""
    done = {record["seed"] for record in folder.records(folder.baseline)}
    plain = replace(
        settings,
        epochs=settings.epochs or BASELINE_EPOCHS,
        minutes_per_model=None,
        dtype="float32",
        # A linear model has no use for what keeps a network from learning its images by heart.
        recipe=recipe_of("small-data", weight_decay=0.0, label_smoothing=0.0, translate=0.0),
    )
    data = replace(data, flip=False)
    for seed in seeds:
        if seed not in done:
            title = f"{BASELINE}, seed {seed}"
            result = train(
                lambda: _linear(data), data, plain, seed=seed, reporter=reporter, title=title
            )
            kernel = len(data.class_names) * math.prod(_input_shape(data))
            cost = {"params": kernel + len(data.class_names), "macs": kernel}
            record = {"model": BASELINE, "seed": seed} | cost | result
            folder.append(folder.baseline, record)
            reporter.say(f"{title}: {outcome(record)}")


def _linear(data: ImageData) -> keras.Model:
    sample = data.train.images[np.arange(min(len(data.train), 10_000))]
    pixels = in_data_format(sample).reshape(len(sample), -1).astype("float32")
    # Pixels that hardly vary are left alone: dividing by their deviation would blow them up.
    deviation = np.maximum(pixels.std(axis=0), 8.0)
    return keras.Sequential(
        [
            keras.Input(_input_shape(data)),
            keras.layers.Flatten(),
            keras.layers.Normalization(mean=pixels.mean(axis=0), variance=deviation**2),
            keras.layers.Dense(len(data.class_names), kernel_initializer="zeros"),
        ]
    )


def outcome(record: Record) -> str:
    """A record in a few words, for the progress."""
    if "failure" in record:
        return f"FAILED, {record['failure']}"
    return f"top-1 {record['top1']:.1%} after {record['seconds']:.0f} s"
