"""`keras-vitcnn benchmark`: options, exit codes, one-line errors."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from keras_vitcnn import speed
from keras_vitcnn.cli import main
from keras_vitcnn.training.render import Table

pytestmark = pytest.mark.backend_independent


def test_options_reach_the_benchmark(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}
    failures: list[dict[str, str]] = []

    def benchmark(models: tuple[str, ...], **options: Any) -> Any:
        asked.update(options, models=models)
        table = Table([["ResNet18", "93.1"]], ["Model", "Images/s"])
        return SimpleNamespace(table=table, report=tmp_path / "report.md", failures=failures[:])

    monkeypatch.setattr(speed, "benchmark", benchmark)
    arguments = [
        *("benchmark", "--models", "ResNet18,vit_tiny_patch16_224", "--batch-sizes", "1,8"),
        *("--image-sizes", "32", "--modes", "inference,training", "--jit", "off"),
        *("--dtypes", "mixed_bfloat16", "--seconds", "0.5", "--out", str(tmp_path)),
    ]
    assert main(arguments) == 0
    failures.append({"failure": "out of memory"})
    assert main(arguments) == 1
    out = capsys.readouterr().out
    assert "93.1" in out
    assert "report.md" in out
    assert asked.pop("out") == tmp_path
    assert asked == {
        "models": ("ResNet18", "vit_tiny_patch16_224"),
        "batch_sizes": (1, 8),
        "image_sizes": (32,),
        "modes": ("inference", "training"),
        "dtypes": ("mixed_bfloat16",),
        "jit": "off",
        "seconds": 0.5,
        "show_progress": True,
    }


def test_wrong_input_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    for arguments, message in {
        (): "Missing option '--models'",
        ("--models", "ConvNetTiny"): "nearest names are: ConvNeXtTiny",
        ("--models", "ViTTiny16", "--batch-sizes", "0"): "'0' is not a list of positive integers",
        ("--models", "ViTTiny16", "--batch-sizes", "many"): "'many' is not a list",
        ("--models", "ViTTiny16", "--image-sizes", "50"): "50",
        ("--models", "ViTTiny16", "--modes", "sleeping"): "Received: mode='sleeping'",
        ("--models", "ViTTiny16", "--dtypes", "float64"): "Received: dtype='float64'",
        ("--models", "ViTTiny16", "--seconds", "0"): "--seconds",
    }.items():
        assert main(["benchmark", "--out", str(out), *arguments]) == 2, arguments
        stdout, stderr = capsys.readouterr()
        assert stdout == ""
        assert stderr.startswith("error: ")
        assert message in stderr
        assert stderr.count("\n") == 1
        assert not out.exists()


@pytest.mark.parametrize("started", [True, False])
def test_an_interruption_says_how_to_go_on(
    started: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def benchmark(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(speed, "benchmark", benchmark)
    if started:
        (tmp_path / "results.jsonl").touch()
    assert main(["benchmark", "--models", "ResNet18", "--out", str(tmp_path)]) == 130
    message = "same command again" if started else "nothing was written"
    assert message in capsys.readouterr().err
