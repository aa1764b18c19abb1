"""The command line: exit codes, one-line errors, and its output."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from keras_vitcnn import create_model, data, list_models, training
from keras_vitcnn.cli import main
from keras_vitcnn.cli.options import Seeds
from keras_vitcnn.training.render import Table
from tests import helpers
from tests.helpers import ROOT

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """command(*arguments) -> (exit code, stdout, stderr)"""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--help",),
        ("ablate", "--help"),
        ("compare", "--help"),
        ("list", "-h"),
        ("predict", "-h"),
        ("train", "-h"),
        ("evaluate", "-h"),
    ],
)
def test_help(command: Command, arguments: tuple[str, ...]) -> None:
    code, out, err = command(*arguments)
    assert (code, err) == (0, "")
    assert out.startswith("Usage: keras-vitcnn")


def test_list(command: Command) -> None:
    code, out, _ = command("list", "ConvNeXt*")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list_models("ConvNeXt*")
    assert "ConvNeXtTiny      convnext_tiny" in out


def test_list_published_weights(command: Command) -> None:
    code, out, _ = command("list", "ConvNeXtTiny", "--pretrained")
    assert code == 0
    (line,) = [line for line in out.splitlines() if "convnext_tiny.fb_in1k " in line]
    assert line.split()[:5] == [
        "ConvNeXtTiny",
        "convnext_tiny.fb_in1k",
        "224x224",
        "1000",
        "classes",
    ]
    assert line.endswith("top-1 82.07% at 224")
    code, out, err = command("list", "GResNet50", "--pretrained")
    assert (code, out) == (2, "")
    assert "No model matches" in err


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of two photos and something else."""
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("b.jpg", "a.png"):
        image.fromarray(rng.integers(0, 256, (60, 80, 3), "uint8")).save(folder / name)
    (folder / "notes.txt").touch()
    return folder


def test_predict(command: Command, photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "atto.weights.h5"
    model = create_model("ConvNeXtAtto")
    helpers.randomize(model)
    model.save_weights(path)
    single = photos / "b.jpg"
    code, out, _ = command("predict", "ConvNeXtAtto", photos, single, "--weights", path, "--top", 3)
    assert code == 0
    lines = out.splitlines()
    assert [line for line in lines if line[0] != " "] == [
        str(file) for file in (photos / "a.png", single, single)
    ]
    assert len(lines) == 12
    assert lines[5:8] == lines[9:12], "the same photo gets the same answer"

    preprocess = data.preprocess_for(model)
    probabilities = model.predict(preprocess([single]), verbose=0)
    (expected,) = data.decode_predictions(probabilities, top=3)
    assert [line.split("%  ")[1] for line in lines[5:8]] == [best.name for best in expected]
    shown = [float(line.split("%")[0]) / 100 for line in lines[5:8]]
    assert shown == pytest.approx([best.probability for best in expected], abs=1e-4)


def test_predict_names_what_is_wrong(command: Command, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    few = tmp_path / "few.weights.h5"
    create_model("ConvNeXtAtto", classes=3).save_weights(few)
    for arguments, message in {
        ("ConvNeXtAtto",): "Missing argument 'PHOTOS...'",
        ("ConvNeXtAtto", tmp_path / "no.jpg"): "does not exist",
        ("ConvNeXtAtto", tmp_path / "empty"): "holds no images",
        ("ConvNextAto", photos): "nearest names are: ConvNeXtAtto",
        ("GResNet50", photos): "are not published",
        ("ConvNeXtAtto", photos, "--weights", "d3_in1k"): "one of the tags of ConvNeXtAtto",
        ("ConvNeXtAtto", photos, "--weights", few): "would be random",
        ("ConvNeXtAtto", photos, "--top", 0): "--top",
    }.items():
        code, stdout, stderr = command("predict", *arguments)
        assert (code, stdout) == (2, ""), arguments
        assert message in stderr.splitlines()[-1]


def test_a_folder_is_compared_and_named_in_every_error(command: Command, tmp_path: Path) -> None:
    models, out = "ResNet18,ViTTiny16", tmp_path / "out"
    (tmp_path / "empty").mkdir()
    for arguments, message in {
        (): "Missing option '--models'",
        ("--models", ","): "separated by commas",
        ("--models", "ConvNetTiny"): "nearest names are: ConvNeXtTiny",
        ("--models", models, "--data", tmp_path / "nowhere"): "does not exist",
        ("--models", models, "--data", tmp_path / "empty"): "no sub-folders",
        ("--models", models, "--epochs", 0): "--epochs",
        ("--models", models, "--seeds", "one"): "'one' is neither",
        ("--models", models, "--recipe", "none"): "Unknown recipe",
        ("--models", models, "--image-size", 30, "--stem-stride", 16): "image_size",
        ("--models", models, "--what"): "No such option",
    }.items():
        code, stdout, stderr = command("compare", "--out", out, *arguments)
        assert (code, stdout) == (2, ""), arguments
        assert stderr.startswith("error: ")
        assert message in stderr
        assert stderr.count("\n") == 1
        assert not out.exists()


def test_a_fresh_process_says_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "keras_vitcnn", "compare", "--models", "ResNet19", "--out", "x"],
        cwd=ROOT,
        # Else TensorFlow says on some processors, at any log level, that it is on.
        env=os.environ | {"TF_ENABLE_ONEDNN_OPTS": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: Unknown model; the nearest names are: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("3", (0, 1, 2)), ("1", (0,)), ("0,7", (0, 7)), ("5,", (5,))],
)
def test_seeds(text: str, seeds: tuple[int, ...]) -> None:
    assert Seeds().convert(text, None, None) == seeds


