"""What a training costs on this machine: memory, speed, and what the machine is."""

from __future__ import annotations

import gc
import importlib.metadata
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from keras_vitcnn.system import cores, processor, trim_memory

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
PACKAGES = ("keras_vitcnn", "keras", "numpy", "tensorflow", "jax", "torch")


class PeakMemory:
    """Peak memory from its creation to `read()`.

    On an accelerator: of the device, as the backend counts it. On a Linux CPU: resident memory of
    the whole process, libraries and images included. Elsewhere unknown.
    """

    def __init__(self) -> None:
        self.device = accelerator()
        self._before = 0
        free_memory()
        if self.device:
            _reset_device_peak()
            self._before = _device_peak() or 0
        else:
            self._known = _reset_process_peak()

    def read(self) -> int | None:
        """Bytes, or `None` where they are unknown."""
        if self.device:
            peak = _device_peak()
            # JAX can't reset its peak: an earlier model's, if higher, says nothing of this one.
            known = keras.backend.backend() != "jax" or (peak or 0) > self._before
            return peak if known else None
        if not self._known:
            return None
        line = next(row for row in STATUS.read_text().splitlines() if row.startswith("VmHWM"))
        return int(line.split()[1]) * 1024


def free_memory() -> None:
    """Drop Keras' and Python's leftovers of an earlier model."""
    keras.utils.clear_session(free_memory=True)
    gc.collect()
    if keras.backend.backend() == "jax":
        import jax

        jax.clear_caches()
    trim_memory()


def accelerator() -> str:
    """The name of the accelerator in use, "" on a CPU."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        devices = tf.config.list_physical_devices("GPU")
        if not devices:
            return ""
        details = tf.config.experimental.get_device_details(devices[0])
        return str(details.get("device_name", "GPU"))
    if backend == "jax":
        import jax

        device = jax.devices()[0]
        return "" if device.platform == "cpu" else str(device.device_kind)
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""


def _reset_process_peak() -> bool:
    try:
        CLEAR_REFS.write_text("5")  # sets the kernel's high-water mark to what is in use now
    except OSError:  # no Linux, or a container that forbids it
        return False
    return True


def _reset_device_peak() -> None:
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.reset_memory_stats("GPU:0")
    elif keras.backend.backend() == "torch":
        import torch

        torch.cuda.reset_peak_memory_stats()


def _device_peak() -> int | None:
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
    if backend == "jax":
        import jax

        stats = jax.devices()[0].memory_stats() or {}
        return stats.get("peak_bytes_in_use")
    import torch

    return int(torch.cuda.max_memory_allocated())


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def median_seconds(function: Callable[[], Any], repeats: int = 5) -> float:
    """Median time of a call that was warmed up before."""
    return statistics.median(seconds(function) for _ in range(repeats))


def machine() -> dict[str, str]:
    """What to print beside a figure: processor, cores, accelerator, system and versions."""
    versions = {name: _version(name) for name in PACKAGES}
    return {
        "processor": processor(),
        "cores": str(cores()),
        "accelerator": accelerator() or "none",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "backend": keras.backend.backend(),
        **{name: version for name, version in versions.items() if version},
    }


def _version(package: str) -> str:
    for name in (package.replace("_", "-"), f"{package}-cpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""
