"""Threads that predict parts of a batch side by side, each with its share of the cores."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import keras

from keras_vitcnn.system import cores

SMALLEST_PART = 4  # images: less of them keep no core busy between the memory's answers


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
            started.wait()  # so that every thread gets one of these calls

        list(pool.map(take_a_share, range(count)))
        torch.set_num_threads(before)  # of this thread, and of those that start later
    return pool


def _cores() -> int:
    """How many cores the backend computes on."""
    if keras.backend.backend() == "torch":
        import torch

        return torch.get_num_threads()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.config.threading.get_intra_op_parallelism_threads() or cores()
    return cores()