def test_options_reach_the_comparison(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}

    def compare(models: tuple[str, ...], **options: Any) -> Any:
        asked.update(options, models=models)
        return SimpleNamespace(
            table=Table([["ResNet18", "93.1"]], ["Model", "Top-1 (%)"]),
            answer=["ResNet18 reached the highest top-1."],
            report=tmp_path / "report.html",
            failures=asked["failures"],
        )

    monkeypatch.setattr(training, "compare", compare)
    arguments = [
        *("compare", "--models", "ResNet18,vit_tiny_patch16_224", "--data", "tfds:cifar10"),
        *("--seeds", "2", "--no-flip", "--minutes-per-model", "1.5", "--stem-stride", "2"),
        *("--skip-bad-images", "--out", tmp_path),
    ]
    for failures, expected in (([], 0), ([{"failure": "nan"}], 1)):
        asked["failures"] = failures
        code, out, _ = command(*arguments)
        assert code == expected
    assert "93.1" in out
    assert str(tmp_path / "report.html") in out
    assert asked["models"] == ("ResNet18", "vit_tiny_patch16_224")
    assert asked["seeds"] == (0, 1)
    assert asked["epochs"] is None
    assert asked["flip"] is False
    assert asked["minutes_per_model"] == 1.5
    assert asked["skip_bad_images"] is True


@pytest.mark.parametrize("started", [False, True])
def test_an_interruption_says_how_to_go_on(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, started: bool
) -> None:
    def compare(*_: Any, **__: Any) -> None:
        if started:
            (tmp_path / "settings.json").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "compare", compare)
    code, _, err = command("compare", "--models", "ResNet18", "--out", tmp_path)
    assert code == 130
    assert ("same command again" if started else "nothing was written") in err


def test_ablate_prints_what_the_steps_cost(command: Command) -> None:
    code, out, err = command("ablate", "--road", "resnet50-to-convnext-tiny", "--dry-run")
    assert (code, err) == (0, "")
    rows = {line[:22].strip(): line[22:].split() for line in out.splitlines() if line}
    assert rows["ResNet-50"][:4] == ["25,557,032", "4.089", "4.09", "76.13"]
    assert rows["layer norm"][:4] == ["25,797,352", "4.146", "4.46*", "81.47"]
    assert rows["separate downsampling"][:4] == ["28,589,128", "4.456", "4.49*", "81.97"]
    assert "(kernel 9)" in rows
    assert "* separate downsampling, printed 4.49: the network has 4.456" in out

    code, out, _ = command(
        "ablate", "--dry-run", "--road", "vit-p-1gf-to-vit-c-1gf", "--image-size", 32
    )
    assert code == 0
    assert "MACs (M)" in out


