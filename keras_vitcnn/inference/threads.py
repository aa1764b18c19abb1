"""Threads that predict parts of a batch side by side, each with its share of the cores."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras

from keras_vitcnn.system import cores

SMALLEST_PART = 4  # images: less of them keep no core busy between the memory's answers
# Numbers of 4 bytes: a bit less than the largest block that glibc takes from a heap (32 MB), of
# which two fit into one heap of a thread (64 MB).
HEAP_BLOCK = 30 << 18
_held = threading.local()


def parts(batch_size: int) -> int:
    """In how many parts a batch is predicted on a CPU: one for a core, but none too small."""
    if keras.distribution.distribution() is not None:  # its devices are these cores
        return 1
    return max(1, min(_cores(), batch_size // SMALLEST_PART))


def threads(count: int) -> ThreadPoolExecutor:
    """So many threads; on PyTorch each computes with an even share of its threads."""
    pool = ThreadPoolExecutor(count, thread_name_prefix="predictor")
    if keras.backend.backend() == "torch":
        import torch

        before = torch.get_num_threads()
        started = threading.Barrier(count)

        def take_a_share(_: int) -> None:
            torch.get_num_threads()  # a thread's first question replaces what was set before it
            torch.set_num_threads(max(1, before // count))
            _held.block = _second_heap()
            started.wait()  # so that every thread gets one of these calls

        list(pool.map(take_a_share, range(count)))
        torch.set_num_threads(before)  # of this thread, and of those that start later
    return pool


def _second_heap() -> Any:
    """A small block that keeps the memory of PyTorch's results in this thread, while it is held.

    glibc gives a thread heaps of 64 MB, and returns all but the first to the system as soon as
    they are empty: where the maps of four images need more than one heap, it is emptied and filled
    again within every call, up to 20,000 page faults. So the second gets a tenant. Nothing that is
    allocated here is written to, and with another C library nothing is gained or lost.
    """
    import torch

    torch.empty(HEAP_BLOCK)  # freed at once: from here on such blocks lie in heaps
    blocks = [torch.empty(HEAP_BLOCK) for _ in range(3)]  # two fill the first heap
    tenant = torch.empty(1024)
    del blocks
    return tenant


def _cores() -> int:
    """How many cores the backend computes on."""
    if keras.backend.backend() == "torch":
        import torch

        return torch.get_num_threads()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.config.threading.get_intra_op_parallelism_threads() or cores()
    return cores()
