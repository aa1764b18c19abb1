"""`keras-vitcnn train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from keras_vitcnn.cli import backend, options
from keras_vitcnn.cli.resume import resumable


@click.command()
@click.argument("model")
@options.DATA
@options.out(
    "runs/training",
    "checkpoints, log and model. Started again with the same folder, a training goes on where it "
    "was.",
)
@click.option(
    "--recipe",
    default="small-data",
    show_default=True,
    help="How to train: small-data, sgd, or one of the papers'; --recipe list prints them.",
)
@options.SET
@options.AUGMENT
@click.option(
    "--epochs", type=options.POSITIVE, help="Passes over the images.  [default: the recipe's]"
)
@click.option(
    "--batch-size",
    type=options.POSITIVE,
    help="Images of a step; the learning rate follows linearly.  [default: the recipe's]",
)
@click.option(
    "--accumulate",
    type=options.POSITIVE,
    default=1,
    show_default=True,
    help="Parts that a step is computed in, where its images don't fit into memory together.",
)
@click.option(
    "--image-size",
    type=options.POSITIVE,
    help="Side in pixels.  [default: the recipe's, else the data's]",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--remat", is_flag=True, help="Compute activations twice instead of keeping them.")
@click.option("--weights", help="To begin with: imagenet, a tag, a file, or hf://owner/repo.")
@click.option(
    "--freeze",
    metavar="N|head",
    help="Leave the stem and the first N stages (of a ViT: blocks) of these weights as they are; "
    "head: train the classifier alone.",
)
@click.option(
    "--lora",
    "lora_rank",
    type=options.POSITIVE,
    metavar="RANK",
    help="Train low-rank adapters of attention and MLPs, and the head; merged in the result.",
)
@click.option(
    "--checkpoint-minutes",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="Time between two checkpoints of the whole state.",
)
@click.option("--tensorboard", is_flag=True, help="Write the log for TensorBoard, too, into --out.")
@click.option(
    "--teacher", help="Of a recipe that distils: a .keras file or the folder of a training."
)
@click.option(
    "--distribute",
    type=click.Choice(["data", "model", "cores"]),
    default=None,
    help="Use all devices: each computes a part of every batch, or (JAX) keeps a part of the "
    "model; on PyTorch start the command with torchrun. cores: every core of the processor "
    "computes a part of every batch (TensorFlow).",
)
@options.SCALE
@options.BACKEND
def train(
    backend_name: str | None,
    model: str,
    out: Path,
    recipe: str,
    changes: tuple[str, ...],
    augment: str | None,
    distribute: str | None,
    **settings: Any,
) -> int:
    """Train MODEL as a paper did, with everything that belongs to it.

    The log is history.csv, the result model.keras, both in --out, beside the checkpoints, from
    which the same command goes on after an interruption of any kind.

    \b
    Examples:
      keras-vitcnn train ConvNeXtAtto --data photos/ --recipe convnext-300 \\
          --set mixup=0 --epochs 50 --batch-size 128
      keras-vitcnn train ResNet50 --data tfds:cifar10 --recipe resnet-90 --image-size 64
      keras-vitcnn train DeiTTiny16 --weights imagenet --lora 4 --data photos/ --image-size 224

    Exit code: 0; 1 if the loss stopped being finite; 2 for wrong input; 130 after Ctrl-C.
    """
    backend.choose(backend_name)
    from keras_vitcnn import training
    from keras_vitcnn.training.recipes import changed

    if recipe == "list":
        for name in training.recipes():
            click.echo(f"{name:30} {training.recipe(name).source}")
        return 0
    try:
        # The model's variant of the recipe first, so that what was asked for has the last word.
        chosen = changed(
            training.recipe(recipe, model=_constructor(model)), options.changes_of(changes, augment)
        )
        settings["distribute"] = distribute or ""
        frozen = settings["freeze"]
        settings["freeze"] = int(frozen) if frozen and frozen.isdigit() else frozen
        with resumable(out):
            done = training.fit(model, out=out, recipe=chosen, show_progress=True, **settings)
    except training.Diverged as error:
        click.echo(f"error: {error}", err=True)
        return 1
    found = done.evaluation
    click.echo(f"top-1 {found.top1:.2%}, top-5 {found.top5:.2%}, loss {found.loss:.4f}: {out}")
    return 0


def _constructor(model: str) -> str:
    from keras_vitcnn.models.registry import find

    return find(model).name
