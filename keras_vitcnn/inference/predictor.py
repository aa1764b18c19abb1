"""A model as a plain function of NumPy arrays, compiled once."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np

from keras_vitcnn.inference import onednn, torch_graph
from keras_vitcnn.inference.fuse import snapshot
from keras_vitcnn.inference.fuse_plan import is_functional
from keras_vitcnn.inference.threads import parts, threads
from keras_vitcnn.system import device

BATCH_SIZES = {"cpu": 8, "gpu": 64}
IN_FLIGHT = 2  # batches that were handed to the GPU and not yet fetched from it
# XLA takes half of an AVX-512 processor's width unless told otherwise.
XLA_ON_CPUS = {"xla_cpu_prefer_vector_width": 512}

Run = Callable[[np.ndarray], Any]


class Predictor:
    """What `predictor` returns: call it with images, as often as you like.

    Attributes:
        model: what runs, with its norms folded; a snapshot of the model it was made from.
        batch_size: images at once.
    """

    def __init__(self, model: keras.Model, batch_size: int | None = None) -> None:
        if not isinstance(model, keras.Model) or len(model.inputs or ()) != 1:
            raise ValueError(
                f"`model` must be a built keras.Model with one input. Received: model={model!r}"
            )
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise ValueError(
                "`batch_size` must be a positive integer, or None for a default. "
                f"Received: batch_size={batch_size!r}"
            )
        self.model = _snapshot(model)
        self.batch_size = batch_size or BATCH_SIZES[device()]
        share = device() == "cpu" and is_functional(model)
        count = parts(self.batch_size) if share else 1
        self._part = math.ceil(self.batch_size / count)
        self._threads = threads(count) if count > 1 else None
        self._compile = _COMPILERS[keras.backend.backend()](self.model)
        self._compiled: dict[tuple, Run] = {}

    def __call__(self, images: Any) -> Any:
        """Predict any number of images, in their order.

        Args:
            images: (n, height, width, channels) or as the model takes them; uint8 stays uint8 on
                its way to the device. n may be 0.

        Returns:
            What the model puts out, as NumPy arrays of n rows (a dict or list of them where the
            model has several outputs).

        Raises:
            ValueError: for arrays of another shape than the model's input.
        """
        images = np.asarray(images)
        self._check(images)
        # None of no images is computed: only the shapes are wanted then.
        starts = range(0, max(len(images), 1), self._part)
        batches = (self._batch(images, start) for start in starts)
        done = self._in_order(self._runs(images), batches)
        return keras.tree.map_structure(lambda *some: np.concatenate(some)[: len(images)], *done)

    def _runs(self, images: np.ndarray) -> Run:
        """The function for images of this shape and dtype."""
        key = *images.shape[1:], images.dtype
        if key not in self._compiled:
            self._compiled[key] = self._compile(self._batch(images[:0], 0))
        return self._compiled[key]

    def _in_order(self, run: Run, batches: Iterable[np.ndarray]) -> Iterator[Any]:
        if self._threads:
            yield from self._threads.map(lambda batch: _fetched(run(batch)), batches)
            return
        waiting: deque[Any] = deque()
        for batch in batches:
            # Launched before the one before is fetched: devices work while results travel.
            waiting.append(run(batch))
            if len(waiting) == IN_FLIGHT:
                yield _fetched(waiting.popleft())
        yield from map(_fetched, waiting)

    def _batch(self, images: np.ndarray, start: int) -> np.ndarray:
        """The images from `start` on, always as many, the last of them repeated where they end."""
        if not len(images):
            return np.zeros((self._part, *images.shape[1:]), images.dtype)
        last = len(images) - 1
        if start + self._part <= len(images):
            return images[start : start + self._part]
        return images[np.minimum(np.arange(start, start + self._part), last)]

    def _check(self, images: np.ndarray) -> None:
        wanted = tuple(self.model.inputs[0].shape[1:])
        fits = images.ndim == len(wanted) + 1 and all(
            side in (None, given) for side, given in zip(wanted, images.shape[1:], strict=True)
        )
        if not fits:
            raise ValueError(
                f"`images` must be an array of shape (n, {', '.join(map(str, wanted))}); a single "
                f"image is images[None]. Received: images of shape {images.shape}"
            )


def predictor(model: keras.Model, batch_size: int | None = None) -> Predictor:
    """The fastest function of NumPy arrays that this backend and device make of a model.

    Norms are folded (`fuse`), the whole is compiled once (JAX: XLA; TensorFlow: a graph, on GPUs by
    XLA; PyTorch: a sequence of operations without Keras between them, each product with its
    activation, on GPUs `torch.compile`), and every batch has the same size, the last one filled up,
    so that nothing is compiled again. On CPUs the cores share a batch: each predicts a part of it,
    of four images or more. Its weights are those of the moment.

    Args:
        model: built, with one input.
        batch_size: images at once; 8 on a CPU and 64 on a GPU unless given.

    Returns:
        A `Predictor`: numpy -> numpy.

    Raises:
        ValueError: for a model without exactly one input, or a batch size that is not positive.
    """
    return Predictor(model, batch_size)


def _snapshot(model: keras.Model) -> keras.Model:
    if not is_functional(model):
        return model
    graphs = keras.backend.backend() == "tensorflow" and device() == "cpu"
    return snapshot(model, onednn.kind_of if graphs and onednn.available() else type)


def _fetched(outputs: Any) -> Any:
    return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)


def _tensorflow(model: keras.Model) -> Callable[[np.ndarray], Run]:
    import tensorflow as tf

    # On CPUs TensorFlow's own graphs are faster: they use oneDNN, which XLA does not.
    @tf.function(jit_compile=device() != "cpu")
    def forward(images: Any) -> Any:
        return model(images, training=False)

    def compiled(batch: np.ndarray) -> Run:
        open_batch = tf.TensorSpec((None, *batch.shape[1:]), batch.dtype)
        graph = forward.get_concrete_function(open_batch)
        return lambda images: graph(tf.convert_to_tensor(images))

    return compiled


def _jax(model: keras.Model) -> Callable[[np.ndarray], Run]:
    import jax

    trainable = [variable.value for variable in model.trainable_variables]
    rest = [variable.value for variable in model.non_trainable_variables]

    @jax.jit
    def forward(trainable: Any, rest: Any, images: Any) -> Any:
        return model.stateless_call(trainable, rest, images, training=False)[0]

    def compiled(batch: np.ndarray) -> Run:
        lowered = forward.lower(trainable, rest, batch)
        try:
            run = lowered.compile(XLA_ON_CPUS if device() == "cpu" else None)
        except jax.errors.JaxRuntimeError:  # an XLA without this option
            run = lowered.compile()
        return lambda images: run(trainable, rest, images)

    return compiled


def _torch(model: keras.Model) -> Callable[[np.ndarray], Run]:
    import torch

    def forward(images: Any) -> Any:
        return model(images, training=False)

    on_gpu = torch.compile(forward) if torch.cuda.is_available() else None

    def compiled(batch: np.ndarray) -> Run:
        run = on_gpu or forward
        if on_gpu is None and is_functional(model):
            # Finding its way through the layers takes Keras 0.1 s for a ConvNeXt-T at every call. A
            # C++ compiler's work (`torch.compile`) wins a tenth more and takes a minute.
            run = torch_graph.traced(forward, keras.ops.convert_to_tensor(batch))

        def predict(images: np.ndarray) -> Any:
            with torch.inference_mode():
                return run(keras.ops.convert_to_tensor(images))

        return predict

    return compiled


_COMPILERS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
