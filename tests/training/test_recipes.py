"""Recipes: the papers' numbers, the linear rule, and how the command line changes them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keras_vitcnn.models.registry import VARIANTS
from keras_vitcnn.training import RECIPES, Recipe, recipe, recipes
from keras_vitcnn.training.recipes import TABLE, changed

pytestmark = pytest.mark.backend_independent

PAPERS = {
    "convnext-300": "convnext_1k_300ep",
    "convnext-isotropic-300": "convnext_isotropic",
    "convnext-finetune-384": "convnext_finetune_1k_to_384",
    "convnext-finetune-22k": "convnext_finetune_22k_to_1k",
    "deit-300": "deit_300ep",
    "deit-distilled-300": "deit_distillation",
    "convit-300": "convit_300ep",
    "deit3-800": "deit3_1k_800ep",
    "deit3-finetune-224": "deit3_1k_finetune_224",
    "early-convolutions-adamw-100": "earlyconv_peak_1k_vit",
    "early-convolutions-adamw-200": "earlyconv_peak_1k_vit",
    "early-convolutions-adamw-400": "earlyconv_peak_1k_vit",
    "early-convolutions-sgd-100": "earlyconv_peak_1k_cnn",
    "early-convolutions-sgd-200": "earlyconv_peak_1k_cnn",
    "early-convolutions-sgd-400": "earlyconv_peak_1k_cnn",
    "torchvision-600": "torchvision_new_recipe_resnet",
    "gresnet-450": "gresnet",
    "resnet-90": "resnet_baseline_90ep",
    "swin-300": "swin_1k_300ep",
}
STUDIES = {
    "early-convolutions-adamw-50": "adamw",
    "early-convolutions-sgd-50": "sgd",
}
HERE = {"small-data", "sgd"}
SIZES = {"T": "Tiny", "S": "Small", "B": "Base", "L": "Large", "XL": "XLarge", "H": "Huge"}


@pytest.fixture
def papers(shared: Callable[[str], Path]) -> dict[str, dict[str, Any]]:
    """Every recipe of the papers, with what it inherits."""
    rows = json.loads((shared("facts") / "recipes.json").read_text())["recipes"]
    found: dict[str, dict[str, Any]] = {}
    for name, row in rows.items():
        inherited = found.get(row.get("same_as", ""), {})
        found[name] = inherited | row | row.get("differences", {})
    return found


def test_every_recipe_has_a_source() -> None:
    assert set(recipes()) == set(PAPERS) | set(STUDIES) | HERE == set(RECIPES)
    assert all(row.source for row in RECIPES.values())


@pytest.mark.parametrize("name", PAPERS)
def test_numbers_are_the_papers(name: str, papers: dict[str, dict[str, Any]]) -> None:
    paper, ours = papers[PAPERS[name]], recipe(name)
    lr = paper["lr"].get("1GF", paper["lr"].get("B")) if type(paper["lr"]) is dict else paper["lr"]
    assert ours.learning_rate == pytest.approx(lr)
    assert ours.optimizer == paper["optimizer"].split()[0].lower()
    decay = paper["weight_decay"]
    assert ours.weight_decay == pytest.approx(decay["1GF"] if type(decay) is dict else decay)
    assert ours.epochs in (paper["epochs"] if type(paper["epochs"]) is list else [paper["epochs"]])
    if isinstance(paper["batch_size"], int):
        assert ours.batch_size == paper["batch_size"]
    assert ours.warmup * ours.epochs == pytest.approx(paper["warmup_epochs"])
    peak = ours.learning_rate_at(ours.batch_size)
    if "batch/512" in paper.get("lr_rule", ""):
        assert peak == pytest.approx(lr * ours.batch_size / 512)
    else:
        assert peak == pytest.approx(lr)
    scale = peak / lr if "min lr scaled too" in paper.get("lr_rule", "") else 1
    if "min_lr" in paper:
        assert ours.final_rate * peak == pytest.approx(scale * paper["min_lr"])
    if "warmup_lr" in paper:
        assert ours.warmup_start * peak == pytest.approx(scale * paper["warmup_lr"])
    text = str(paper.get("augmentation", ""))
    smoothing = 0.1 if "label smoothing 0.1" in text else paper.get("label_smoothing", 0.0)
    assert ours.label_smoothing == smoothing
    assert ours.mixup == (0.8 if "mixup 0.8" in text else paper.get("mixup", 0.0))
    assert ours.cutmix == (1.0 if "CutMix 1.0" in text else paper.get("cutmix", 0.0))
    erasing = paper.get("random_erasing", 0.0)
    assert ours.erasing == (erasing["prob"] if isinstance(erasing, dict) else erasing)
    if "randaugment" in paper:
        assert ours.policy == paper["randaugment"].split(" ")[0]
    assert ours.layer_decay == paper.get("layer_decay")
    assert ours.clip_norm == paper.get("gradient_clip")
    if isinstance(paper.get("ema"), float):
        assert ours.ema == paper["ema"]
    if "deit-300" in name:
        assert ours.ema == papers["deit_300ep"]["ema"]["decay"]
    repeated = paper.get("repeated_augmentation") or 1
    assert ours.repeats == (3 if repeated is True else repeated)  # DeiT's code repeats thrice


@pytest.mark.parametrize("name", STUDIES)
def test_fifty_epochs_by_model(name: str, papers: dict[str, dict[str, Any]]) -> None:
    for key, row in papers["earlyconv_stability_50ep"][STUDIES[name]].items():
        model = key.replace("_", "").replace("-", "").replace("*", "004")
        assert model in VARIANTS
        ours = recipe(name, model)
        assert (ours.learning_rate, ours.weight_decay) == (row["lr"], row["wd"])
        assert ours.epochs == 50


def test_sizes_get_their_papers_drop_paths(papers: dict[str, dict[str, Any]]) -> None:
    for name, prefix in {
        "convnext-300": "ConvNeXt",
        "convnext-finetune-22k": "ConvNeXt",
        "convnext-isotropic-300": "ConvNeXtIso",
        "swin-300": "Swin",
        "deit3-800": "DeiT3",
    }.items():
        for size, rate in papers[PAPERS[name]]["drop_path"].items():
            found = [v for v in VARIANTS if v.startswith(prefix + SIZES[size])]
            model = next(v for v in found if v.rstrip("0123456789") == prefix + SIZES[size])
            assert recipe(name, model).drop_path_rate == rate, model


def test_models_that_are_named_exist() -> None:
    for row in json.loads(TABLE.read_text()).values():
        for model in row.get("models", {}):
            assert model in VARIANTS or model == "RegNetY*"


def test_averages_by_epochs_are_averages_by_steps() -> None:
    # 1 - 2e-5 * 1024 / 600 per step is torchvision's rule, 1e-5 * 2048 / epochs that of pycls.
    assert 1 - recipe("torchvision-600").ema == pytest.approx(2e-5 * 1024 / 600, rel=1e-4)
    assert 1 - recipe("gresnet-450").ema == pytest.approx(2e-5 * 1024 / 450, rel=1e-4)
    for epochs in (50, 100, 200, 400):
        ema = recipe(f"early-convolutions-adamw-{epochs}").ema
        assert 1 - ema == pytest.approx(1e-5 * 2048 / epochs, rel=1e-4)


def test_a_step_schedule_falls_at_thirty_and_sixty_of_ninety() -> None:
    assert recipe("resnet-90").milestones == pytest.approx((1 / 3, 2 / 3))


def test_recipes_are_found_and_changed() -> None:
    assert recipe("small-data") == RECIPES["small-data"]
    copy = recipe("sgd", learning_rate=0.5)
    assert (copy.learning_rate, copy.optimizer) == (0.5, "sgd")
    assert recipe(copy, mixup=0.2).mixup == 0.2
    with pytest.raises(ValueError, match=r"nearest is 'small-data'.*recipe='small-dat'"):
        recipe("small-dat")
    with pytest.raises(ValueError, match=r"\['adamw', 'sgd', 'lamb'\].*optimizer='adam'"):
        Recipe(name="x", optimizer="adam")
    with pytest.raises(ValueError, match=r"\[0, 1\).*warmup=1"):
        Recipe(name="x", warmup=1)
    with pytest.raises(ValueError, match=r"clip_norm=none.*clip_norm=1"):
        Recipe(name="x", layer_decay=0.7, clip_norm=1.0)


def test_the_linear_rule() -> None:
    asked = recipe("sgd", reference_batch_size=256)
    assert asked.learning_rate_at(64) == pytest.approx(0.025)
    assert asked.rule(64) == "learning rate 0.025, from 0.1 for 256 images a step scaled to 64"
    assert recipe("deit3-800").rule(64) == "learning rate 0.003 at any batch size"


def test_settings_of_the_command_line() -> None:
    texts = ["epochs=10", "learning_rate=1e-3", "ema=none", "policy=", "milestones=0.5,0.75"]
    row = changed(recipe("convnext-300"), [*texts, "nesterov=false"])
    assert (row.epochs, row.learning_rate, row.ema) == (10, 1e-3, None)
    assert (row.policy, row.milestones, row.nesterov) == ("", (0.5, 0.75), False)
    assert row.warmup == pytest.approx(20 / 300)  # lengths are fractions
    for setting, message in {
        "epoch=3": "nearest is 'epochs'",
        "epochs": "FIELD=VALUE",
        "name=x": "FIELD=VALUE",
        "epochs=many": "of type int",
        "ema=much": "float or none",
        "epochs=none": "of type int",
        "nesterov=2": "of type bool",
        "mixup=-1": "must not be negative",
    }.items():
        with pytest.raises(ValueError, match=f"{message}.*Received"):
            changed(recipe("sgd"), [setting])
