"""`keras-vitcnn ablate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from keras_vitcnn.cli import backend, options, tables
from keras_vitcnn.cli.resume import resumable


@click.command()
@click.option(
    "--road",
    "name",
    help="Which road; required for training. --dry-run alone shows them all.",
)
@options.out(
    "runs/ablation",
    "the results, the table and the figure. Started again with the same folder, a run goes on "
    "after the last finished training.",
)
@click.option(
    "--steps",
    type=options.Names(),
    help="Names of the steps to train, separated by commas.  [default: all of the road]",
)
@click.option(
    "--recipe",
    type=options.Names(),
    default="small-data",
    show_default=True,
    help="Recipe, or several separated by commas: each step is trained with each.",
)
@click.option(
    "--rate-factors",
    type=options.Numbers(),
    default="1",
    show_default=True,
    help="Factors on the recipe's learning rate, separated by commas: each step is trained with "
    "each.",
)
@options.SAME_FOR_ALL
@options.BACKEND
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print what every step costs beside what its paper prints, and train nothing; with "
    "--image-size or --width-multiplier at that scale.",
)
def ablate(
    backend_name: str | None, name: str | None, out: Path, dry_run: bool, **settings: Any
) -> int:
    """Walk from one design to another: train every step of a road on the same images.

    A step is one named change of a network, such as depthwise convolutions or fewer norms. The
    table and the figure (report.html, report.md, road.svg and road.png in --out) hold the measured
    accuracy of each step against the published one, and say which changes went the same way.

    \b
    Examples:
      keras-vitcnn ablate --dry-run
      keras-vitcnn ablate --road resnet50-to-convnext-tiny --data tfds:cifar10 \\
          --width-multiplier 0.25 --epochs 10 --seeds 2 --out runs/road

    Exit code: 0; 1 if a training failed (the report says which); 2 for wrong input; 130 after
    Ctrl-C.
    """
    backend.choose(backend_name)
    if dry_run:
        _show_costs(name, settings)
        return 0
    if name is None:
        raise click.UsageError("Missing option '--road'; --dry-run alone shows all roads.")
    with resumable(out):
        from keras_vitcnn import training

        ablation = training.ablate(name, out=out, show_progress=True, **settings)
    answer, report = " ".join(ablation.answer), f"Report: {ablation.report}"
    tables.show(ablation.table.header, ablation.table.rows, answer, report)
    return 1 if ablation.failures else 0


def _show_costs(name: str | None, settings: dict[str, Any]) -> None:
    from keras_vitcnn import ablation

    scale = {key: settings[key] for key in ("image_size", "width_multiplier", "stem_stride")}
    for each in ablation.roads() if name is None else [name]:
        road = ablation.road(each)
        click.echo(f"{road.name}: {road.title} ({road.source})\n")
        table = ablation.cost_table(road, **scale)
        tables.show(table.header, table.rows, "\n".join(table.remarks))
        click.echo()
