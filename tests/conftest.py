"""Which backend runs the tests, and what every test may ask for."""

import importlib.util
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

# What XLA compiles here runs a few times at most. Compiled as quickly as it can, a step of training
# a tiny network is ready in one second instead of eight. Of flags given twice XLA takes the last.
os.environ["XLA_FLAGS"] = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    f"--xla_cpu_use_fusion_emitters=false {os.environ.get('XLA_FLAGS', '')}"
)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if not os.environ.get("KERAS_BACKEND"):
    installed = [b for b in ("tensorflow", "jax", "torch") if importlib.util.find_spec(b)]
    if not installed:
        raise pytest.UsageError("Install TensorFlow, JAX or PyTorch to run the tests.")
    os.environ["KERAS_BACKEND"] = installed[0]

import keras

from tests.reference import import_timm

HERE = Path(__file__).resolve().parent


@pytest.fixture(autouse=True)
def _seeded() -> None:
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True, scope="module")
def _cleared() -> Iterator[None]:
    yield
    keras.backend.clear_session(free_memory=True)


@pytest.fixture(scope="session")
def timm() -> ModuleType:
    """The reference implementation; tests that need it skip where it isn't installed."""
    for package in ("torch", "torchvision", "timm"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} isn't installed")
    return import_timm()


@pytest.fixture(scope="session")
def facts() -> dict[str, Any]:
    """Every file of tests/facts by its name without .json."""
    return {path.stem: json.loads(path.read_text()) for path in (HERE / "facts").glob("*.json")}


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """shared(name): real data or weights that lie beside the checkout and can't be distributed."""
    folder = Path(os.environ.get("KERAS_VITCNN_SHARED") or HERE.parent.parent / "shared")

    def find(name: str) -> Path:
        path = folder / name
        if not path.exists():
            reason = f"{path} does not exist (KERAS_VITCNN_SHARED names another folder)"
            required = os.environ.get("KERAS_VITCNN_REQUIRE_SHARED") == "1"
            (pytest.fail if required else pytest.skip)(reason)
        return path

    return find
