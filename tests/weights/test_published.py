"""The table of published checkpoints: that it is timm's, and what the names of `weights` mean."""

import importlib.util
from types import ModuleType
from typing import Any

import pytest

import keras_vitcnn as kv
from keras_vitcnn.models.published import by_name, checkpoints
from keras_vitcnn.models.registry import VARIANTS
from tests.helpers import ROOT

pytestmark = pytest.mark.backend_independent

# Designs that nobody has published weights of.
WITHOUT = ("ViTP", "ViTC", "GResNet", "ConvNeXtIso", "RegNetZ4GF")
# Architectures of timm that none of its checkpoints has.
NEVER = {"ResNet200", "ViTLarge14", "RegNetZ005"}
NEVER |= {
    f"EfficientNet{size}Symmetric" for size in ("B6", "B7", "Lite1", "Lite2", "Lite3", "Lite4")
}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("timm_tables", ROOT / "scripts/timm_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_what_the_script_writes(timm: Any, script: ModuleType) -> None:
    for path, text in script.tables(script.known_top1()).items():
        assert path.read_text() == text, "run: python scripts/timm_tables.py"


def test_measured_accuracies_are_read_from_timms_own_file(script: ModuleType, tmp_path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("model,img_size,top1\na.b,288,82.7\na.b,224,82.1\n")
    assert script.read_top1(path) == {"a.b": {288: 82.7, 224: 82.1}}


def test_every_family_that_timm_publishes_has_weights() -> None:
    without = set(VARIANTS) - set(kv.list_models(pretrained=True))
    unpublished = {name for name in VARIANTS if name.startswith(WITHOUT) or name.endswith("Plus")}
    assert without == unpublished | NEVER
    assert len(kv.list_models(pretrained=True)) > 50


def test_a_checkpoint_as_timms_registry_has_it(timm: Any) -> None:
    from timm.data import resolve_data_config
    from timm.models import get_pretrained_cfg

    rows = [row for found in kv.list_weights().values() for row in found]
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        cfg = get_pretrained_cfg(row.name)
        theirs = resolve_data_config(pretrained_cfg=cfg.to_dict())
        ours = row.preprocessing
        assert ours.image_size == theirs["input_size"][1:]
        for key in ("mean", "std", "crop_pct", "crop_mode", "interpolation"):
            assert getattr(ours, key) == theirs[key], (row.name, key)
        assert row.classes == cfg.num_classes
        assert row.hub == f"timm/{row.name}"


def test_top1_of_well_known_checkpoints() -> None:
    # timm's results/results-imagenet.csv
    for name, top1, size in [
        ("convnext_tiny.fb_in1k", 82.066, 224),
        ("resnet18.a3_in1k", 65.67, 160),
        ("convnextv2_huge.fcmae_ft_in22k_in1k_512", 88.86, 512),
    ]:
        row = by_name(name)
        assert (row.top1, row.top1_size) == pytest.approx((top1, size), abs=0.01)
    assert all(
        1 < row.top1 < 100 for found in kv.list_weights().values() for row in found if row.top1
    )


def test_list_weights() -> None:
    found = kv.list_weights("ConvNeXtT*")
    assert list(found) == ["ConvNeXtTiny"]
    assert "fb_in22k_ft_in1k" in [row.tag for row in found["ConvNeXtTiny"]]
    assert kv.list_weights("GResNet50") == {}
    assert checkpoints(["no_such_architecture"]) == []


def test_the_default_comes_first_and_knows_imagenet() -> None:
    for name, found in kv.list_weights().items():
        if any(row.classes == 1000 for row in found):
            assert found[0].classes == 1000, name
    # timm's only checkpoints of that name at 224 px have no classifier.
    assert kv.list_weights("ViTLarge32")["ViTLarge32"][0].preprocessing.image_size == (384, 384)


@pytest.mark.parametrize("name", ["GResNet50", "ViTP1GF", "ConViTTinyPlus"])
def test_a_model_without_weights_names_those_that_have_some(name: str) -> None:
    with pytest.raises(ValueError, match=r"not published; there are some of .*ConvNeXtTiny.*hf://"):
        kv.create_model(name, weights="imagenet")


def test_an_unknown_tag_brings_the_known_ones() -> None:
    message = r"one of the tags of ConvNeXtTiny \(.*fb_in22k_ft_in1k.*Received: weights='fb_in23k'"
    with pytest.raises(ValueError, match=message):
        kv.ConvNeXtTiny(weights="fb_in23k")
    # A tag that stands for two checkpoints is listed once short and once in full.
    message = r"\(.*[ (]augreg_in21k_ft_in1k.*vit_base_patch16_384\.augreg_in21k_ft_in1k"
    with pytest.raises(ValueError, match=message):
        kv.ViTBase16(weights="nothing")
