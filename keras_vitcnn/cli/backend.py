"""Which backend a command runs on, decided before Keras is imported."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys

BACKENDS = ("tensorflow", "jax", "torch")


def choose(name: str | None) -> None:
    """Set `KERAS_BACKEND` to `name`, else leave it as it is, else to the first that is installed.

    Raises:
        ImportError: with the command that installs the backend.
    """
    installed = [known for known in BACKENDS if importlib.util.find_spec(known)]
    name = name or os.environ.get("KERAS_BACKEND") or next(iter(installed), None)
    if name is None:
        raise ImportError(
            'No backend is installed. Run: pip install "keras-vitcnn[tensorflow]", or jax, or torch'
        )
    if name in BACKENDS and name not in installed:
        raise ImportError(f'{name} is not installed. Run: pip install "keras-vitcnn[{name}]"')
    os.environ["KERAS_BACKEND"] = name
    _quieten()
    if "keras" in sys.modules:
        import keras

        if keras.backend.backend() != name:  # too late for this process
            os.execv(sys.executable, [sys.executable, "-m", "keras_vitcnn", *sys.argv[1:]])


def _quieten() -> None:
    """Keep the backends' start-up messages off stderr: it is for progress and errors."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("absl").setLevel(logging.ERROR)
