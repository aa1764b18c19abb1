"""Two devices and two processes on this machine give the losses of one."""

import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import pytest

from keras_vitcnn.training import fit, recipe
from keras_vitcnn.training.distribution import Devices, devices
from tests.helpers import ROOT

BACKEND = keras.backend.backend()
QUICK = {"epochs": 2, "batch_size": 16, "image_size": 16, "limit_train": 64, "limit_val": 32}
SCRIPT = """
    import json
    import sys

    kind, model, optimizer, out = sys.argv[1:]
    import keras

    if keras.backend.backend() == "tensorflow" and kind == "data":
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)
    from tests.training import test_distribution, tiny

    tiny.register()
    test_distribution.run(model, optimizer, out, kind)
"""


def run(model: str, optimizer: str, out: str | Path, kind: str = "") -> list[dict]:
    name = "sgd" if optimizer == "sgd" else "small-data"
    options = {"learning_rate": 0.02, "reference_batch_size": None, "clip_norm": None}
    asked = recipe(name, mixup=0.8, cutmix=1.0, **options)
    done = fit(model, "digits", out, recipe=asked, distribute=kind, **QUICK)
    return done.history


def in_two(folder: Path, way: str, kind: str, model: str, optimizer: str) -> list[dict]:
    """The history of a training in two processes, or on two virtual devices."""
    script = folder / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    starter = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, "-W", "ignore", *(starter if BACKEND == "torch" else [])]
    out = folder / "two"
    started = [
        subprocess.Popen(
            [*command, str(script), kind, model, optimizer, str(out)],
            cwd=ROOT,
            env=os.environ | variables | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for variables in variables_of(way)
    ]
    try:
        for process in started:
            said, _ = process.communicate(timeout=300)
            assert process.returncode == 0, said[-3000:]
    finally:
        for process in started:
            process.kill()
    assert json.loads((out / "settings.json").read_text())["epochs"] == 2
    lines = (out / "history.csv").read_text().splitlines()
    names = lines[0].split(",")
    return [dict(zip(names, map(float, line.split(",")), strict=True)) for line in lines[1:]]


def variables_of(way: str) -> list[dict[str, str]]:
    """The environment of each command that has to be started."""
    if BACKEND != "jax":
        return [{}]
    if way == "devices":
        flags = os.environ.get("XLA_FLAGS", "")
        return [{"XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count=2"}]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    return [
        {
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": address,
            "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
            "KERAS_DISTRIBUTION_PROCESS_ID": str(number),
        }
        for number in range(2)
    ]


WAYS = {  # Keras 3 has no way to fit a model in several processes of TensorFlow
    "tensorflow": [
        ("devices", "data", "adamw"),
        ("devices", "data", "sgd"),
        ("cores", "cores", "adamw"),
    ],
    "torch": [("processes", "data", "adamw"), ("processes", "data", "sgd")],
    "jax": [
        ("devices", "data", "sgd"),
        ("processes", "data", "adamw"),
        ("devices", "model", "adamw"),
    ],
}


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_models")
@pytest.mark.parametrize(("way", "kind", "optimizer"), WAYS[BACKEND])
def test_two_are_as_one(tmp_path: Path, way: str, kind: str, optimizer: str) -> None:
    alone = run("TinyViT", optimizer, tmp_path / "one")
    together = in_two(tmp_path, way, kind, "TinyViT", optimizer)
    assert len(together) == len(alone) == 2
    assert alone[1]["train_loss"] != pytest.approx(alone[0]["train_loss"], abs=1e-3)
    for mine, theirs in zip(together, alone, strict=True):
        for name in ("train_loss", "val_loss", "val_top1"):
            assert mine[name] == pytest.approx(theirs[name], abs=1e-5), name


def test_one_device_is_nothing_to_distribute_to() -> None:
    with pytest.raises(ValueError, match=r"There is one device.*Received: distribute='data'"):
        devices("data")


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the variable is TensorFlow's")
def test_several_processes_of_tensorflow_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = {"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {"index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    with pytest.raises(ValueError, match=r"20585.*--backend jax or torch"):
        devices("data")


def test_kinds() -> None:
    assert devices("").part == (0, 1)
    with pytest.raises(ValueError, match="must be one of"):
        devices("pipeline")
    if BACKEND != "jax":
        with pytest.raises(ValueError, match="Only JAX"):
            devices("model")


def test_batches_and_clipping_that_devices_can_not_share() -> None:
    with pytest.raises(ValueError, match=r"multiple of 3.*batch_size=16"):
        Devices(count=3).check(16, None)
    Devices(count=1).check(15, 1.0)
    if BACKEND == "tensorflow":
        with pytest.raises(ValueError, match=r"clip_norm=none.*clip_norm=1.0"):
            Devices(count=2).check(16, 1.0)
