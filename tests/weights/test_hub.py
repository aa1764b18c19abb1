"""Published weights through `huggingface_hub`, from a hub on this machine that timm wrote to."""

import errno
import io
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import keras_vitcnn as kv
from keras_vitcnn.models.preprocessing import normalization_of, preprocessing_of
from keras_vitcnn.weights import DownloadError
from tests.helpers import run_python
from tests.weights.local_hub import LocalHub, serving

ATTO = "timm/convnext_atto.d2_in1k"
TINY = "timm/vit_tiny_patch16_384.augreg_in21k_ft_in1k"
SHAPE = (32, 32, 3)


@pytest.fixture(scope="module")
def written(timm: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Repositories as `timm.models.push_to_hf_hub` fills them, with random weights."""
    from timm.models import save_for_hf

    root = tmp_path_factory.mktemp("hub")
    for repository in (ATTO, TINY):
        name = repository.removeprefix("timm/")
        model = timm.create_model(name, pretrained=False)
        save_for_hf(model, root / repository, safe_serialization=True)
    return root


@pytest.fixture
def hub(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """The hub that `huggingface_hub` talks to, and an empty cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between its attempts
    with serving(written) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield server


@pytest.fixture
def offline(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """offline(): what HF_HUB_OFFLINE=1 sets in a new process."""
    from huggingface_hub import constants

    return lambda: monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def atto(**options: Any) -> keras.Model:
    return kv.ConvNeXtAtto(**({"weights": "d2_in1k", "input_shape": SHAPE} | options))


def stored(written: Path, repository: str) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(written / repository / "model.safetensors")


def test_the_first_use_downloads_the_second_does_not(hub: LocalHub, written: Path) -> None:
    model = atto()
    assert hub.downloads() == ["config.json", "model.safetensors"]
    expected = stored(written, ATTO)
    back = kv.to_timm(model)
    assert back.keys() == expected.keys()
    assert all(np.array_equal(back[name], expected[name]) for name in expected)
    hub.requests.clear()
    again = kv.to_timm(atto())
    assert hub.downloads() == []
    assert all(np.array_equal(back[name], again[name]) for name in back)


@pytest.mark.parametrize("weights", ["imagenet", "convnext_atto.d2_in1k", f"hf://{ATTO}"])
def test_three_names_of_one_checkpoint(hub: LocalHub, written: Path, weights: str) -> None:
    name = "stem.0.weight"
    if weights != "convnext_atto.d2_in1k":
        model = atto(weights=weights)
    else:  # a config has no tags, but the full name says it all
        model = kv.build(kv.config_of("ConvNeXtAtto"), weights=weights, input_shape=SHAPE)
    assert np.array_equal(kv.to_timm(model)[name], stored(written, ATTO)[name])


def test_preprocessing_is_that_of_the_config_file(hub: LocalHub, tmp_path: Path) -> None:
    name = TINY.removeprefix("timm/")
    model = kv.ViTTiny16(weights=name, classes=3)
    assert model.input_shape == (None, 384, 384, 3), "the size that it was trained for"
    assert normalization_of(model) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert preprocessing_of(model).crop_pct == 1.0
    images = np.random.default_rng(0).integers(0, 256, (1, 384, 384, 3), "uint8")
    plain = kv.ViTTiny16(include_preprocessing=False, weights=name, classes=3)
    plain.set_weights(model.get_weights())
    assert preprocessing_of(plain) == preprocessing_of(model)
    inside = model.predict(images, verbose=0)
    outside = plain.predict((images / np.float32(127.5) - 1).astype("float32"), verbose=0)
    assert np.abs(inside - outside).max() <= 1e-5

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert preprocessing_of(loaded) == preprocessing_of(model)


def test_a_head_of_other_classes_is_left_random_and_said(
    hub: LocalHub, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        model = atto(classes=3)
    assert model.load_report.random == ("head.fc.weight", "head.fc.bias")
    assert "left random: head.fc.weight, head.fc.bias" in caplog.text


def test_without_the_top_its_tensors_are_not_used(hub: LocalHub) -> None:
    model = atto(include_top=False, input_shape=None)
    assert model.input_shape == (None, None, None, 3)
    assert set(model.load_report.unused) == {
        *("head.norm.weight", "head.norm.bias", "head.fc.weight", "head.fc.bias")
    }
    assert not model.load_report.random


def test_a_cut_download_goes_on_where_it_was(
    hub: LocalHub, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    # What a connection keeps when it is cut are whole chunks, of 10 MB by default.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 2**16)
    hub.cut[ATTO] = 2
    name = "stem.0.weight"
    assert np.array_equal(kv.to_timm(atto())[name], stored(written, ATTO)[name])
    ranges = [r for method, path, r in hub.requests if method == "GET" and "safetensors" in path]
    assert ranges[0] == ""
    assert len(ranges) == 3
    starts = [int(r.removeprefix("bytes=").rstrip("-")) for r in ranges[1:]]
    assert 0 < starts[0] < starts[1]


def test_a_wrong_hash_is_an_error_and_leaves_no_file(hub: LocalHub, tmp_path: Path) -> None:
    hub.flipped.add(ATTO)
    with pytest.raises(DownloadError, match=r"model\.safetensors.*damaged.*deleted"):
        atto()
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
    hub.flipped.clear()
    atto()


def test_a_bit_that_flips_in_the_cache_is_noticed(
    hub: LocalHub, offline: Callable[[], None], tmp_path: Path
) -> None:
    atto()
    offline()
    atto()
    (blob,) = {path.resolve() for path in (tmp_path / "cache").rglob("model.safetensors")}
    content = bytearray(blob.read_bytes())
    content[-100] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(content)
    with pytest.raises(DownloadError, match="damaged"):
        atto()


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, r"no such repository, or it is private \(HTTP 401\).*hf auth login"),
        (404, r"no such repository, or it is private \(HTTP 404\)"),
        (403, "HTTP 403"),
        (500, "HTTP 500; try again later"),
        (503, "HTTP 503; try again later"),
    ],
)
def test_what_the_hub_refuses_is_said(hub: LocalHub, status: int, reason: str) -> None:
    hub.status[ATTO] = status
    with pytest.raises(DownloadError, match=f"Could not fetch.*'{ATTO}' from {hub.url}.*{reason}"):
        atto()


def test_a_hub_that_fails_does_not_matter_to_what_is_cached(hub: LocalHub) -> None:
    atto()
    hub.status[ATTO] = 500
    atto()


def test_nothing_answers(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    template = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    with pytest.raises(DownloadError, match=r"Could not fetch.*nothing was loaded"):
        atto()


def test_offline_without_the_file_says_what_to_do(
    hub: LocalHub, offline: Callable[[], None]
) -> None:
    offline()
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE is set and the file is not in the"):
        atto()
    assert hub.requests == []


def test_a_full_disk(hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    real = Path.open

    def full(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if path.name.endswith(".incomplete"):
            path.touch()
            return Full()
        return real(path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(DownloadError, match=r"No space left on device.*HF_HOME"):
        atto()
    assert not list((tmp_path / "cache").rglob("*.incomplete"))


def test_a_saved_model_still_knows_its_tags(hub: LocalHub, tmp_path: Path) -> None:
    kv.ConvNeXtAtto(input_shape=SHAPE).save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    assert not kv.load_weights(model, "d2_in1k").random


def test_an_existing_model_is_untouched_after_an_error(hub: LocalHub) -> None:
    model = kv.ConvNeXtAtto(input_shape=SHAPE)
    before = [np.array(keras.ops.convert_to_numpy(w)) for w in model.weights]
    normalization = normalization_of(model)
    hub.flipped.add(ATTO)
    with pytest.raises(DownloadError):
        kv.load_weights(model, "d2_in1k")
    with pytest.raises(ValueError, match="does not fit"):
        kv.load_weights(model, f"hf://{TINY}")
    after = [keras.ops.convert_to_numpy(w) for w in model.weights]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert normalization_of(model) == normalization


def test_a_repository_without_weights_or_with_a_broken_config(
    hub: LocalHub, written: Path, tmp_path: Path
) -> None:
    shutil.copytree(written / ATTO, tmp_path / "acme/atto")
    hub.root = tmp_path
    (tmp_path / "acme/atto/config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json' is not JSON"):
        atto(weights="hf://acme/atto")
    for kind in ("config.json", "model.safetensors"):
        (tmp_path / "acme/atto" / kind).unlink()
    with pytest.raises(
        DownloadError, match=r"no weights .* model\.safetensors, pytorch_model\.bin"
    ):
        atto(weights="hf://acme/atto@v1")


def test_labels_come_with_the_checkpoint(hub: LocalHub, written: Path, tmp_path: Path) -> None:
    shutil.copytree(written / ATTO, tmp_path / "acme/pets")
    hub.root = tmp_path
    path = tmp_path / "acme/pets/config.json"
    config = json.loads(path.read_text())
    config["label_names"] = [f"n{i}" for i in range(1000)]
    config["label_descriptions"] = {"n7": "a dog"}
    path.write_text(json.dumps(config))
    labels = preprocessing_of(atto(weights="hf://acme/pets")).labels
    assert labels[6:8] == ("n6", "a dog")
    assert len(labels) == 1000


def test_the_environment_is_that_of_huggingface_hub(hub: LocalHub, tmp_path: Path) -> None:
    code = """
        import os
        os.environ |= {"HF_HOME": %r, "HF_ENDPOINT": %r, "HF_TOKEN": "hf_secret"}
        import keras_vitcnn as kv
        kv.ConvNeXtAtto(weights="imagenet", input_shape=(32, 32, 3))
    """
    run_python(code % (str(tmp_path / "home"), hub.url))
    assert list((tmp_path / "home/hub/models--timm--convnext_atto.d2_in1k/snapshots").iterdir())
    assert "Bearer hf_secret" in hub.tokens
    hub.requests.clear()
    run_python(
        'import os\nos.environ["HF_HUB_OFFLINE"] = "1"\n'
        + "".join(
            line.strip() + "\n" for line in (code % (str(tmp_path / "home"), hub.url)).splitlines()
        )
    )
    assert hub.requests == []
