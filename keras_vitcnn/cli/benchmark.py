"""`keras-vitcnn benchmark`."""

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
    help="Models to measure, separated by commas, by our names or timm's; see keras-vitcnn list.",
)
@click.option(
    "--modes",
    type=options.Names(),
    default="inference",
    show_default=True,
    help="inference, training (forward, backward and an update by AdamW), or both.",
)
@click.option("--batch-sizes", type=options.Sizes(), default="8", show_default=True)
@click.option(
    "--image-sizes", type=options.Sizes(), default="224", show_default=True, help="Sides in pixels."
)
@click.option(
    "--dtypes",
    type=options.Names(),
    default="float32",
    show_default=True,
    help="float32, mixed_bfloat16, mixed_float16.",
)
@click.option(
    "--jit",
    type=click.Choice(("auto", "on", "off")),
    default="auto",
    show_default=True,
    help="XLA on TensorFlow, torch.compile on PyTorch; auto is Keras' own choice.",
)
@click.option(
    "--seconds",
    type=options.POSITIVE_FLOAT,
    default=5.0,
    show_default=True,
    help="Timed steps of every point; at least five are taken.",
)
@options.out(
    "runs/benchmark",
    "the results and the report. Started again with the same folder, a benchmark goes on after "
    "the last point, and takes in more points and other backends.",
)
@options.BACKEND
def benchmark(backend_name: str | None, models: tuple[str, ...], out: Path, **axes: Any) -> int:
    """Measure how fast models run on this machine, and with how much memory.

    Every combination of the options is measured in a process of its own: images per second,
    percentiles of the latency, peak memory, and multiply-adds per second beside those of the
    fastest matrix product. The report is report.md in --out, the raw results are results.jsonl.

    \b
    Examples:
      keras-vitcnn benchmark --models ConvNeXtTiny,ViTSmall16 --batch-sizes 1,8
      keras-vitcnn benchmark --models SwinTiny --modes inference,training \\
          --dtypes float32,mixed_bfloat16 --batch-sizes 256 --backend jax

    Exit code: 0; 1 if a point failed (the report says which); 2 for wrong input; 130 after Ctrl-C.
    """
    backend.choose(backend_name)
    with resumable(out):
        from keras_vitcnn import speed

        found = speed.benchmark(models, out=out, show_progress=True, **axes)
    tables.show(found.table.header, found.table.rows, f"Report: {found.report}")
    return 1 if found.failures else 0
