"""`keras-vitcnn compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from keras_vitcnn.cli import backend, options, tables
from keras_vitcnn.cli.resume import resumable


@click.command()
@click.option(
    "--models",
    type=options.Names(),
    required=True,
    help="Models to compare, separated by commas, by our names or timm's; see keras-vitcnn list.",
)
@options.out(
    "runs/comparison",
    "the results and the report. Started again with the same folder, a comparison goes on after "
    "the last finished training.",
)
@options.SAME_FOR_ALL
@click.option(
    "--recipe",
    default="small-data",
    show_default=True,
    help="Optimizer, learning rate, augmentation and all that belongs to it: small-data, sgd, or "
    "one of the papers', such as convnext-300, deit-300 or resnet-90.",
)
@options.SET
@options.AUGMENT
@options.BACKEND
def compare(
    backend_name: str | None,
    models: tuple[str, ...],
    out: Path,
    recipe: str,
    changes: tuple[str, ...],
    augment: str | None,
    **settings: Any,
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

        chosen = changed(training.recipe(recipe), options.changes_of(changes, augment))
        comparison = training.compare(
            models, out=out, recipe=chosen, show_progress=True, **settings
        )
    answer, report = " ".join(comparison.answer), f"Report: {comparison.report}"
    tables.show(comparison.table.header, comparison.table.rows, answer, report)
    return 1 if comparison.failures else 0
