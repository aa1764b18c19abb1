"""`ablate` from end to end on a tiny road: results, going on, refusals, and its report."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from keras_vitcnn import ablation
from keras_vitcnn.ablation import Published, Road, Step
from keras_vitcnn.training import ablate, ablation_report, recipe, runner
from keras_vitcnn.training import ablation as running
from keras_vitcnn.training.directions import AGREES, DISAGREES, UNDECIDED, lines
from keras_vitcnn.training.records import Record, RunFolder
from tests.training.tiny import MODELS

START = MODELS["TinyResNet"]
SMOOTH = replace(START, activation="gelu")
TOUGH = replace(SMOOTH, kernel=5)
QUICK = {"epochs": 1, "image_size": 16, "batch_size": 32, "limit_train": 64, "limit_val": 50}
MACHINE = {"processor": "a fast one", "accelerator": "none", "backend": "jax"}


def step(
    name: str, config: Any, before: Any = None, top1: float | None = None, **more: Any
) -> Step:
    published = None if top1 is None else Published(source="a paper", top1=top1, gflops=0.1)
    change = (
        {} if before is None else {k: v[1] for k, v in ablation.changed(before, config).items()}
    )
    return Step(name=name, change=change, config=config, before=before, published=published, **more)


ROAD = Road(
    [
        step("start", START, top1=70.0, recipe="sgd"),
        step("recipe", START, START, top1=72.0),
        step("smooth", SMOOTH, START, top1=73.0),
        step("tough", TOUGH, SMOOTH, top1=72.5, adopted=False),
        step("again", SMOOTH, SMOOTH),
    ],
    name="a-road",
    title="A to B",
    source="a paper",
    top1="ImageNet-1k",
)


@pytest.fixture(autouse=True)
def _short_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "INFERENCE_SECONDS", 0.05)


def records(out: Path) -> list[Record]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def test_a_walk_interrupted_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    trained, calls = running.trained, []

    def interrupted(one: Any, *rest: Any) -> Record:
        calls.append(one.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return trained(one, *rest)

    monkeypatch.setattr(running, "trained", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ablate(ROAD, "digits", out, **QUICK)
    before = records(out)
    assert [record["step"] for record in before] == ["start"]
    assert "start" in (out / "report.md").read_text()

    result = ablate(ROAD, "digits", out, **QUICK)
    after = records(out)
    assert after[0] == before[0]
    assert [record["step"] for record in after] == [one.name for one in ROAD]
    assert [record["recipe"] for record in after] == ["sgd", *["small-data"] * 4]
    # The same network under the same recipe is trained once.
    assert after[4]["same_as"] == "smooth (small-data)"
    assert after[4]["history"] == after[2]["history"]
    assert calls == ["start (sgd)", "recipe (small-data)", "recipe (small-data)",
                     "smooth (small-data)", "tough (small-data)"]  # fmt: skip
    assert not result.failures
    assert result.report == out / "report.html"
    for name in ("road.svg", "road.png", "road.json", "report.md", "report.html"):
        assert (out / name).stat().st_size > 0

    # Other settings are refused; more rates may be added.
    with pytest.raises(ValueError, match="batch_size: 32 -> 16"):
        ablate(ROAD, "digits", out, **QUICK | {"batch_size": 16})
    assert records(out) == after
    more = {"steps": ["smooth"], "rate_factors": [1, 3]}
    ablate(ROAD, "digits", out, **more, **QUICK)
    added = records(out)
    assert added[: len(after)] == after
    assert [record["model"] for record in added[len(after) :]] == ["smooth (small-data, rate x 3)"]
    rates = [added[row]["learning_rate"] for row in (2, -1)]
    assert rates[1] == pytest.approx(3 * rates[0])
    assert (out / "learning_rates.svg").exists()


@pytest.mark.parametrize(
    ("road", "changes", "message"),
    [
        ("resnet", {}, "Unknown road; the nearest is 'resnet50-to"),
        (ROAD, {"steps": ["steep"]}, r"`step` must be one of \['start'"),
        (ROAD, {"steps": []}, "must not be empty"),
        (ROAD, {"seeds": []}, "`seeds` must not be empty"),
        (ROAD, {"recipe": "large"}, "Unknown recipe"),
        (ROAD, {"recipe": ["sgd", recipe("sgd", momentum=0.5)]}, "different names"),
        (ROAD, {"rate_factors": [0.0]}, "`rate_factors` must be positive"),
        (ROAD, {"batch_size": 65}, "at most the number of training images, 64"),
        ("deit-small-to-convit-small-plus", {"width_multiplier": 0.25}, "also change num_heads"),
    ],
)
def test_wrong_input_leaves_nothing_behind(
    tmp_path: Path, road: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ablate(road, "digits", tmp_path / "run", **(QUICK | changes))
    assert not list(tmp_path.iterdir())


def record(name: str, seed: int, top1: float, recipe: str = "small-data", **more: Any) -> Record:
    times = more.get("rate_factor", 1.0)
    return {
        "model": f"{name} ({recipe}, rate x {times:g})",
        "step": name,
        "recipe": recipe,
        "seed": seed,
        "rate_factor": 1.0,
        "params": 1000,
        "macs": 2_000_000,
        "adaptation": "stem stride 4 -> 2",
        "learning_rate": 0.001 * times,
        "top1": top1,
        "machine": MACHINE,
    } | more


MEASURED = [
    record("start", 0, 0.50, "sgd"),
    record("start", 1, 0.52, "sgd"),
    record("recipe", 0, 0.60),
    record("recipe", 1, 0.62),
    record("smooth", 0, 0.30, rate_factor=3.0),
    record("smooth", 0, 0.50),
    record("smooth", 1, 0.52),
    record("tough", 0, 0.505),
    record("tough", 1, 0.525),
]


@pytest.mark.backend_independent
def test_directions_are_held_against_the_spread() -> None:
    found = {line.step.name: line for line in lines(ROAD, MEASURED)}
    assert list(found) == [one.name for one in ROAD]
    assert found["start"].direction == ""
    # + 10 points over both seeds, published + 2; both spread by 1.41.
    assert found["recipe"].change == pytest.approx(10)
    assert found["recipe"].spread == pytest.approx(2 * 2**0.5)
    assert found["recipe"].direction == AGREES
    assert found["smooth"].best.top1 == pytest.approx(51), "two seeds count more than one"
    assert found["smooth"].published_change == 1.0
    assert found["smooth"].direction == DISAGREES
    assert found["tough"].change == pytest.approx(0.5)
    assert found["tough"].direction == UNDECIDED
    assert found["again"].best is None
    one_seed = {line.step.name: line for line in lines(ROAD, MEASURED[::2])}
    assert one_seed["recipe"].direction == f"{AGREES}, one seed"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    about = {"data": "cats & dogs", "description": "Cats & dogs.", "train_images": 1000}
    plain = {
        "models": ["start (sgd)"],
        "seeds": [0, 1],
        "about": about,
        "epochs": 3,
        "minutes_per_model": None,
        "batch_size": 64,
        "image_size": 32,
        "dtype": "float32",
        "drop_path_rate": 0.0,
        "width_multiplier": 0.5,
        "recipe sgd": {"name": "sgd", "learning_rate": 0.1},
    }
    folder.open(plain)
    for row in [*MEASURED, record("tough", 2, 0.0, failure="the loss became nan")]:
        folder.append(folder.results, row)
    return folder


@pytest.mark.backend_independent
def test_the_report(folder: RunFolder) -> None:
    misprinted = Published(source="a paper", top1=73.0, gflops=9.9, misprint="nine is too much")
    road = Road(
        [replace(one, published=misprinted) if one.name == "smooth" else one for one in ROAD],
        name="a-road",
        title="A to B",
    )
    written = ablation_report.write(folder, road, ablation.costs(road))
    text = (folder.path / "report.md").read_text()
    assert "A to B under small-data: of 3 steps with a published direction, 1 went" in text
    assert "1 the opposite way, and 1 moved less" in text
    assert "widths times 0.5, 3 epochs, 2 seeds" in text
    assert "| recipe | 72.0 | +2.00 | 0.1 |" in text
    assert "| 61.0 ± 1.4 | +10.0 | as published | 2.0 |" in text
    assert "| (tough) |" in text
    assert "(some failed)" in text
    assert "9.9 (misprint)" in text
    assert "nine is too much" in text
    assert "- smooth: stem stride 4 -> 2" in text
    content = json.loads((folder.path / "road.json").read_text())
    assert [one["name"] for one in content["steps"]] == [one.name for one in road]
    assert content["steps"][1]["measured"][0]["top1"] == {"0": 0.6, "1": 0.62}
    assert content["steps"][2]["published"]["misprint"] == "nine is too much"
    assert written.report.read_text().count("<svg ") == 2
    for name in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (folder.path / name).read_bytes().startswith(b"\x89PNG")
    before = {path.name: path.read_bytes() for path in folder.path.glob("*.svg")}
    for figure in before.values():
        ElementTree.fromstring(figure)
    ablation_report.write(folder, road, ablation.costs(road))
    assert before == {path.name: path.read_bytes() for path in folder.path.glob("*.svg")}


@pytest.mark.backend_independent
def test_a_report_before_anything_has_finished(folder: RunFolder) -> None:
    folder.results.write_text("")
    ablation_report.write(folder, ROAD, ablation.costs(ROAD))
    text = (folder.path / "report.md").read_text()
    assert "no step can be judged yet" in text
    assert "Nothing has finished yet" in text
