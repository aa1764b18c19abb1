"""Two devices or two processes on this machine give the losses of one."""

import json
import os
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

    if keras.backend.backend() == "tensorflow":
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


def in_two(folder: Path, kind: str, model: str, optimizer: str) -> list[dict]:
    """The history of a training in two processes, or on two virtual devices."""
    script = folder / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    starter = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, "-W", "ignore", *(starter if BACKEND == "torch" else [])]
    variables = {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "KERAS_BACKEND": BACKEND,
    }
    out = folder / "two"
    done = subprocess.run(
        [*command, str(script), kind, model, optimizer, str(out)],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((out / "settings.json").read_text())["epochs"] == 2
    lines = (out / "history.csv").read_text().splitlines()
    names = lines[0].split(",")
    return [dict(zip(names, map(float, line.split(",")), strict=True)) for line in lines[1:]]


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_models")
@pytest.mark.parametrize(
    ("kind", "optimizer"),
    [("data", "adamw"), ("data", "sgd"), *([("model", "adamw")] if BACKEND == "jax" else [])],
)
def test_two_are_as_one(tmp_path: Path, kind: str, optimizer: str) -> None:
    alone = run("TinyViT", optimizer, tmp_path / "one")
    together = in_two(tmp_path, kind, "TinyViT", optimizer)
    assert len(together) == len(alone) == 2
    assert alone[1]["train_loss"] != pytest.approx(alone[0]["train_loss"], abs=1e-3)
    for mine, theirs in zip(together, alone, strict=True):
        for name in ("train_loss", "val_loss", "val_top1"):
            assert mine[name] == pytest.approx(theirs[name], abs=1e-5), name


def test_one_device_is_nothing_to_distribute_to() -> None:
    with pytest.raises(ValueError, match=r"There is one device.*Received: distribute='data'"):
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
