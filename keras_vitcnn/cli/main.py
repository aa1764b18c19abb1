"""The group of commands, and what becomes of their errors."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from keras_vitcnn import __version__
from keras_vitcnn.cli.ablate import ablate
from keras_vitcnn.cli.benchmark import benchmark
from keras_vitcnn.cli.compare import compare
from keras_vitcnn.cli.evaluate import evaluate
from keras_vitcnn.cli.export import export
from keras_vitcnn.cli.list_models import list_models
from keras_vitcnn.cli.predict import predict
from keras_vitcnn.cli.search import search
from keras_vitcnn.cli.train import train
from keras_vitcnn.system import keep_memory

FAILED = 1  # a model could not be trained
WRONG_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__)
@click.pass_context
def cli(context: click.Context) -> None:
    """Vision Transformers, ConvNets and hybrids in Keras 3, compared on your images."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


cli.add_command(ablate)
cli.add_command(benchmark)
cli.add_command(compare)
cli.add_command(evaluate)
cli.add_command(export)
cli.add_command(list_models)
cli.add_command(predict)
cli.add_command(search)
cli.add_command(train)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code.

    What a user can mend is one line on stderr and code 2. `KERAS_VITCNN_TRACEBACK=1` shows where
    it was raised.
    """
    if arguments is None:  # the process is this command's alone
        keep_memory()
    try:
        return cli.main(arguments, prog_name="keras-vitcnn", standalone_mode=False) or 0
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        message = error.format_message()
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("KERAS_VITCNN_TRACEBACK"):
            raise
        message = str(error)
    click.echo(f"error: {' '.join(message.split())}", err=True)
    return WRONG_INPUT
