"""`fit`: resumed after anything to the same weights, refused with a reason, stopped at nonsense."""

import errno
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from keras_vitcnn.training import Diverged, fit, fitting, recipe
from keras_vitcnn.training.checkpoint import Checkpoints
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


def final(out: Path) -> dict[str, np.ndarray]:
    last, complaints = Checkpoints(out / "checkpoints").last()
    assert last is not None
    assert not complaints
    assert last.notes["step"] == STEPS
    return last.values


def assert_same_state(out: Path, other: Path) -> None:
    mine, theirs = final(out), final(other)
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
        run(out)
    return out


def test_what_a_training_leaves(unbroken: Path) -> None:
    names = {path.name for path in unbroken.iterdir()}
    assert names == {
        *("settings.json", "history.csv", "model.keras", "classes.csv", "confusion.png"),
        "checkpoints",
    }
    lines = (unbroken / "history.csv").read_text().splitlines()
    assert lines[0].startswith("epoch,step,learning_rate,train_loss,val_loss,val_top1,val_top5")
    assert [line.split(",")[1] for line in lines[1:]] == ["4", "8", "12"]
    rates = [float(line.split(",")[2]) for line in lines[1:]]
    assert rates[2] == pytest.approx(1e-3 * 16 / 64 * 0.01, rel=1e-4)
    assert len((unbroken / "classes.csv").read_text().splitlines()) == 11


def test_the_saved_model_is_the_average(unbroken: Path) -> None:
    model = keras.saving.load_model(unbroken / "model.keras", compile=False)
    values = final(unbroken).items()
    averages = [value for name, value in values if name.endswith("_average")]
    weights = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_variables]
    assert len(averages) == len(weights)
    for average, weight in zip(averages, weights, strict=True):
        np.testing.assert_array_equal(average, weight)


@pytest.mark.parametrize("after", [3, 4, 9])
def test_an_interrupted_training_ends_as_if_it_had_not_been(
    unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    interrupted(tmp_path / "run", after, monkeypatch)
    done = run(tmp_path / "run")
    assert_same_state(tmp_path / "run", unbroken)
    assert [entry["step"] for entry in done.history] == [4, 8, 12]
    ours, theirs = (
        [line.rsplit(",", 1)[0] for line in (out / "history.csv").read_text().splitlines()]
        for out in (tmp_path / "run", unbroken)
    )
    for one, two in zip(ours[1:], theirs[1:], strict=True):
        assert [*map(float, one.split(","))] == pytest.approx([*map(float, two.split(","))])


def test_a_finished_training_is_only_evaluated_again(unbroken: Path) -> None:
    before = (unbroken / "checkpoints").stat().st_mtime_ns
    again = run(unbroken)
    assert (unbroken / "checkpoints").stat().st_mtime_ns == before
    last = (unbroken / "history.csv").read_text().splitlines()[-1].split(",")
    assert again.evaluation.top1 == pytest.approx(float(last[5]))


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    unbroken: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    damage: str,
) -> None:
    out = tmp_path / "run"
    interrupted(out, 6, monkeypatch)
    _, last = Checkpoints(out / "checkpoints").paths()
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 0xFF
    last.write_bytes({"cut": content[:-400], "flipped": content, "empty": b""}[damage])
    run(out, show_progress=True)
    message = capsys.readouterr().err
    assert f"{last} is damaged" in message
    assert "going on from step 5" in message
    assert_same_state(out, unbroken)


def test_other_settings_are_refused(unbroken: Path) -> None:
    with pytest.raises(ValueError, match=r"batch_size: 16 -> 8; epochs: 3 -> 4.*Received: out="):
        run(unbroken, epochs=4, batch_size=8)


def test_a_full_disk_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    interrupted(out, 5, monkeypatch)
    before = {path: path.read_bytes() for path in Checkpoints(out / "checkpoints").paths()}

    def full(stream: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            run(out, checkpoint_minutes=0)
    assert {path: path.read_bytes() for path in (out / "checkpoints").iterdir()} == before


def test_a_loss_that_explodes_names_step_images_and_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    interrupted(out, 5, monkeypatch)
    batches = fitting.TrainBatches

    class Broken(batches):  # type: ignore[valid-type,misc]
        def __getitem__(self, index: int) -> Any:
            pixels, labels = super().__getitem__(index)
            if self.start + index == 6:
                pixels = np.full_like(pixels, np.nan)
            return pixels, labels

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "TrainBatches", Broken)
        with pytest.raises(Diverged, match=r"The loss became nan in step 7 of 12") as error:
            run(out)
    chosen = ", ".join(map(str, _chosen(6)))
    assert f"Its images are {chosen}." in str(error.value)
    assert f"Last good checkpoint: {out}/checkpoints/step_000000005.npz." in str(error.value)


def _chosen(step: int) -> np.ndarray:
    from keras_vitcnn import data

    found = data.load("digits", image_size=16, limit_train=70, limit_val=30)
    made = data.TrainBatches(found.train, classes=10, batch_size=16, start=0, stop=STEPS)
    return made.chosen(step)


def test_accumulated_parts_count_as_one_batch(tmp_path: Path) -> None:
    done = run(tmp_path / "run", accumulate=2, epochs=1)
    assert done.history[0]["step"] == 8
    with pytest.raises(ValueError, match=r"divisor of the batch size, 16.*accumulate=3"):
        run(tmp_path / "other", accumulate=3)


def test_remat_trains(tmp_path: Path) -> None:
    done = run(tmp_path / "run", remat=True, epochs=1)
    assert np.isfinite(done.evaluation.loss)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "convnext-300", "epochs": 1}, r"more epochs.*--set ema=none.*ema=0.9999"),
        ({"dtype": "mixed_float16"}, "No accelerator.*mixed_bfloat16"),
        ({"minutes_per_model": 3.0}, "set `epochs`"),
        ({"checkpoint_minutes": -1}, "must not be negative"),
        ({"batch_size": 80}, "at most the number of training images, 70"),
        ({"recipe": recipe("small-data", distillation="hard")}, "distil"),
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
    test_fitting.run(Path({out!r}), checkpoint_minutes=0)
"""


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_kills_change_nothing(unbroken: Path, tmp_path: Path, kills: int) -> None:
    out, rng = tmp_path / "run", random.Random(kills)
    script = textwrap.dedent(SCRIPT.format(out=str(out)))
    command = [sys.executable, "-W", "ignore", "-c", script]
    checkpoints = Checkpoints(out / "checkpoints")
    killed = 0
    for _ in range(3 * kills):
        before = len(checkpoints.paths()) and checkpoints.paths()[-1]
        process = subprocess.Popen(command, cwd=ROOT)
        deadline = time.monotonic() + 300
        while process.poll() is None and (checkpoints.paths() or [0])[-1] == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.1))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        assert process.wait() in (0, -signal.SIGKILL)
        if killed == kills:
            break
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    assert killed == kills or kills > 2
    assert killed >= 2
    assert_same_state(out, unbroken)
