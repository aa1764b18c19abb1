"""What this process runs on: devices, the processor, its cores, and the C library's memory."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import sys
from pathlib import Path

import keras

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of glibc's malloc.h


def device() -> str:
    """The kind of device that the backend computes on by default: `"cpu"` or `"gpu"`."""
    if keras.backend.backend() == "jax":
        import jax

        return "cpu" if jax.default_backend() == "cpu" else "gpu"
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return "gpu" if tf.config.list_physical_devices("GPU") else "cpu"
    import torch

    return "gpu" if torch.cuda.is_available() or torch.backends.mps.is_available() else "cpu"


def cores() -> int:
    """How many this process may use: not all of the machine's, where it was given some."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def processor() -> str:
    """Its name, as its maker has it where the system says that."""
    for line in cpuinfo().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def x86() -> bool:
    """Whether it is one of Intel's kind, of 64 bits."""
    return platform.machine().lower() in ("x86_64", "amd64")


@functools.cache
def wide_amd() -> bool:
    """Whether it is AMD's, with vectors of 512 bits, which Intel's MKL does not use there."""
    return {"AuthenticAMD", "avx512f"} <= set(cpuinfo().split())


@functools.cache
def cpuinfo() -> str:
    """What Linux says of the processors; nothing elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def keep_memory() -> bool:
    """Keep what a step frees for the next one, so that training on a CPU takes less time.

    The GNU C library gives large blocks back to the system, which clears every page of them when
    they are wanted again: a sixth of a training step of ConvNeXt-T on TensorFlow and JAX. From
    here on the process keeps them; as a rule it needs no more memory for that, half as much again
    where threads keep a large block each. Call it before the first model is built, since JAX's
    threads allocate as they began. The command line does.

    Returns:
        Whether this process' C library is one that could be told.
    """
    options = getattr(_c_library(), "mallopt", None)
    if options is None:
        return False
    # One arena: those of threads hold no block of more than 64 MB, and map larger ones.
    return all(
        options(name, value) == 1
        for name, value in {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1, M_ARENA_MAX: 1}.items()
    )


def trim_memory() -> None:
    """Give what was freed back to the system, where the C library keeps it otherwise."""
    trim = getattr(_c_library(), "malloc_trim", None)  # glibc has it
    if trim:
        trim(0)


def _c_library() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None
