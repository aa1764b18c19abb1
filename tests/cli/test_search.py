"""`keras-vitcnn search` and `export` from a shell's point of view."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

import keras_vitcnn as kv
from keras_vitcnn.cli import main
from tests import helpers


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two models as files, and two classes of photos: reddish and bluish ones."""
    for package in ("pymilvus", "milvus_lite.server_manager"):
        pytest.importorskip(package)  # here: what logs to stderr must not find a captured one
    root = tmp_path_factory.mktemp("search")
    rng = np.random.default_rng(0)
    for name in ("resnet", "vit"):
        model = kv.build(helpers.TINY[name], input_shape=(16, 16, 3), classes=3, name=name)
        helpers.randomize(model)
        model.save(root / f"{name}.keras")
    for index in range(8):
        folder = root / "photos" / ("red" if index % 2 else "blue")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 60, (16, 16, 3))
        pixels[..., 0 if index % 2 else 2] += 180
        Image.fromarray(pixels.astype("uint8")).save(folder / f"{index}.png")
    (root / "photos" / "red" / "broken.png").write_bytes(b"nothing")
    return root


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_build_query_and_compare(made, capsys, monkeypatch):
    pytest.importorskip("pymilvus")
    monkeypatch.chdir(made)
    for name in ("resnet", "vit"):
        assert run("search", "build", f"{name}.keras", "photos", "--index", f"{name}.db") == 0
        captured = capsys.readouterr()
        assert captured.out == f"8 images in {name}.db\n"
        assert "left out 1 files that can't be decoded, the first is red/broken.png" in captured.err
    query = made / "photos" / "red" / "3.png"
    assert run("search", "query", "vit.db", query, "-k", 4, "--picture", "one.png") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(query) and lines[1].split() == ["1.0000", "red/3.png"]
    assert [line.split()[1].split("/")[0] for line in lines[1:]] == ["red"] * 4
    assert run("search", "compare", "resnet.db", "vit.db", "--query", query, "-k", 3) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("vit.db: vit.keras, recall@1 100.0%, recall@3 100.0%, mAP 100.0%")
    assert lines[2] == "Picture: neighbours.png"
    with Image.open("neighbours.png") as one, Image.open("one.png") as other:
        assert one.format == other.format == "PNG" and one.height > 1.5 * other.height
    labels = {f"{'red' if n % 2 else 'blue'}/{n}.png": n // 2 for n in range(8)}
    (made / "labels.json").write_text(json.dumps(labels))
    arguments = ("--query", query, "--labels", "labels.json")
    assert run("search", "compare", "resnet.db", "vit.db", *arguments) == 0
    assert "(8 queries)" in capsys.readouterr().out


def test_wrong_input_is_one_line_and_code_2(made, capsys, monkeypatch):
    pytest.importorskip("pymilvus")
    monkeypatch.chdir(made)
    wrong = {
        ("build", "vit.keras", "nowhere", "--index", "x.db"): "The folder does not exist",
        ("build", "vit.keras", "photos", "--index", "x"): "ends in .db",
        ("query", "none.db", "photos/red/3.png"): "no such index",
        ("compare", "none.db", "--query", "photos/red/3.png"): "two indexes or more",
    }
    for arguments, message in wrong.items():
        assert run("search", *arguments) == 2
        errors = capsys.readouterr().err.splitlines()
        assert len([line for line in errors if line.startswith("error: ")]) == 1
        assert message in errors[-1]
    assert not (made / "x.db").exists()


@pytest.mark.filterwarnings("ignore")  # the converters' own
def test_export_says_how_far_it_is(made, capsys):
    name, path = ("saved_model", "vit_saved_model")
    if keras.backend.backend() == "torch":
        name, path = ("openvino", "vit.xml")
    pytest.importorskip("openvino" if name == "openvino" else "tensorflow")
    photos = ("--photos", made / "photos" / "blue", "--count", 3)
    assert run("export", made / "vit.keras", "--format", name, *photos) == 0
    out = capsys.readouterr().out.strip().splitlines()[-1]
    assert out.startswith(f"{made / path}: the largest difference on 3 photos is ")
    assert (made / path).exists()
    (made / "empty").mkdir()
    assert run("export", made / "vit.keras", "--format", "onnx", "--photos", made / "empty") == 2
    assert "The folder holds no images" in capsys.readouterr().err
