"""What the policies draw: how often, and how strong, against timm's and torchvision's tables."""

import random
from collections import Counter
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from keras_vitcnn.data.policies import AUTO_PAIRS, INCREASING, ORIGINAL, TRIVIAL_WIDE, policy

pytestmark = pytest.mark.backend_independent

DRAWS = 6000
OUR_NAMES = {
    "AutoContrast": "autocontrast",
    "Equalize": "equalize",
    "Invert": "invert",
    "Rotate": "rotate",
    "PosterizeIncreasing": "posterize",
    "PosterizeOriginal": "posterize",
    "SolarizeIncreasing": "solarize",
    "Solarize": "solarize",
    "SolarizeAdd": "solarize_add",
    "ColorIncreasing": "color",
    "Color": "color",
    "ContrastIncreasing": "contrast",
    "Contrast": "contrast",
    "BrightnessIncreasing": "brightness",
    "SharpnessIncreasing": "sharpness",
    "Sharpness": "sharpness",
    "ShearX": "shear_x",
    "ShearY": "shear_y",
    "TranslateXRel": "translate_x_rel",
    "TranslateYRel": "translate_y_rel",
}


def drawn(name: str, draws: int = DRAWS) -> list[list[tuple[str, float]]]:
    rng = np.random.default_rng(0)
    return [policy(name).draw(rng) for _ in range(draws)]


def test_rand_augment_draws_what_timm_draws(timm: ModuleType) -> None:
    from timm.data.auto_augment import rand_augment_transform

    theirs = rand_augment_transform("rand-m9-mstd0.5-inc1", {"interpolation": Image.BICUBIC})
    assert {OUR_NAMES[op.name] for op in theirs.ops} == set(INCREASING)
    lists = drawn("rand-m9-mstd0.5-inc1")
    lengths = Counter(map(len, lists))
    assert [lengths[n] / DRAWS for n in range(3)] == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    counts = Counter(name for found in lists for name, _ in found)
    assert set(counts) == set(INCREASING)
    assert min(counts.values()) > 0.7 * DRAWS / 15
    assert max(counts.values()) < 1.3 * DRAWS / 15


@pytest.mark.parametrize("level", [0, 2.5, 8.3, 10])
@pytest.mark.parametrize("increasing", [True, False])
def test_strengths_are_timm_s(timm: ModuleType, increasing: bool, level: float) -> None:
    from timm.data import auto_augment

    if increasing:
        names, table = auto_augment.rand_augment_choices("", increasing=True), INCREASING
    else:
        pairs = auto_augment.auto_augment_policy_original({"img_mean": (128, 128, 128)})
        names, table = sorted({op.name for pair in pairs for op in pair}), ORIGINAL
    rng = np.random.default_rng(0)
    random.seed(0)
    for name in names:
        function = auto_augment.LEVEL_TO_ARG[name]
        expected = {function(level, {})[0] for _ in range(20)} if function else {0.0}
        found = {table[OUR_NAMES[name]](level / 10, rng) for _ in range(20)}
        np.testing.assert_allclose(sorted(found), sorted(expected), atol=1e-12, err_msg=name)


def test_the_magnitude_varies_around_nine() -> None:
    angles = [abs(v) for found in drawn("rand-m9-mstd0.5-inc1") for n, v in found if n == "rotate"]
    assert np.mean(angles) == pytest.approx(27, abs=0.3)
    assert np.std(angles) == pytest.approx(1.5, abs=0.25)  # 30 degrees * 0.5 / 10
    assert max(angles) <= 30


def test_auto_is_the_paper_s_policy(timm: ModuleType) -> None:
    from timm.data.auto_augment import auto_augment_policy_original

    theirs = auto_augment_policy_original({"img_mean": (128, 128, 128)})
    expected = [
        [(OUR_NAMES[op.name], op.prob, op.magnitude) for op in operations] for operations in theirs
    ]
    ours = [
        [(name, float(p), float(level)) for name, p, level in (pair[:3], pair[3:])]
        for pair in AUTO_PAIRS
    ]
    assert ours == expected
    assert {name for found in drawn("auto") for name, _ in found} <= set(ORIGINAL)


def test_trivial_wide_covers_torchvision_s_space(timm: ModuleType) -> None:
    from torchvision.transforms import TrivialAugmentWide

    space = TrivialAugmentWide()._augmentation_space(31)
    assert len(space) == len(TRIVIAL_WIDE)
    lists = drawn("trivial-wide", 5 * DRAWS)
    assert {len(found) for found in lists} == {1}
    values: dict[str, set[float]] = {}
    for ((name, value),) in lists:
        values.setdefault(name, set()).add(value)
    for theirs, (magnitudes, signed) in space.items():
        name = {"ShearX": "shear_x", "ShearY": "shear_y"}.get(theirs, theirs.lower())
        name = {"translatex": "translate_x", "translatey": "translate_y"}.get(name, name)
        expected = np.atleast_1d(magnitudes.numpy()).astype(float)
        if name.startswith("translate"):
            expected = np.trunc(expected + 1e-4)  # float32 has 15.99999 for 16
        if signed:
            expected = np.concatenate([expected, -expected])
        if name in ("brightness", "color", "contrast", "sharpness"):
            expected = 1 + expected
        found = sorted({round(v, 4) + 0.0 for v in values[name]})
        assert found == pytest.approx(sorted({round(v, 4) + 0.0 for v in expected}), abs=2e-4), name


def test_three_augment_takes_turns() -> None:
    lists = drawn("3-augment")
    counts = Counter(name for ((name, _),) in lists)
    assert set(counts) == {"grey", "solarize", "blur"}
    assert min(counts.values()) > 0.3 * DRAWS
    radii = [value for ((name, value),) in lists if name == "blur"]
    assert 0.1 <= min(radii) < 0.15
    assert 1.95 < max(radii) <= 2


@pytest.mark.parametrize("name", ["rand-m9", "rand-m11-inc1", "rand-x3-inc1", "random", "augmix"])
def test_unknown_policies(name: str) -> None:
    with pytest.raises(ValueError, match=f"Received: policy='{name}'"):
        policy(name)
