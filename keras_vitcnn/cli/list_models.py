"""`keras-vitcnn list`."""

from __future__ import annotations

from typing import Any

import click

from keras_vitcnn.cli import backend


@click.command("list")
@click.argument("pattern", default="*")
@click.option("--pretrained", is_flag=True, help="Print the published weights of each model.")
def list_models(pattern: str, pretrained: bool) -> None:
    """Print the models whose names match PATTERN, with their names in timm.

    \b
    Examples:
      keras-vitcnn list 'ConvNeXt*'
      keras-vitcnn list ViTBase16 --pretrained
    """
    backend.choose(None)
    from keras_vitcnn.models import registry

    names = registry.list_models(pattern, pretrained=pretrained)
    if not names:
        raise ValueError(
            "No model matches; the pattern is a shell pattern such as 'ViT*', and case matters. "
            f"Received: pattern={pattern!r}"
        )
    if pretrained:
        _print_weights(registry.list_weights(pattern))
        return
    width = max(map(len, names))
    for name in names:
        timm = ", ".join(registry.find(name).timm)
        click.echo(f"{name:{width}}  {timm}".rstrip())


def _print_weights(weights: dict[str, list[Any]]) -> None:
    """A line per checkpoint: model, timm's name and tag, image size, classes, top-1."""
    rows = [(model, row) for model, found in weights.items() for row in found]
    models = max(len(model) for model, _ in rows)
    names = max(len(row.name) for _, row in rows)
    for model, row in rows:
        size = "x".join(str(side) for side in row.preprocessing.image_size)
        classes = f"{row.classes} classes" if row.classes else "no classifier"
        top1 = f"top-1 {row.top1:.2f}% at {row.top1_size}" if row.top1 else ""
        click.echo(f"{model:{models}}  {row.name:{names}}  {size:7}  {classes:13}  {top1}".rstrip())
