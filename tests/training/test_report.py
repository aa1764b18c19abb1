"""What a report says, and that it needs nothing but itself."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from keras_vitcnn.training import Settings, report
from keras_vitcnn.training.records import Record, RunFolder
from keras_vitcnn.training.report import headline, summarise
from keras_vitcnn.training.settings import flat

pytestmark = pytest.mark.backend_independent

MACHINE = {"processor": "a <fast> one", "accelerator": "none", "backend": "jax"}


def record(model: str, seed: int, top1: float, **more: Any) -> Record:
    history = [
        {"epoch": float(e), "seconds": 10.0 * e, "val_top1": top1 * e / 2, "train_loss": 1.0}
        for e in (1, 2)
    ]
    return {
        "model": model,
        "seed": seed,
        "params": 12_340_000,
        "macs": 560_000_000,
        "adaptation": "stem stride 4 -> 1",
        "epochs": 2.0,
        "learning_rate": 5e-4,
        "history": history,
        "seconds": 83.0,
        "top1": top1,
        "train_images_per_second": 1234.0,
        "inference_images_per_second": 5678.0,
        "peak_memory": 900_000_000,
        "machine": MACHINE,
    } | more


def summary(model: str, *top1: float) -> report.Summary:
    (one,) = summarise(record(model, seed, value) for seed, value in enumerate(top1))
    return one


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    about = {"data": "cats & dogs", "description": "Cats & dogs.", "val_images": 400}
    models = ["Ant", "Bee", "Cow"]
    folder.open(flat(Settings(), models=models, seeds=[0, 1], about=about))
    for row in (
        record("Ant", 0, 0.80),
        record("Ant", 1, 0.82),
        record("Bee", 0, 0.90, peak_memory=None),
        record("Bee", 1, 0.92, peak_memory=None),
        {**record("Cow", 0, 0.1), "failure": "the loss became nan in epoch 1"},
    ):
        folder.append(folder.results, row)
    folder.append(folder.baseline, record("linear model", 0, 0.40))
    return folder


def test_one_seed_claims_no_certainty() -> None:
    text = " ".join(headline([summary("A", 0.9), summary("B", 0.8)], None, 100))
    assert "A reached the highest top-1, 90.0 %." in text
    assert "10.0 points behind; from one seed the spread between trainings is unknown" in text
    assert "± 3.0 points" in text  # sqrt(0.9 * 0.1 / 100)


def test_gaps_are_held_against_the_spread() -> None:
    close = " ".join(headline([summary("A", 0.9, 0.8), summary("B", 0.84, 0.82)], None, 100))
    assert "don't tell the two apart" in close
    clear = " ".join(headline([summary("A", 0.91, 0.9), summary("B", 0.7, 0.71)], None, 100))
    assert "more than the spread" in clear


def test_the_linear_model_is_held_against_the_best() -> None:
    better = headline([summary("A", 0.9)], summary("linear model", 0.4), 100)[-1]
    assert "reaches 40.0 %, 50.0 points less" in better
    worse = headline([summary("A", 0.3)], summary("linear model", 0.4), 100)[-1]
    assert "no less: more training is needed" in worse


def test_markdown(folder: RunFolder) -> None:
    report.write(folder)
    text = (folder.path / "report.md").read_text()
    assert "**Bee reached the highest top-1, 91.0 ± 1.4 %.**" in text
    assert "| Bee | 91.0 ± 1.4 | 12.34 | 560.0 | 2 | 1,234 | 5,678 | n/a | 1:23 |" in text
    assert "| Cow, seed 0 | failed: the loss became nan in epoch 1 |" in text
    assert text.index("| Bee") < text.index("| Ant") < text.index("| linear model")
    assert "- Ant: stem stride 4 -> 1" in text
    assert "small-data: optimizer" in text
    for name in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (folder.path / name).read_bytes().startswith(b"\x89PNG")


def test_html_is_whole_and_needs_nothing(folder: RunFolder) -> None:
    text = report.write(folder).report.read_text()
    assert "cats &amp; dogs" in text
    assert "a &lt;fast&gt; one" in text
    assert text.count("<svg ") == 3
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#)""", text)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    open_tags: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            if tag not in ("meta", "!doctype"):
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Checker().feed(text)
    assert not open_tags


def test_plots_are_reproducible_vector_files(folder: RunFolder) -> None:
    report.write(folder)
    before = {path.name: path.read_bytes() for path in folder.path.glob("*.svg")}
    assert len(before) == 3
    for content in before.values():
        ElementTree.fromstring(content)
    report.write(folder)
    assert before == {path.name: path.read_bytes() for path in folder.path.glob("*.svg")}


def test_a_report_of_failures_only(folder: RunFolder) -> None:
    folder.results.write_text("")
    folder.append(folder.results, {**record("Cow", 0, 0.1), "failure": "the loss became inf"})
    text = report.write(folder).report.read_text()
    assert "No model finished." in text
    assert "<svg" not in text
