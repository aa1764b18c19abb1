"""The command `keras-vitcnn`: every sub-command parses its options and calls one function."""

from keras_vitcnn.cli.main import main

__all__ = ["main"]
