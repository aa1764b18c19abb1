"""`compare` from end to end on tiny models: results, refusals, going on, failing honestly."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import keras
import pytest

from keras_vitcnn.training import compare, recipe
from tests.helpers import ROOT

QUICK = {"epochs": 2, "image_size": 16, "batch_size": 32, "limit_train": 128, "limit_val": 50}
MODELS = ["TinyResNet", "TinyViT"]


def run(out: Path, models: list[str] = MODELS, **changes: Any) -> Any:
    return compare(models, "digits", out, **(QUICK | changes))


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


@pytest.mark.usefixtures("tiny_models")
def test_a_comparison_and_what_may_follow_it(tmp_path: Path) -> None:
    out = tmp_path / "run"
    comparison = run(out, ["TinyResNet"])
    (record,) = comparison.records
    assert record["params"] > 0
    assert record["macs"] > 0
    assert [entry["epoch"] for entry in record["history"]] == [1, 2]
    assert 0 <= record["top1"] <= record["best_top1"] <= 1
    assert record["top1"] * 50 == pytest.approx(round(record["top1"] * 50))  # all 50 were counted
    assert record["train_images_per_second"] > 0
    assert record["inference_images_per_second"] > 0
    assert record["machine"]["backend"] == keras.backend.backend()
    if sys.platform == "linux" and record["machine"]["accelerator"] == "none":
        assert 1e8 < record["peak_memory"] < 1e11
    assert comparison.report == out / "report.html"
    assert not comparison.failures

    # The same call again only rewrites the report.
    (out / "report.html").unlink()
    before = lines(out)
    assert run(out, ["TinyResNet"]).records == before
    assert (out / "report.html").exists()

    # Other settings are refused, and nothing is touched.
    with pytest.raises(ValueError, match=r"batch_size: 32 -> 16; epochs: 2 -> 3"):
        run(out, ["TinyResNet"], epochs=3, batch_size=16)
    assert lines(out) == before

    # Another model joins; the first one stays as it was.
    run(out)
    assert lines(out)[0] == before[0]
    assert [record["model"] for record in lines(out)] == MODELS


@pytest.mark.usefixtures("tiny_models")
def test_equal_seeds_give_equal_trainings(tmp_path: Path) -> None:
    first = run(tmp_path / "a", ["TinyViT"], seeds=[1]).records[0]
    other, second = run(tmp_path / "b", ["TinyViT"], seeds=[0, 1]).records
    assert other["history"] != second["history"]
    losses = [[entry["train_loss"] for entry in r["history"]] for r in (first, second)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.usefixtures("tiny_models")
def test_minutes_bound_a_training(tmp_path: Path) -> None:
    changes = {"epochs": None, "minutes_per_model": 0.05}
    (record,) = run(tmp_path / "run", ["TinyResNet"], **changes).records
    assert record["steps"] == record["history"][-1]["step"]
    assert record["epochs"] == pytest.approx(record["steps"] / 4)
    assert record["history"][-1]["seconds"] < 10  # asked for 3; the machine may be busy


@pytest.mark.usefixtures("tiny_models")
def test_a_loss_that_explodes_is_recorded_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keras_vitcnn.training import comparison

    built = comparison.build

    def broken(config: Any, **options: Any) -> keras.Model:
        model = built(config, **options)
        if hasattr(config, "patch_size"):
            model.weights[-1].assign([float("nan")] * 10)
        return model

    monkeypatch.setattr(comparison, "build", broken)
    out = tmp_path / "run"
    result = run(out, ["TinyViT", "TinyResNet"])
    assert [record["model"] for record in result.failures] == ["TinyViT"]
    assert "the loss became nan" in result.failures[0]["failure"]
    assert "top1" in lines(out)[1]
    assert "failed: the loss became nan" in (out / "report.md").read_text()


@pytest.mark.usefixtures("tiny_models")
@pytest.mark.parametrize(
    ("models", "changes", "message"),
    [
        (["TinyResNe"], {}, "(?i)nearest names are: TinyResNet"),
        ([], {}, "`models` must not be empty"),
        (MODELS, {"seeds": []}, "`seeds` must not be empty"),
        (MODELS, {"recipe": "large"}, "Unknown recipe"),
        (MODELS, {"dtype": "int8"}, "`dtype` must be one of"),
        (MODELS, {"image_size": 3, "stem_stride": 4}, "TinyViT: .*image_size"),
        (MODELS, {"recipe": "deit-300"}, "averages the weights over 25,000 steps"),
        (MODELS, {"batch_size": 129}, "at most the number of training images, 128"),
    ],
)
def test_wrong_input_leaves_nothing_behind(
    tmp_path: Path, models: list[str], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "run", models, **changes)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("tiny_models")
def test_half_precision_trains(tmp_path: Path) -> None:
    half = {"dtype": "mixed_float16", "recipe": recipe("sgd"), "epochs": 1}
    (record,) = run(tmp_path / "run", ["TinyResNet"], **half).records
    assert "failure" not in record


def test_a_killed_run_goes_on_after_the_last_finished_model(tmp_path: Path) -> None:
    out = tmp_path / "run"
    script = textwrap.dedent(f"""
        from keras_vitcnn.training import compare
        from tests.training import tiny

        tiny.register()
        compare({MODELS}, "digits", {str(out)!r}, **{QUICK})
    """)
    command = [sys.executable, "-W", "ignore", "-c", script]
    process = subprocess.Popen(command, cwd=ROOT)
    results = out / "results.jsonl"
    deadline = time.monotonic() + 300
    while not (results.exists() and results.read_text().endswith("\n")):
        assert process.poll() is None, "ended before its first result"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = lines(out)
    assert len(before) == 1
    assert not (out / "report.html").exists()

    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    after = lines(out)
    assert after[0] == before[0]
    assert [record["model"] for record in after] == MODELS
    assert (out / "report.html").exists()
