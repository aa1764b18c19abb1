"""Every operation of the policies, pixel for pixel as timm and torchvision have it."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from keras_vitcnn.data.operations import GEOMETRIC, OPERATIONS, apply
from keras_vitcnn.data.policies import GREY

pytestmark = pytest.mark.backend_independent

TIMM = {
    "rotate": ("Rotate", 21.5),
    "shear_x": ("ShearX", 0.27),
    "shear_y": ("ShearY", -0.27),
    "translate_x": ("TranslateX", -7),
    "translate_y": ("TranslateY", 5),
    "translate_x_rel": ("TranslateXRel", 0.31),
    "translate_y_rel": ("TranslateYRel", -0.31),
    "autocontrast": ("AutoContrast", None),
    "equalize": ("Equalize", None),
    "invert": ("Invert", None),
    "posterize": ("Posterize", 2),
    "solarize": ("Solarize", 100),
    "solarize_add": ("SolarizeAdd", 99),
    "color": ("Color", 0.3),
    "contrast": ("Contrast", 1.8),
    "brightness": ("Brightness", 0.4),
    "sharpness": ("Sharpness", 1.9),
    "blur": ("GaussianBlur", 1.3),
}
# (torchvision's name, value there, value here)
TORCHVISION = {
    "identity": ("Identity", 0, 0),
    "rotate": ("Rotate", -121.5, -121.5),
    "shear_x": ("ShearX", 0.9, 0.9),
    "shear_y": ("ShearY", -0.5, -0.5),
    "translate_x": ("TranslateX", 17.6, -17),
    "translate_y": ("TranslateY", -29, 29),
    "autocontrast": ("AutoContrast", 0, 0),
    "equalize": ("Equalize", 0, 0),
    "invert": ("Invert", 0, 0),
    "posterize": ("Posterize", 3, 3),
    "solarize": ("Solarize", 127.5, 127.5),
    "color": ("Color", -0.9, 0.1),
    "contrast": ("Contrast", 0.5, 1.5),
    "brightness": ("Brightness", 0.9, 1.9),
    "sharpness": ("Sharpness", -0.3, 0.7),
}


@pytest.fixture
def photo() -> Any:
    """Colours, edges and noise; wider than high."""
    rng = np.random.default_rng(0)
    pixels = np.linspace(70, 170, 48 * 64 * 3).reshape(48, 64, 3)
    pixels[10:30, 20:40] = [190, 60, 80]
    return Image.fromarray((pixels + rng.normal(0, 9, pixels.shape)).clip(0, 255).astype("uint8"))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("name", TIMM)
def test_timm(name: str, interpolation: str, photo: Any, timm: ModuleType) -> None:
    from timm.data.auto_augment import NAME_TO_OP

    theirs, value = TIMM[name]
    geometry = {"resample": Image.Resampling[interpolation.upper()], "fillcolor": GREY}
    expected = NAME_TO_OP[theirs](photo, *([] if value is None else [value]), **geometry)
    ours = apply(photo, name, value or 0.0, interpolation=interpolation, fill=GREY)
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(expected))
    assert (np.asarray(ours) != np.asarray(photo)).mean() > 0.1


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name: str, photo: Any, timm: ModuleType) -> None:
    from torchvision.transforms import InterpolationMode, autoaugment

    theirs, value, our_value = TORCHVISION[name]
    expected = autoaugment._apply_op(photo, theirs, value, InterpolationMode.NEAREST, None)
    ours = apply(photo, name, our_value, interpolation="nearest")
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(expected))


def test_grey_is_torchvision_s(photo: Any, timm: ModuleType) -> None:
    from torchvision.transforms import functional

    expected = functional.to_grayscale(photo, num_output_channels=3)
    np.testing.assert_array_equal(np.asarray(apply(photo, "grey")), np.asarray(expected))


def test_no_bits_are_black_and_eight_change_nothing(photo: Any) -> None:
    assert not np.asarray(apply(photo, "posterize", 0)).any()
    assert apply(photo, "posterize", 8) is photo


def test_every_operation_is_compared() -> None:
    assert set(TIMM) | set(TORCHVISION) | {"grey"} == set(OPERATIONS)
    assert set(GEOMETRIC) < set(OPERATIONS)


def test_no_operation_changes_the_size_of_a_real_photo(shared: Any) -> None:
    path: Path = next(shared("photos").glob("*.jpg"))
    image = Image.open(path).convert("RGB")
    for name, (_, value) in TIMM.items():
        done = apply(image, name, value or 0.0)
        assert (done.size, done.mode) == (image.size, "RGB")
