"""The page of the side-by-side benchmark: its ratios, its verdicts, and what is missing."""

from typing import Any

import pytest

from benchmarks import performance
from benchmarks.contenders import (
    APPLICATIONS,
    ARCHITECTURES,
    INFERENCE,
    KIMM,
    OPENVINO,
    OURS,
    START,
    TIMM,
    TRAINING,
    contenders,
)

pytestmark = pytest.mark.backend_independent
GROUP = {"model": "ConvNeXt-T", "mode": INFERENCE, "batch_size": 8, "image_size": 224}
READY = {
    "prepared": True,
    "params": 28_589_128,
    "build_seconds": 1.0,
    "first_seconds": 2.0,
    "machine": {"processor": "a processor", "cores": "2"},
}


def lines(library: str, backend: str, way: str, *rounds: float, **group: Any) -> list[dict]:
    """A contender and the seconds of its steps, a value per round."""
    who = GROUP | group | {"library": library, "backend": backend, "way": way}
    slices = [
        who | {"round": number, "seconds": [seconds, seconds, 100.0]}
        for number, seconds in enumerate(rounds)
    ]
    return [who | READY, *slices]


def target(rivals: tuple[str, ...], **options: Any) -> performance.Target:
    return performance.Target(
        **{"model": "ConvNeXt-T", "mode": INFERENCE, "at_least": 2.0} | options, rivals=rivals
    )


def test_a_ratio_is_the_median_of_the_rounds_ratios():
    found = [
        *lines(OURS, "jax", "jit", 1.0, 1.0, 2.0),
        *lines(APPLICATIONS, "jax", "jit", 2.0, 4.0, 6.0),
    ]
    comparison = performance.compared(target((APPLICATIONS,), backend="jax"), found)
    assert comparison is not None
    assert comparison.ratios == [2.0, 4.0, 3.0]
    assert comparison.ratio == 3.0


def test_the_fastest_way_of_both_sides_counts_on_the_asked_backend():
    found = [
        *lines(OURS, "tensorflow", "graph", 4.0),
        *lines(OURS, "tensorflow", "predictor", 2.0),
        *lines(OURS, "torch", "eager", 0.1),
        *lines(APPLICATIONS, "tensorflow", "xla", 8.0),
        *lines(KIMM, "tensorflow", "graph", 5.0),
        *lines(KIMM, "torch", "eager", 0.2),
    ]
    on_tensorflow = target((APPLICATIONS, KIMM), backend="tensorflow")
    comparison = performance.compared(on_tensorflow, found)
    assert comparison is not None
    assert comparison.ours.contender.way == "predictor"
    assert comparison.theirs.contender.library == KIMM
    assert comparison.ratio == 2.5
    anywhere = performance.compared(target((KIMM,)), found)
    assert anywhere is not None
    assert anywhere.ratio == 2.0
    assert performance.compared(target((TIMM,)), found) is None


def test_a_way_of_the_rival_can_be_asked_for():
    found = [
        *lines(OURS, "torch", "eager", 1.0),
        *lines(TIMM, "torch", "eager", 1.0),
        *lines(TIMM, "torch", "torch.compile", 3.0),
    ]
    comparison = performance.compared(target((TIMM,), way="torch.compile"), found)
    assert comparison is not None
    assert comparison.ratio == 3.0


def test_the_goals_are_met_or_not_or_not_measured():
    found = [
        *lines(OURS, "jax", "jit", 1.0, 1.0),
        *lines(APPLICATIONS, "jax", "jit", 4.0, 4.0),  # 4 asked
        *lines(OURS, "torch", "eager", 1.0, 1.0),
        *lines(APPLICATIONS, "torch", "eager", 1.1, 1.1),  # 1.2 asked
    ]
    rows = [row for row in performance.page(found).splitlines() if row.startswith("| ConvNeXt-T, ")]
    verdicts = {row.split(" | ")[0]: row.split(" | ")[2:4] for row in rows}
    where = "| ConvNeXt-T, inference, on {}, against keras.applications"
    assert verdicts[where.format("jax")] == ["4.00 (4.00 to 4.00)", "met"]
    assert verdicts[where.format("torch")] == ["1.10 (1.10 to 1.10)", "**not met**"]
    assert verdicts[where.format("tensorflow")][0] == performance.UNMEASURED


def test_whoever_is_absent_is_a_line():
    absent = GROUP | {"library": KIMM, "backend": "jax", "way": "jit"}
    absent |= {"prepared": True, "absent": "kimm is not installed"}
    page = performance.page([*lines(OURS, "jax", "jit", 0.5), absent])
    assert "| kimm | jax | jit | kimm is not installed |" in page
    assert "| keras_vitcnn | jax | jit | 16.00 (16.00 to 16.00) | 1 | 28,589,128 |" in page
    assert "- cores: 2" in page


def test_a_start_is_given_in_seconds():
    page = performance.page(lines(OURS, "jax", "jit", 3.0, 5.0, 4.0, mode=START))
    assert "| keras_vitcnn | jax | jit | 4.00 (3.00 to 5.00) | 3 |" in page


def test_who_ran_on_another_processor_is_told():
    found = [
        *lines(OURS, "jax", "jit", 1.0),
        *lines(OURS, "jax", "jit", 1.0, model="ResNet-50"),
    ]
    assert "\nOn a processor" not in performance.page(found)
    found += [
        line | {"machine": {"processor": "another"}} if "machine" in line else line
        for line in lines(OURS, "jax", "jit", 1.0, model="ViT-S")
    ]
    page = performance.page(found)
    assert "## ResNet-50: inference\n\nOn a processor.\n" in page
    assert "## ViT-S: inference\n\nOn another.\n" in page


def test_every_library_that_has_a_model_takes_part():
    names = {str(one) for one in contenders(ARCHITECTURES["ConvNeXt-T"], INFERENCE)}
    assert {"keras_vitcnn, jax, jit", "keras_vitcnn, torch, predictor"} <= names
    assert {"kimm, tensorflow, xla", "timm, torch, torch.compile"} <= names
    assert f"{OPENVINO}, openvino, float32" in names
    assert not any("keras-hub" in name for name in names), "it has no ConvNeXt"
    training = contenders(ARCHITECTURES["ConvNeXt-T"], TRAINING)
    assert not any(one.way == "predictor" or one.library == OPENVINO for one in training)
    assert {one.library for one in contenders(ARCHITECTURES["ConViT-S"], INFERENCE)} == {
        OURS,
        TIMM,
        OPENVINO,
    }


def test_every_goal_has_somebody_to_compare_with():
    for goal in performance.TARGETS:
        them = [
            one
            for one in contenders(ARCHITECTURES[goal.model], goal.mode)
            if one.library in goal.rivals
            and goal.backend in (None, one.backend)
            and goal.way in (None, one.way)
        ]
        assert them, goal
