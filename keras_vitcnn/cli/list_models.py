"""`keras-vitcnn list`."""

from __future__ import annotations

import click

from keras_vitcnn.cli import backend


@click.command("list")
@click.argument("pattern", default="*")
def list_models(pattern: str) -> None:
    """Print the models whose names match PATTERN, with their names in timm.

    \b
    Example:
      keras-vitcnn list 'ConvNeXt*'
    """
    backend.choose(None)
    from keras_vitcnn.models import registry

    names = registry.list_models(pattern)
    if not names:
        raise ValueError(
            "No model matches; the pattern is a shell pattern such as 'ViT*', and case matters. "
            f"Received: pattern={pattern!r}"
        )
    width = max(map(len, names))
    for name in names:
        timm = ", ".join(registry.find(name).timm)
        click.echo(f"{name:{width}}  {timm}".rstrip())
