"""A benchmark of a small model, in real processes; nothing is asserted about how fast it is."""

import json
from pathlib import Path
from typing import Any

import keras
import pytest

import keras_vitcnn as kv
from keras_vitcnn.speed import benchmark, processes, report, steps
from keras_vitcnn.training.records import read_lines
from tests import helpers

SMALL: dict[str, Any] = {"batch_sizes": (2,), "image_sizes": (16,), "seconds": 0.01}
TOO_LARGE = 64  # a batch that fails at its first try
MACHINE = {"backend": "a backend", "processor": "a processor"}


@pytest.mark.slow
def test_points_are_measured_in_processes_of_their_own(tmp_path: Path) -> None:
    found = benchmark(["ResNet18"], tmp_path, **SMALL, modes=("inference", "training"))
    assert found.failures == []
    peak, *points = found.records
    assert peak["macs_per_second"] > 0
    cost = kv.complexity(kv.config_of("ResNet18"), (16, 16, 3))
    for record, mode in zip(points, ("inference", "training"), strict=True):
        assert (record["mode"], record["batch_size"]) == (mode, 2)
        assert (record["params"], record["macs"]) == (cost.params, cost.macs)
        assert len(record["step_seconds"]) == steps.FEWEST
        assert min(record["step_seconds"]) > 0
        assert record["first_step_seconds"] > 0
        assert record["machine"]["backend"] == keras.backend.backend()
        assert record["peak_memory"] is None or record["peak_memory"] > 4 * cost.params
    text = (tmp_path / "report.md").read_text()
    assert "| ResNet18 | training | 2 | 16 | float32 |" in text
    assert (tmp_path / "speed.png").stat().st_size > 1000


