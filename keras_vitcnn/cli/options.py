"""What several commands ask for in the same words, and the types of their options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from keras_vitcnn.cli.backend import BACKENDS

Command = TypeVar("Command", bound=Callable[..., Any])


class Names(click.ParamType):
    """Names separated by commas."""

    name = "names"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, ...]:
        names = tuple(name.strip() for name in value.split(",") if name.strip())
        return names or self.fail("give one name or more, separated by commas", param, ctx)


class Numbers(Names):
    """Numbers separated by commas."""

    name = "numbers"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        try:
            return tuple(float(one) for one in super().convert(value, param, ctx))
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers such as 0.3,1,3", param, ctx)


class Sizes(click.ParamType):
    """Positive integers separated by commas."""

    name = "sizes"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        sizes = _integers(value)
        if not sizes or min(sizes) < 1:
            self.fail(f"{value!r} is not a list of positive integers such as 1,8", param, ctx)
        return sizes


class Seeds(click.ParamType):
    """A number of seeds, or the seeds themselves, separated by commas."""

    name = "seeds"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        seeds = _integers(value)
        if not seeds or min(seeds) < 0 or seeds == (0,):
            self.fail(f"{value!r} is neither a number of seeds nor a list such as 0,7", param, ctx)
        return seeds if "," in str(value) else tuple(range(seeds[0]))


POSITIVE = click.IntRange(min=1)
POSITIVE_FLOAT = click.FloatRange(min=0, min_open=True)
PATH = click.Path(path_type=Path)

BACKEND = click.option(
    "--backend",
    "backend_name",
    type=click.Choice(BACKENDS),
    help="[default: $KERAS_BACKEND, else the first of these that is installed]",
)
DATA = click.option(
    "--data",
    default="digits",
    show_default=True,
    help="digits (scans of scikit-learn, no network needed), a folder with one sub-folder per "
    "class (or with train/ and val/ of such folders), or tfds:NAME (tensorflow-datasets; "
    "prepared ones are looked for in $TFDS_DATA_DIR).",
)
SET = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a field of the recipe, e.g. --set learning_rate=1e-3; may be repeated.",
)

AUGMENT = click.option(
    "--augment",
    metavar="POLICY",
    help="What is drawn for each image in place of the recipe's: rand-m9-mstd0.5-inc1 or another "
    "RandAugment, trivial-wide, 3-augment, auto, keras-cv (that package's RandAugment), or none.",
)


def changes_of(changes: tuple[str, ...], augment: str | None) -> tuple[str, ...]:
    """The changes to a recipe that `--set` and `--augment` ask for."""
    if augment is None:
        return changes
    return (*changes, f"policy={'' if augment == 'none' else augment}")


def together(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator; --help shows them in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


# How much of a model and of the images a training takes.
SCALE = together(
    click.option(
        "--limit-train",
        type=POSITIVE,
        help="Train on so many images, classes keeping their shares.",
    ),
    click.option("--limit-val", type=POSITIVE, help="Validate with so many images, likewise."),
    click.option(
        "--dtype",
        default="float32",
        show_default=True,
        help="float32, mixed_bfloat16 or mixed_float16 (with loss scaling).",
    ),
    click.option(
        "--drop-path-rate",
        type=click.FloatRange(0, 1, max_open=True),
        help="Probability of leaving out the last block of a model while training.  "
        "[default: the recipe's]",
    ),
    click.option(
        "--width-multiplier",
        type=POSITIVE_FLOAT,
        default=1.0,
        show_default=True,
        help="On the number of channels of every model; below 1 for quick tries.",
    ),
    click.option(
        "--stem-stride",
        type=POSITIVE,
        help="Pixels per side of a stem's position or of a ViT's patch.  [default: small enough "
        "that a small image leaves more than one position; the report says what was done]",
    ),
    click.option(
        "--flip/--no-flip",
        default=None,
        help="Mirror images while training.  [default: not for digits, letters and signs]",
    ),
    click.option(
        "--skip-bad-images", is_flag=True, help="Leave out files that can't be decoded; count them."
    ),
)

# On what several models are trained, and for how long each.
SAME_FOR_ALL = together(
    DATA,
    click.option(
        "--epochs", type=POSITIVE, help="Passes over the images.  [default: 10, or as time allows]"
    ),
    click.option(
        "--minutes-per-model",
        type=POSITIVE_FLOAT,
        help="The same time for each model, compilation excluded, instead of or beside the same "
        "number of epochs; the learning rate's schedule is fitted into it.",
    ),
    click.option(
        "--seeds",
        type=Seeds(),
        default="1",
        show_default=True,
        help="Trainings per model: a number (3 means the seeds 0, 1 and 2) or a list (0,7).",
    ),
    click.option(
        "--image-size",
        type=POSITIVE,
        help="Side of the images in pixels.  [default: 16 for digits, the set's own size for "
        "tfds, 64 for folders]",
    ),
    click.option("--batch-size", type=POSITIVE, default=64, show_default=True),
    SCALE,
)


def out(default: str, holds: str) -> Callable[[Command], Command]:
    """`--out`, the folder of a run that goes on when it is started again."""
    return click.option(
        "--out", type=PATH, default=Path(default), show_default=True, help=f"Folder of {holds}"
    )


def _integers(value: Any) -> tuple[int, ...]:
    """() for what is no list of them."""
    try:
        return tuple(int(part) for part in str(value).split(",") if part.strip())
    except ValueError:
        return ()