def test_ablate_names_what_is_wrong(command: Command, tmp_path: Path) -> None:
    for arguments, message in {
        (): "Missing option '--road'",
        ("--road", "resnet"): "the roads are: resnet50-to-convnext-tiny",
        ("--road", "vit-p-1gf-to-vit-c-1gf", "--rate-factors", "1,x"): "not a list of numbers",
        ("--road", "vit-p-1gf-to-vit-c-1gf", "--steps", "stem"): "must be one of ['ViT_P-1GF'",
    }.items():
        code, stdout, stderr = command("ablate", "--out", tmp_path / "run", *arguments)
        assert (code, stdout) == (2, ""), arguments
        assert message in stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_ablate(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}
    found = SimpleNamespace(
        table=Table([["start", "93.1"]], ("Step", "Top-1 (%)")),
        answer=["Up it went."],
        report=tmp_path / "report.html",
        failures=[],
    )

    def ablate(road: str, **options: Any) -> SimpleNamespace:
        asked.update(options, road=road)
        return found

    monkeypatch.setattr(training, "ablate", ablate)
    arguments = ("ablate", "--road", "a-road", "--seeds", 2, "--recipe", "small-data,sgd")
    for failures, expected in (([], 0), (["one"], 1)):
        found.failures = failures
        code, out, _ = command(*arguments, "--rate-factors", "0.3,1", "--epochs", 5)
        assert code == expected
    assert "93.1" in out
    assert "Up it went." in out
    assert asked["road"] == "a-road"
    assert asked["recipe"] == ("small-data", "sgd")
    assert asked["rate_factors"] == (0.3, 1.0)
    assert asked["seeds"] == (0, 1)
    assert asked["steps"] is None
    assert asked["epochs"] == 5
    assert asked["width_multiplier"] == 1.0


def test_recipes_are_listed(command: Command) -> None:
    code, out, _ = command("train", "ResNet18", "--recipe", "list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(training.recipes())


def test_fine_tuning_is_asked_for(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def fit(model: str, **options: Any) -> SimpleNamespace:
        asked.append((options["freeze"], options["lora_rank"], options["weights"]))
        evaluation = SimpleNamespace(top1=0.5, top5=1.0, loss=1.0)
        return SimpleNamespace(evaluation=evaluation)

    monkeypatch.setattr(training, "fit", fit)
    start = ("train", "DeiTTiny16", "--weights", "imagenet")
    for options in (("--freeze", 2), ("--freeze", "head"), ("--lora", 4)):
        assert command(*start, *options)[0] == 0
    assert asked == [
        (2, None, "imagenet"),
        ("head", None, "imagenet"),
        (None, 4, "imagenet"),
    ]


def test_a_model_is_trained_and_evaluated(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "run"
    quick = ["--limit-train", 40, "--limit-val", 21, "--width-multiplier", 0.125]
    arguments = ["train", "ResNet18", *quick, "--set", "label_smoothing=0", "--out", out]
    arguments += ["--epochs", 1, "--batch-size", 16, "--augment", "trivial-wide"]
    code, stdout, stderr = command(*arguments)
    assert code == 0
    assert "learning rate 0.00025, from 0.001 for 64 images a step scaled to 16" in stderr
    top1 = stdout.split("%")[0]
    assert stdout.startswith("top-1 ")
    settings = json.loads((out / "settings.json").read_text())
    assert settings["recipe.policy"] == "trivial-wide"
    assert settings["recipe.label_smoothing"] == 0

    code, stdout, _ = command("evaluate", out, "--out", tmp_path / "evaluation")
    assert code == 0
    assert stdout.splitlines()[-1].startswith(f"{top1}%")
    assert stdout.splitlines()[-1].endswith("on 21 images")
    assert (tmp_path / "evaluation" / "confusion.png").exists()

    for wrong, message in {
        ("train", "ResNet18", "--set", "epoch=1"): "nearest is 'epochs'",
        ("train", "ResNet18", "--augment", "mixup"): "must be '' (none), a RandAugment such as",
        ("train", "ResNet18", "--recipe", "convnet-300"): "nearest is 'convnext-300'",
        ("train", "ResNet18", "--recipe", "convnext-300", "--epochs", 1): "batch_size",
        ("train", "ResNet18", "--accumulate", 7): "divisor of the batch size, 64",
        ("train", "ResNet18", "--lora", 2): "must come from `weights`. Received: weights=None",
        (*arguments, "--seed", 1): "seed: 0 -> 1",
        ("evaluate", tmp_path): "Give --data",
        ("evaluate", tmp_path / "none.keras", "--data", "digits"): "does not exist",
    }.items():
        code, stdout, stderr = command(
            *wrong,
            *(["--out", tmp_path / "x"] if "--seed" not in wrong and wrong[0] == "train" else []),
        )
        assert (code, stdout) == (2, ""), wrong
        assert message in stderr.splitlines()[-1]
    assert not (tmp_path / "x").exists()


def test_a_divergence_is_one_line_and_code_one(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fit(*_: Any, **__: Any) -> None:
        raise training.Diverged("The loss became nan in step 3 of 12")

    monkeypatch.setattr(training, "fit", fit)
    code, out, err = command("train", "ResNet18", "--out", tmp_path)
    assert (code, out, err) == (1, "", "error: The loss became nan in step 3 of 12\n")