@pytest.mark.slow
def test_why_a_process_failed_is_its_result() -> None:
    point = kv.speed.Point(model="ViTTiny16", image_size=16, batch_size=10**9)
    failure = processes.measured(point, 1.0)["failure"]
    assert "Error" in failure or "SIGKILL" in failure


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Instead of processes: what would have been measured, with figures that can be checked."""
    asked: list[str] = []

    def point(point: kv.speed.Point, seconds: float) -> dict[str, Any]:
        asked.append(str(point))
        if point.batch_size == TOO_LARGE and asked.count(str(point)) == 1:
            return {"failure": "out of memory"}
        return {
            "build_seconds": 1.0,
            "first_step_seconds": 2.0,
            "step_seconds": [1.0, 2.0, 3.0, 4.0, 5.0],
            "peak_memory": 3_000_000,
            "params": 10,
            "macs": 2_000_000_000,
            "machine": MACHINE,
        }

    def peak(dtype: str) -> dict[str, Any]:
        asked.append(f"peak of {dtype}")
        return {"macs_per_second": 48e9, "machine": MACHINE}

    monkeypatch.setattr(processes, "measured", point)
    monkeypatch.setattr(processes, "matmul_peak", peak)
    return asked


@pytest.mark.backend_independent
def test_a_benchmark_goes_on_and_grows(tmp_path: Path, measured: list[str]) -> None:
    benchmark(["ResNet50"], tmp_path)
    assert measured == ["peak of float32", "ResNet50, inference, batch 8, 224 px, float32"]
    benchmark(["ResNet50"], tmp_path, batch_sizes=(8, 1), dtypes=("float32", "mixed_bfloat16"))
    assert measured[2:] == [
        "peak of mixed_bfloat16",
        "ResNet50, inference, batch 1, 224 px, float32",
        "ResNet50, inference, batch 8, 224 px, mixed_bfloat16",
        "ResNet50, inference, batch 1, 224 px, mixed_bfloat16",
    ]
    half = (tmp_path / "results.jsonl").read_text() + '{"kind": "poi'
    (tmp_path / "results.jsonl").write_text(half)
    found = benchmark(["ResNet50"], tmp_path)
    assert len(measured) == 6, "what is there is not measured again"
    assert len(found.records) == 6
    assert all(json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines())


@pytest.mark.backend_independent
def test_what_failed_is_tried_again(tmp_path: Path, measured: list[str]) -> None:
    found = benchmark(["ResNet50"], tmp_path, batch_sizes=(TOO_LARGE,))
    assert [record["failure"] for record in found.failures] == ["out of memory"]
    assert "failed: out of memory" in found.report.read_text()
    found = benchmark(["ResNet50"], tmp_path, batch_sizes=(TOO_LARGE,))
    assert found.failures == []
    assert len(read_lines(tmp_path / "results.jsonl")) == 3


@pytest.mark.backend_independent
def test_the_table_is_computed_from_the_steps(tmp_path: Path, measured: list[str]) -> None:
    found = benchmark(["ResNet50"], tmp_path, modes=("inference", "training"))
    inference, training = (
        dict(zip(found.table.header, row, strict=True)) for row in found.table.rows
    )
    assert inference["Images/s"] == "2.7 (2.0 to 4.0)", "8 images in 3, 4 and 2 seconds"
    assert inference["Latency p50 / p90 / p99 (ms)"] == "3,000.0 / 4,600.0 / 4,960.0"
    assert inference["Peak memory (MB)"] == "3"
    assert inference["GMACs/s"] == "5.3"  # 8 * 2 / 3
    assert inference["Of the matmul peak"] == "11%"  # 5.33 of 48
    assert training["GMACs/s"] == "16.0", "three times the multiply-adds"
    assert training["Of the matmul peak"] == "33%"


@pytest.mark.backend_independent
def test_nothing_is_written_for_wrong_input(tmp_path: Path, measured: list[str]) -> None:
    out = tmp_path / "out"
    for options, message in (
        ({"seconds": 0}, "Received: seconds=0"),
        ({"modes": ("other",)}, "Received: mode='other'"),
        ({"image_sizes": (0,)}, "Received: image_size=0"),
    ):
        with pytest.raises(ValueError, match=message):
            benchmark(["ResNet50"], out, **options)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="`out` must be a folder"):
        benchmark(["ResNet50"], tmp_path / "file")
    assert measured == []
    assert not out.exists()


@pytest.mark.backend_independent
def test_bars_are_named_by_what_differs():
    records = [
        {"model": "A", "mode": "inference", "batch_size": size, "image_size": 224}
        | {"dtype": "float32", "backend": "jax", "jit": "auto", "step_seconds": [1.0]}
        for size in (1, 8)
    ]
    labels = [text.get_text() for text in report.draw(records).axes[0].get_yticklabels()]
    assert labels == ["A, batch 1", "A, batch 8"]


def test_a_training_step_learns_and_an_inference_step_predicts():
    model = kv.build(helpers.TINY["vit"], input_shape=(16, 16, 3), classes=3)
    before = [helpers.to_numpy(weight) for weight in model.trainable_variables]
    assert steps.inference(model, 4)().shape == (4, 3)
    losses = [step() for step in [steps.training(model, 4)] * 3]
    after = [helpers.to_numpy(weight) for weight in model.trainable_variables]
    assert all((a != b).any() for a, b in zip(before[-2:], after[-2:], strict=True))
    assert losses[-1] < losses[0]


def test_a_peak_is_positive_and_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SMALLEST_PRODUCT", "LARGEST_PRODUCT"):
        monkeypatch.setattr(steps, name, 64)
    assert 0 < steps.matmul_peak("mixed_bfloat16") < float("inf")
    mean = steps._products(64, "float16")()
    assert float(mean[0, 0]) == pytest.approx(1 / 64), "powers of a mean stay as they are"


def test_timed_steps_fill_the_seconds() -> None:
    calls: list[int] = []
    assert len(steps.timed(lambda: calls.append(0), 0.0)) == len(calls) == steps.FEWEST
    assert len(steps.timed(lambda: None, 60.0)) == steps.MOST
