"""Names: every model has one constructor, one config and one entry in timm's list."""

import inspect
import pickle
from dataclasses import FrozenInstanceError, fields

import pytest

import keras_vitcnn as kv
from keras_vitcnn.models.registry import VARIANTS

pytestmark = pytest.mark.backend_independent
every_model = pytest.mark.parametrize("name", list(VARIANTS))

# The public face of every constructor: arguments in their order with their defaults.
POSITIONAL = {
    "include_top": True,
    "include_preprocessing": True,
    "weights": None,
    "input_tensor": None,
    "input_shape": None,
    "pooling": None,
    "classes": 1000,
    "classifier_activation": "softmax",
    "name": None,
}
KEYWORD_ONLY = {"drop_path_rate": 0.0, "dropout_rate": 0.0, "dtype": None, "remat": False}


@every_model
def test_constructor_is_public_under_its_own_name(name):
    constructor = getattr(kv, name)
    assert constructor is VARIANTS[name].constructor
    assert constructor.__name__ == constructor.__qualname__ == name
    assert name in kv.__all__
    assert pickle.loads(pickle.dumps(constructor)) is constructor


@every_model
def test_constructor_signature(name):
    parameters = inspect.signature(getattr(kv, name)).parameters.values()
    by_kind = {
        kind: {p.name: p.default for p in parameters if p.kind is kind}
        for kind in {p.kind for p in parameters}
    }
    assert by_kind == {
        inspect.Parameter.POSITIONAL_OR_KEYWORD: POSITIONAL,
        inspect.Parameter.KEYWORD_ONLY: KEYWORD_ONLY,
    }
    assert [p.name for p in parameters] == [*POSITIONAL, *KEYWORD_ONLY]


@every_model
def test_constructor_docstring_explains_every_parameter(name):
    lines = [line.strip() for line in inspect.getdoc(getattr(kv, name)).splitlines()]
    assert name in lines[0]
    for parameter in (*POSITIONAL, *KEYWORD_ONLY):
        assert any(line.startswith(f"{parameter}: ") for line in lines), parameter


@every_model
def test_config_is_frozen_and_hashable(name):
    config = kv.config_of(name)
    hash(config)
    with pytest.raises(FrozenInstanceError):
        setattr(config, fields(config)[0].name, None)


@every_model
def test_other_names_mean_the_same_model(name):
    row = VARIANTS[name]
    for alias in (row.alias, *row.timm):
        assert kv.config_of(alias) is row.config


def test_no_name_means_two_models():
    names = [alias for row in VARIANTS.values() for alias in {row.name, row.alias, *row.timm}]
    assert len(names) == len(set(names))


def test_every_timm_name_is_one_of_timms(timm):
    unknown = [n for row in VARIANTS.values() for n in row.timm if not timm.is_model(n)]
    assert not unknown


def test_create_model_by_both_names():
    options = {"input_shape": (32, 32, 3), "classes": 3, "drop_path_rate": 0.1}
    ours, timms = (kv.create_model(n, **options) for n in ("ResNet18", "resnet18"))
    assert ours.get_config() == timms.get_config()
    assert ours.output_shape == (None, 3)


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("ConvNextTiny", "ConvNeXtTiny"),
        ("convnext-tiny", "convnext_tiny"),
        ("ResNet-50", "ResNet50"),
        ("vit_base_patch16_225", "vit_base_patch16_224"),
    ],
)
@pytest.mark.parametrize("function", [kv.create_model, kv.config_of])
def test_an_unknown_name_brings_the_nearest(function, wrong, nearest):
    with pytest.raises(ValueError, match=rf"(?i)\b{nearest}\b.*Received: name='{wrong}'$"):
        function(wrong)


def test_a_name_like_no_other_points_to_the_list():
    with pytest.raises(ValueError, match=r"list_models.*Received: name='qqqqqq'$"):
        kv.create_model("qqqqqq")


def test_an_unknown_option_is_refused():
    with pytest.raises(TypeError, match="clases"):
        kv.create_model("ResNet18", clases=3)


def test_list_models():
    assert kv.list_models() == list(VARIANTS)
    assert kv.list_models("ResNet?0") == ["ResNet50"]
    assert kv.list_models("ConViT*Plus") == ["ConViTTinyPlus", "ConViTSmallPlus", "ConViTBasePlus"]
    assert kv.list_models("convnext*") == [], "case matters"
    assert kv.list_models("*[!a-zA-Z0-9]*") == [], "names are identifiers"
    convnexts = kv.list_models("ConvNeXt*")
    assert {"ConvNeXtTiny", "ConvNeXtV2Atto", "ConvNeXtIsoLarge"} <= set(convnexts)
    assert all(name.startswith("ConvNeXt") for name in convnexts)


def test_pretrained_models_are_among_all():
    assert set(kv.list_models(pretrained=True)) <= set(kv.list_models())
