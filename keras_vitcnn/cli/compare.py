"""`keras-vitcnn compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from keras_vitcnn.cli import backend, tables
from keras_vitcnn.cli.resume import resumable

POSITIVE = click.IntRange(min=1)


class Names(click.ParamType):
    """Names separated by commas."""

    name = "names"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, ...]:
        names = tuple(name.strip() for name in value.split(",") if name.strip())
        return names or self.fail("give one name or more, separated by commas", param, ctx)


class Seeds(click.ParamType):
    """A number of seeds, or the seeds themselves, separated by commas."""

    name = "seeds"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        try:
            seeds = tuple(int(part) for part in str(value).split(",") if part.strip())
        except ValueError:
            seeds = ()
        if not seeds or min(seeds) < 0 or seeds == (0,):
            self.fail(f"{value!r} is neither a number of seeds nor a list such as 0,7", param, ctx)
        return seeds if "," in str(value) else tuple(range(seeds[0]))


@click.command()
@click.option(
    "--models",
    type=Names(),
    required=True,
    help="Models to compare, separated by commas, by our names or timm's; see keras-vitcnn list.",
)
@click.option(
    "--data",
    default="digits",
    show_default=True,
    help="digits (scans of scikit-learn, no network needed), a folder with one sub-folder per "
    "class (or with train/ and val/ of such folders), or tfds:NAME (tensorflow-datasets; "
    "prepared ones are looked for in $TFDS_DATA_DIR).",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs/comparison"),
    show_default=True,
    help="Folder of the results and the report. Started again with the same folder, a "
    "comparison goes on after the last finished training.",
)
@click.option(
    "--epochs", type=POSITIVE, help="Passes over the images.  [default: 10, or as time allows]"
)
@click.option(
    "--minutes-per-model",
    type=click.FloatRange(min=0, min_open=True),
    help="The same time for each model, compilation excluded, instead of or beside the same "
    "number of epochs; the learning rate's schedule is fitted into it.",
)
@click.option(
    "--seeds",
    type=Seeds(),
    default="1",
    show_default=True,
    help="Trainings per model: a number (3 means the seeds 0, 1 and 2) or a list (0,7).",
)
@click.option(
    "--image-size",
    type=POSITIVE,
    help="Side of the images in pixels.  [default: 16 for digits, the set's own size for tfds, "
    "64 for folders]",
)
@click.option("--batch-size", type=POSITIVE, default=64, show_default=True)
@click.option(
    "--limit-train", type=POSITIVE, help="Train on so many images, classes keeping their shares."
)
@click.option("--limit-val", type=POSITIVE, help="Validate with so many images, likewise.")
@click.option(
    "--recipe",
    default="small-data",
    show_default=True,
    help="Optimizer, learning rate, augmentation and all that belongs to it: small-data, sgd, or "
    "one of the papers', such as convnext-300, deit-300 or resnet-90.",
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a field of the recipe, e.g. --set learning_rate=1e-3; may be repeated.",
)
@click.option(
    "--dtype",
    default="float32",
    show_default=True,
    help="float32, mixed_bfloat16 or mixed_float16.",
)
@click.option(
    "--drop-path-rate",
    type=click.FloatRange(0, 1, max_open=True),
    help="Probability of leaving out the last block of a model while training.  "
    "[default: the recipe's]",
)
@click.option(
    "--width-multiplier",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="On the number of channels of every model; below 1 for quick tries.",
)
@click.option(
    "--stem-stride",
    type=POSITIVE,
    help="Pixels per side of a stem's position or of a ViT's patch.  [default: small enough that "
    "a small image leaves more than one position; the report says what was done]",
)
@click.option(
    "--flip/--no-flip",
    default=None,
    help="Mirror images while training.  [default: not for digits, letters and signs]",
)
@click.option(
    "--skip-bad-images", is_flag=True, help="Leave out files that can't be decoded; count them."
)
@click.option(
    "--backend",
    "backend_name",
    type=click.Choice(backend.BACKENDS),
    help="[default: $KERAS_BACKEND, else the first of these that is installed]",
)
def compare(
    backend_name: str | None,
    models: tuple[str, ...],
    out: Path,
    recipe: str,
    changes: tuple[str, ...],
    **options: Any,
) -> int:
    """Train several models on the same images and report which did best, and at what cost.

    All of them get the same images, the same recipe and the same budget. The report (report.html
    and report.md in --out) has a table of accuracy, size, speed, memory and time, and plots of
    accuracy over epochs, time and computation. Everything is checked before the training starts.

    \b
    Examples:
      keras-vitcnn compare --models ConvNeXtAtto,ViTTiny16,ConViTTiny --epochs 5
      keras-vitcnn compare --models ResNet18,ViTTiny16 --data photos/ --seeds 3 \\
          --minutes-per-model 20 --out runs/photos

    Exit code: 0; 1 if a training failed (the report says which); 2 for wrong input; 130 after
    Ctrl-C.
    """
    backend.choose(backend_name)
    with resumable(out):
        from keras_vitcnn import training
        from keras_vitcnn.training.recipes import changed

        chosen = changed(training.recipe(recipe), changes)
        comparison = training.compare(models, out=out, recipe=chosen, show_progress=True, **options)
    answer, report = " ".join(comparison.answer), f"Report: {comparison.report}"
    tables.show(comparison.table.header, comparison.table.rows, answer, report)
    return 1 if comparison.failures else 0
