"""The guides: every Python snippet runs, and every command line is one that the program takes."""

import importlib.util
import re
import shlex
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import keras
import numpy as np
import pytest

import keras_vitcnn as kv
from keras_vitcnn.cli.main import cli
from keras_vitcnn.models.registry import VARIANTS, published_for
from tests.helpers import ROOT
from tests.weights.local_hub import serving

TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GUIDES = [path for path in TEXTS if "```python" in path.read_text()]
# A word in a snippet -> the package it needs; where that is not installed, it is compiled only.
NEEDS = {"keras_hub": "keras_hub", "build_index": "pymilvus", "export(": "onnxruntime"}
PRETRAINED = ("ConvNeXtTiny", "ConvNeXtAtto", "DeiTTiny16")  # with weights="imagenet"
SMALL = {"image_size": 32, "width_multiplier": 0.1, "epochs": 1, "batch_size": 4}


def snippets(path: Path, language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", path.read_text(), re.M | re.S)


def command_lines() -> Iterator[Any]:
    for path in TEXTS:
        for snippet in snippets(path, "sh"):
            for line in snippet.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words and words[0] in ("keras-vitcnn", "make"):
                    yield pytest.param(words, id=f"{path.name}: {' '.join(words[:2])}")


@pytest.mark.backend_independent
@pytest.mark.parametrize("words", list(command_lines()))
def test_a_command_line_is_understood(words: list[str], place: Path) -> None:
    program, *arguments = words
    if program == "make":
        targets = re.findall(r"^([a-z-]+(?: [a-z-]+)*):", (ROOT / "Makefile").read_text(), re.M)
        assert arguments[0] in " ".join(targets).split()
        return
    command: click.Command = cli
    parent = None
    while isinstance(command, click.Group):
        parent = click.Context(command, parent, command.name, **command.context_settings)
        command = command.commands[arguments.pop(0)]
    # Parses and checks, does not run. A command keeps the help option of its first context.
    with command.make_context(command.name, arguments, parent):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_the_snippets_of_a_guide_run(path: Path, place: Path, small: None, hub: None) -> None:
    names = stand_ins(path.name)
    for number, snippet in enumerate(snippets(path, "python")):
        code = compile(snippet, f"{path.name}, snippet {number}", "exec")
        if all(installed(needed) for word, needed in NEEDS.items() if word in snippet):
            exec(code, names)


# They say the same on every backend, and PyTorch, which compiles nothing, is by far the quickest.
test_the_snippets_of_a_guide_run.__test__ = keras.backend.backend() == "torch"


def stand_ins(page: str) -> dict[str, Any]:
    """What the prose around a guide's snippets names."""
    side = 64 if page == "extending.md" else 224
    photos = np.zeros((1, 480, 360, 3), "uint8")
    names = {
        "kv": kv,
        "images": np.zeros((2, side, side, 3), "uint8"),
        "photos": photos,
        "photo": photos[0],
        "masks": [np.arange(11).repeat(8).reshape(8, 11)],
        "__name__": "guide",
    }
    if page == "README.md":
        names["timm_state_dict"] = kv.to_timm(kv.ConvNeXtTiny())
    return names


@cache
def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the files that the guides speak of."""
    from PIL import Image

    random = np.random.default_rng(0)
    classes = [f"photos/{name}/{number}.jpg" for name in ("cat", "dog") for number in range(1, 6)]
    masks = [f"{folder}/{number}.png" for folder in ("train", "masks") for number in range(4)]
    for name in (*classes, "cat.jpg", *masks):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        shape = (256, 320) if name.startswith("masks") else (256, 320, 3)
        Image.fromarray(random.integers(0, 11, shape, "uint8")).save(file)
    for name in ("model.keras", "labels.json"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trainings and measurements of the guides in small; models they register don't stay."""

    def smaller(function: Callable[..., Any], **changes: Any) -> Callable[..., Any]:
        return lambda *args, **options: function(*args, **(options | changes))

    training = kv.training
    compare = smaller(training.compare, **SMALL, minutes_per_model=None, seeds=(0,))
    monkeypatch.setattr(training, "fit", smaller(training.fit, **SMALL, distribute=""))
    monkeypatch.setattr(
        training, "compare", lambda models, *args, **options: compare(models[:1], *args, **options)
    )
    tiny = smaller(kv.speed.benchmark, batch_sizes=(1,), image_sizes=(32,), seconds=0.01)
    monkeypatch.setattr(kv.speed, "benchmark", tiny)
    before = set(VARIANTS)
    yield
    for name in set(VARIANTS) - before:
        del VARIANTS[name]


@pytest.fixture(scope="module")
def repositories(timm: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default checkpoints that the guides load, as timm writes them, of random weights."""
    from timm.models import save_for_hf

    root = tmp_path_factory.mktemp("hub")
    for name in PRETRAINED:
        checkpoint = published_for(VARIANTS[name])[0]
        model = timm.create_model(checkpoint.name, pretrained=False)
        save_for_hf(model, root / checkpoint.hub, safe_serialization=True)
    return root


@pytest.fixture
def hub(repositories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from huggingface_hub import constants

    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with serving(repositories) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield
