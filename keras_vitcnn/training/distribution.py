"""Training on many devices or cores, by the engines that the backends have."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import keras

from keras_vitcnn.system import cores, device
from keras_vitcnn.training.cores import one_thread_an_operation, share_prediction, share_training

KINDS = ("", "data", "model", "cores")
HOSTS = "KERAS_DISTRIBUTION_JOB_ADDRESSES"  # Keras' name of the variable
# Which sides of a transformer's matrices lie on different devices: those that meet no norm.
SPLIT_COLUMNS = ("qkv", "fc1")
SPLIT_ROWS = ("proj", "fc2")


@dataclass(frozen=True, kw_only=True)
class Devices:
    """The devices that share every batch."""

    kind: str = ""
    count: int = 1  # parts that a batch is cut into
    process: int = 0  # number of this process
    processes: int = 1
    scope: Callable[[], AbstractContextManager[Any]] = nullcontext

    def check(self, batch_size: int, clip_norm: float | None) -> None:
        """Raise `ValueError` unless these devices can share a batch and give what one would."""
        if batch_size % self.count:
            what = "cores" if self.kind == "cores" else "devices"
            raise ValueError(
                f"The {self.count} {what} share every batch: the batch size must be a multiple "
                f"of {self.count}. Received: batch_size={batch_size}"
            )
        if (
            self.count > 1
            and self.kind != "cores"
            and clip_norm
            and keras.backend.backend() == "tensorflow"
        ):
            raise ValueError(
                "On TensorFlow every device clips its own gradients, before they are added up: "
                "clip nothing (--set clip_norm=none), or use another backend. "
                f"Received: clip_norm={clip_norm}"
            )

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.process == 0

    def prepare(self, model: keras.Model, evaluated: keras.Model | None = None) -> None:
        """What a compiled model needs before it is fitted, and one before it is evaluated."""
        if self.kind == "cores":
            share_training(model, self.count)
            share_prediction(evaluated or model, self.count)
        if self.processes > 1 and keras.backend.backend() == "torch":
            _through_ddp(model)

    @property
    def part(self) -> tuple[int, int]:
        """(number of this process, number of processes), as `TrainBatches` takes them."""
        return self.process, self.processes

    def mean(self, value: float) -> float:
        """The mean of a number over all processes."""
        if self.processes == 1 or keras.backend.backend() != "torch":
            return value
        import torch
        import torch.distributed as dist

        tensor = torch.tensor([value], dtype=torch.float64)
        if dist.get_backend() == "nccl":
            tensor = tensor.cuda()
        dist.all_reduce(tensor)
        return float(tensor) / self.processes


def devices(kind: str = "") -> Devices:
    """What there is to train on.

    Args:
        kind: `""`, one device; `"data"`, every device has the whole model and a part of every
            batch; `"model"`, the large matrices of a transformer are cut into as many parts as
            there are devices (JAX); `"cores"`, every core of a processor computes a part of every
            batch (TensorFlow). The last gives most where TensorFlow has computed nothing before.

    On JAX the engine is `keras.distribution` over all devices of the process, or of all processes
    that the variables of `keras.distribution.initialize` name; on TensorFlow
    `tf.distribute.MirroredStrategy`; on PyTorch `DistributedDataParallel` in the processes that
    `torchrun` starts.

    Raises:
        ValueError: for a kind that the backend does not have, or with nothing to distribute to.
    """
    backend = keras.backend.backend()
    if kind not in KINDS:
        raise ValueError(f"`distribute` must be one of {list(KINDS)}. Received: {kind!r}")
    if not kind:
        return Devices()
    if kind == "model" and backend != "jax":
        raise ValueError(
            "Only JAX cuts a model into parts: use --backend jax, or distribute='data'. "
            f"Received: distribute={kind!r}, backend {backend!r}"
        )
    if kind == "cores":
        return _processor(kind)
    return {"jax": _jax, "tensorflow": _tensorflow, "torch": _torch}[backend](kind)


def _several(count: int, what: str, kind: str, one: str = "device") -> None:
    if count < 2:
        raise ValueError(
            f"There is one {one}, and nothing to distribute to: {what}. "
            f"Received: distribute={kind!r}"
        )


def _processor(kind: str) -> Devices:
    backend = keras.backend.backend()
    if backend != "tensorflow" or device() != "cpu":
        raise ValueError(
            "The cores share batches on TensorFlow without a GPU only; on JAX and PyTorch that was "
            "measured to be slower than each operation on all of them. Leave `distribute` out. "
            f"Received: distribute={kind!r}, backend {backend!r}"
        )
    _several(cores(), "leave `distribute` out", kind, one="core")
    one_thread_an_operation()
    return Devices(kind=kind, count=cores())


def _jax(kind: str) -> Devices:
    import jax

    if HOSTS in os.environ and not jax.distributed.is_initialized():
        keras.distribution.initialize()
    names = keras.distribution.list_devices()
    _several(len(names), "leave `distribute` out", kind)
    if kind == "model" and jax.process_count() > 1:
        raise ValueError(
            "Several processes share batches, not a model: use distribute='data', or one process "
            f"for all devices. Received: distribute={kind!r}, {jax.process_count()} processes"
        )

    @contextmanager
    def scope() -> Iterator[None]:
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(_jax_distribution(kind, names))
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)

    count = len(names) if kind == "data" else 1
    return Devices(
        kind=kind,
        count=count,
        process=jax.process_index(),
        processes=jax.process_count(),
        scope=scope,
    )


def _jax_distribution(kind: str, names: list[str]) -> Any:
    if kind == "data":
        return keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)
    mesh = keras.distribution.DeviceMesh((1, len(names)), ["batch", "model"], names)
    layout = keras.distribution.LayoutMap(mesh)
    for role in SPLIT_COLUMNS:
        layout[f".*_{role}/kernel"] = (None, "model")
        layout[f".*_{role}/bias"] = ("model",)
    for role in SPLIT_ROWS:
        layout[f".*_{role}/kernel"] = ("model", None)
    return keras.distribution.ModelParallel(
        layout_map=layout, batch_dim_name="batch", auto_shard_dataset=False
    )


def _tensorflow(kind: str) -> Devices:
    import tensorflow as tf

    if "worker" in json.loads(os.environ.get("TF_CONFIG", "{}")).get("cluster", {}):
        raise ValueError(
            "Keras 3 can't fit a model under TensorFlow's MultiWorkerMirroredStrategy "
            "(keras-team/keras#20585): use --backend jax or torch for several processes. "
            "Received: TF_CONFIG with workers"
        )
    accelerators = tf.config.list_logical_devices("GPU")
    found = accelerators or tf.config.list_logical_devices("CPU")
    _several(len(found), "leave `distribute` out", kind)
    strategy = tf.distribute.MirroredStrategy([device.name for device in found])
    return Devices(kind=kind, count=len(found), scope=strategy.scope)


def _torch(kind: str) -> Devices:
    import torch
    import torch.distributed as dist

    world = int(os.environ.get("WORLD_SIZE", "1"))
    _several(world, "start the command with torchrun --nproc-per-node N -m keras_vitcnn", kind)
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))

    @contextmanager
    def scope() -> Iterator[None]:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        try:
            yield
        finally:
            dist.destroy_process_group()

    number = int(os.environ["RANK"])
    return Devices(kind=kind, count=world, process=number, processes=world, scope=scope)


def _through_ddp(model: keras.Model) -> None:
    """Have `fit` run the model inside `DistributedDataParallel`, which averages gradients."""
    import torch

    parallel = torch.nn.parallel.DistributedDataParallel(model)
    tracker = next(metric for metric in model.metrics if metric.name == "loss")

    def train_step(data: Any) -> Any:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        model.zero_grad()
        outputs = parallel(x, training=True)
        loss = model.compute_loss(x, y, outputs, sample_weight, training=True)
        tracker.update_state(loss, sample_weight=len(y))
        model.optimizer.scale_loss(loss).backward()
        weights = model.trainable_weights
        with torch.no_grad():
            model.optimizer.apply([weight.value.grad for weight in weights], weights)
        return model.compute_metrics(x, y, outputs, sample_weight)

    model.train_step = train_step
