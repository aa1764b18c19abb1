"""Photos prepared as timm prepares them, and names for what a model says about them."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import keras_vitcnn as kv
from keras_vitcnn.data import class_names, decode_predictions, preprocess_for
from keras_vitcnn.data.preprocess import Preprocess
from keras_vitcnn.models.preprocessing import Preprocessing, attach
from tests import helpers

pytestmark = pytest.mark.backend_independent

SETTINGS = [
    Preprocessing(image_size=(224, 224), crop_pct=0.9),
    Preprocessing(image_size=(224, 224), crop_pct=0.875, interpolation="bilinear"),
    Preprocessing(image_size=(288, 288), crop_pct=1.0),
    Preprocessing(image_size=(192, 256), crop_pct=0.95),
    Preprocessing(image_size=(160, 160), crop_pct=1.0, crop_mode="squash"),
    Preprocessing(image_size=(224, 160), crop_pct=0.9, crop_mode="squash"),
    Preprocessing(image_size=(320, 320), crop_pct=0.94, crop_mode="border"),
    Preprocessing(image_size=(224, 320), crop_mode="border", mean=(0.5,) * 3, std=(0.5,) * 3),
]


def timm_transform(settings: Preprocessing, **options: Any) -> Any:
    from timm.data import create_transform

    return create_transform(
        input_size=(3, *settings.image_size),
        crop_pct=settings.crop_pct,
        crop_mode=settings.crop_mode,
        interpolation=settings.interpolation,
        mean=settings.mean,
        std=settings.std,
        **options,
    )


@pytest.fixture(scope="module")
def drawn() -> list[bytes]:
    """Images of awkward sizes, encoded: narrow, wide, smaller than any crop."""
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    encoded = []
    for size in [(301, 200), (200, 333), (256, 256), (97, 64), (500, 31)]:
        blocks = rng.integers(0, 256, (size[1] // 8 + 1, size[0] // 8 + 1, 3), "uint8")
        file = io.BytesIO()
        image.fromarray(blocks).resize(size, image.Resampling.BICUBIC).save(file, "PNG")
        encoded.append(file.getvalue())
    return encoded


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_every_pixel_is_timms(timm: Any, drawn: list[bytes], settings: Preprocessing) -> None:
    from PIL import Image

    pixels = timm_transform(settings, normalize=False)
    numbers = timm_transform(settings)
    for data in drawn:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        theirs = pixels(image).numpy().transpose(1, 2, 0)
        assert np.array_equal(Preprocess(settings=settings)(data), theirs)
        normalised = numbers(image).numpy().transpose(1, 2, 0)
        ours = Preprocess(settings=settings, normalize=True)(data)
        assert ours.dtype == np.float32
        assert np.abs(ours - normalised).max() <= 1e-6 * np.abs(normalised).max()


@pytest.mark.parametrize("settings", SETTINGS[:3], ids=str)
def test_every_pixel_of_real_photos_is_timms(
    timm: Any, shared: Callable[[str], Path], settings: Preprocessing
) -> None:
    from PIL import Image

    transform = timm_transform(settings, normalize=False)
    preprocess = Preprocess(settings=settings)
    files = sorted(shared("photos").glob("*.jpg"))
    assert len(files) == 400
    for file in files:
        theirs = transform(Image.open(file).convert("RGB")).numpy().transpose(1, 2, 0)
        assert np.array_equal(preprocess(file), theirs), file.name


def test_preprocess_for_a_model_of_another_size(drawn: list[bytes]) -> None:
    model = kv.build(helpers.TINY["convnext"], input_shape=(48, 64, 3))
    attach(model, Preprocessing(crop_pct=0.9, interpolation="bilinear", mean=(0.5,) * 3))
    preprocess = preprocess_for(model)
    assert preprocess.settings.image_size == (48, 64)
    assert (preprocess.settings.crop_pct, preprocess.settings.interpolation) == (0.9, "bilinear")
    batch = preprocess(drawn)
    assert (batch.shape, batch.dtype) == ((5, 48, 64, 3), np.dtype("uint8"))
    assert model.predict(batch, verbose=0).shape == (5, 1000)


def test_a_model_that_does_not_normalise_gets_normalised_images(drawn: list[bytes]) -> None:
    inside, outside = (
        kv.build(helpers.TINY["convnext"], input_shape=(32, 32, 3), include_preprocessing=flag)
        for flag in (True, False)
    )
    outside.set_weights(inside.get_weights())
    for model in (inside, outside):
        attach(model, Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.1)))
    a, b = (m.predict(preprocess_for(m)(drawn), verbose=0) for m in (inside, outside))
    assert np.abs(a - b).max() <= 1e-5


def test_normalisation_changes_in_a_model_that_has_predicted(drawn: list[bytes]) -> None:
    model = kv.build(helpers.TINY["convnext"], input_shape=(32, 32, 3))
    helpers.randomize(model)
    batch = preprocess_for(model)(drawn)
    before = model.predict(batch, verbose=0)
    attach(model, Preprocessing(mean=(0.1,) * 3, std=(0.9,) * 3))
    after = model.predict(batch, verbose=0)
    assert np.abs(after - before).max() > 1e-4
    fresh = kv.build(helpers.TINY["convnext"], input_shape=(32, 32, 3))
    fresh.set_weights(model.get_weights())
    attach(fresh, Preprocessing(mean=(0.1,) * 3, std=(0.9,) * 3))
    assert np.abs(fresh.predict(batch, verbose=0) - after).max() <= 1e-6


def test_channels_first_and_grey(drawn: list[bytes]) -> None:
    model = kv.build(helpers.TINY["convnext"], input_shape=(32, 32, 1))
    assert preprocess_for(model)(drawn[0]).shape == (32, 32, 1)
    keras.config.set_image_data_format("channels_first")
    try:
        model = kv.build(helpers.TINY["convnext"], input_shape=(3, 32, 48))
        assert preprocess_for(model)(drawn[:2]).shape == (2, 3, 32, 48)
    finally:
        keras.config.set_image_data_format("channels_last")
    with pytest.raises(ValueError, match="a model of 4 channels"):
        preprocess_for(kv.build(helpers.TINY["convnext"], input_shape=(32, 32, 4)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("crop_mode", "middle"),
        ("interpolation", "cubic"),
        ("crop_pct", 0),
        ("std", (0.1, 0.0, 0.1)),
        ("mean", (0.5,)),
        ("image_size", (224,)),
    ],
)
def test_settings_that_make_no_sense(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"`{name}` must be .*Received: {name}="):
        Preprocessing(**{name: value})


def test_class_names_are_imagenets(shared: Callable[[str], Path]) -> None:
    import json

    names = class_names()
    assert len(names) == 1000
    assert names[3] == ("n01491361", "tiger shark, Galeocerdo cuvieri")
    labels = json.loads((shared("photos") / "labels.json").read_text())
    assert all(names[index][0] == file.split("_")[0] for file, index in labels.items())


def test_decode_predictions() -> None:
    probs = np.zeros((2, 1000), "float32")
    probs[0, [7, 3, 9]] = 0.5, 0.3, 0.2
    probs[1, 999] = 1
    first, second = decode_predictions(probs, top=3)
    assert [p.id for p in first] == [class_names()[i][0] for i in (7, 3, 9)]
    assert [p.probability for p in first] == pytest.approx([0.5, 0.3, 0.2])
    assert second[0].name == class_names()[999][1]
    named = decode_predictions([[0.1, 0.9]], top=1, labels=("cat", "dog"))
    assert named == [[("1", "dog", 0.9)]]
    for wrong, message in [
        ((np.zeros(1000),), "shape"),
        ((np.zeros((1, 10)),), "1000 classes.*`labels`"),
        ((probs, 0), "`top` must be from 1 to 1000"),
    ]:
        with pytest.raises(ValueError, match=message):
            decode_predictions(*wrong)
