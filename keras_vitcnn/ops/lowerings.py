"""Which form of an operation runs where.

The same mathematics runs many times faster or slower depending on how it is handed to a backend.
Measured on 2 CPU cores, 8x56x56x96, 7x7 depthwise: TensorFlow's `Conv2D(groups=channels)` needs 273
ms where its depthwise kernel needs 2.6; XLA on the CPU (JAX) needs 117-270 ms for its own depthwise
convolution and 3-7 for shifted multiply-adds. `python -m benchmarks.lowerings` measures the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from keras_vitcnn.system import device, wide_amd

# (operation, backend, place) -> lowering; what is not listed runs "native". A place is a device, or
# "amd": a CPU of AMD's with vectors of 512 bits.
LOWERINGS = {
    ("depthwise", "jax", "cpu"): "shifted",
    ("grouped", "tensorflow", "cpu"): "split",
    ("grouped", "jax", "cpu"): "split",
    ("depthwise", "torch", "cpu"): "view",
    ("depthwise_gradient", "tensorflow", "cpu"): "exchanged",
    ("depthwise_gradient", "torch", "cpu"): "exchanged",
    ("grouped", "torch", "cpu"): "view",
    ("dense", "jax", "cpu"): "product",
    ("dense", "torch", "cpu"): "view",
    ("dense", "torch", "amd"): "product",
    ("linear", "torch", "amd"): "convolution",
    ("pool", "jax", "cpu"): "shifted",
    ("pool", "torch", "cpu"): "view",
}
CHOICES = {
    "depthwise": ("native", "shifted", "view"),
    "depthwise_gradient": ("native", "exchanged"),
    "grouped": ("native", "split", "view"),
    "dense": ("native", "product", "view"),
    "linear": ("native", "convolution"),
    "pool": ("native", "shifted", "view"),
}
ONLY_TORCH = ("view", "convolution")
_override: list[str] = []


@contextmanager
def lowering(name: str) -> Iterator[None]:
    """Force one lowering for every convolution, linear map and pooling traced inside the block.

    Args:
        name: `"native"`, `"shifted"` (depthwise and pooling), `"exchanged"` (the gradient of
            depthwise kernels only), `"split"` (grouped only), `"product"` (dense only; where
            windows overlap `"view"` or native), or, elsewhere than on PyTorch native, `"view"` and
            `"convolution"` (of linear maps). An operation that does not know the name keeps its
            own choice.
    """
    known = sorted({choice for choices in CHOICES.values() for choice in choices})
    if name not in known:
        raise ValueError(f"`name` must be one of {known}. Received: name={name!r}")
    _override.append(name)
    try:
        yield
    finally:
        _override.pop()


def chosen(operation: str) -> str:
    """The lowering of an operation that is traced now."""
    backend = keras.backend.backend()
    if _override and _override[-1] in CHOICES[operation]:
        elsewhere = _override[-1] in ONLY_TORCH and backend != "torch"
        return "native" if elsewhere else _override[-1]
    return listed(operation, backend)


def listed(operation: str, backend: str) -> str:
    """What the table has for this machine."""
    found = (LOWERINGS.get((operation, backend, place)) for place in places())
    return next(filter(None, found), "native")


def places() -> tuple[str, ...]:
    """Those of the table that this machine is one of, the most particular first."""
    return ("amd", "cpu") if device() == "cpu" and wide_amd() else (device(),)
