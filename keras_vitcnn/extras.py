"""Optional packages: imported where they are used, and named when they are missing."""

from __future__ import annotations

import importlib.util


def require(module: str, extras: str) -> None:
    """Raise `ImportError` with the command that brings `module` unless it can be imported."""
    if importlib.util.find_spec(module) is None:
        raise ImportError(
            f'{module} is not installed. Run: pip install "keras-vitcnn[{extras}]"', name=module
        )
