"""Crops of whole photos, jitter, and augmented batches: against torchvision, and by their seeds."""

import io
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from keras_vitcnn.data import Augmentation, Split, TrainBatches
from keras_vitcnn.data.augmentation import resized_crop_box
from keras_vitcnn.data.images import LazyImages, upright

pytestmark = pytest.mark.backend_independent

FULL = Augmentation(
    crop="resized",
    policy="rand-m9-mstd0.5-inc1",
    color_jitter=0.3,
    erasing=0.5,
    mixup=0.8,
    cutmix=1.0,
)


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth colours, as photos have them."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), "uint8")
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


@pytest.fixture
def split() -> Split:
    sources = [np.asarray(photo(40 + i, 30, i)) for i in range(20)]
    return Split(LazyImages(sources, 24), np.arange(20) % 4)


def batches(split: Split, augmentation: Augmentation, **options: Any) -> TrainBatches:
    arguments = {"classes": 4, "batch_size": 8, "start": 0, "stop": 9, "seed": 3, "flip": True}
    return TrainBatches(split, augmentation=augmentation, **(arguments | options))


def test_a_resized_crop_is_torchvision_s(timm: ModuleType) -> None:
    from torchvision.transforms import InterpolationMode, functional

    image = photo(90, 60)
    rng, same = np.random.default_rng(5), np.random.default_rng(5)
    left, top, right, bottom = resized_crop_box(90, 60, 0.08, same)
    ours = Augmentation(crop="resized").crop_photo(np.asarray(image), 32, rng)
    expected = functional.resized_crop(
        image, top, left, bottom - top, right - left, [32, 32], InterpolationMode.BICUBIC
    )
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(expected))


def test_boxes_are_distributed_as_torchvision_s(timm: ModuleType) -> None:
    from torchvision.transforms import RandomResizedCrop

    rng = np.random.default_rng(0)
    ours = np.array([resized_crop_box(90, 60, 0.08, rng) for _ in range(3000)])
    ours = np.stack([ours[:, 2] - ours[:, 0], ours[:, 3] - ours[:, 1], ours[:, 0], ours[:, 1]], 1)
    theirs = np.array(
        [
            RandomResizedCrop.get_params(photo(90, 60), [0.08, 1.0], [3 / 4, 4 / 3])
            for _ in range(3000)
        ]
    )[:, [3, 2, 1, 0]]  # top, left, height, width -> width, height, left, top
    for quantile in (0.1, 0.5, 0.9):
        difference = np.quantile(ours, quantile, axis=0) - np.quantile(theirs, quantile, axis=0)
        assert np.abs(difference).max() <= 3
    np.testing.assert_allclose(ours.std(axis=0), theirs.std(axis=0), rtol=0.08)


def test_an_image_that_no_box_fits_gives_its_centre() -> None:
    rng = np.random.default_rng(0)
    assert resized_crop_box(100, 10, 1.0, rng) == (43, 0, 56, 10)
    assert resized_crop_box(10, 100, 1.0, rng) == (0, 43, 10, 56)


def test_a_large_jpeg_is_decoded_small_and_looks_the_same() -> None:
    data = jpeg(photo(1600, 1200))
    assert upright(data, lambda width, height: 4).size == (400, 300)
    augmentation = Augmentation(crop="resized", min_area=0.9)
    fast = augmentation.crop_photo(data, 64, np.random.default_rng(0))
    full = np.asarray(Image.open(io.BytesIO(data)))
    slow = augmentation.crop_photo(full, 64, np.random.default_rng(0))
    difference = np.abs(np.asarray(fast).astype(int) - np.asarray(slow))
    assert difference.mean() < 1.5
    assert difference.max() < 12


def test_a_turned_photo_keeps_its_turn() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    data = jpeg(photo(120, 80), exif=exif)
    asked = []

    def half(*size: int) -> int:
        asked.append(size)
        return 2

    assert upright(data).size == (80, 120)
    assert upright(data, half).size == (40, 60)
    assert asked == [(80, 120)]
    cropped = Augmentation(crop="resized").crop_photo(data, 16, np.random.default_rng(0))
    assert cropped.size == (16, 16)


def test_simple_crops_hold_the_short_side() -> None:
    image = np.asarray(photo(60, 30))
    augmentation = Augmentation(crop="simple")
    resized = Image.fromarray(image).resize((32, 16), Image.Resampling.BICUBIC)
    padded = np.pad(np.asarray(resized), ((4, 4), (4, 4), (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (16, 16, 3))[:, :, 0]
    for seed in range(5):
        crop = np.asarray(augmentation.crop_photo(image, 16, np.random.default_rng(seed)))
        assert (windows == crop).all(axis=(2, 3, 4)).any()


def test_jitter_stays_in_reach(timm: ModuleType) -> None:
    from torchvision.transforms import functional

    image = photo(16, 16)
    mean = np.asarray(image).mean()
    means = [
        np.asarray(Augmentation(color_jitter=0.4).vary(image, np.random.default_rng(seed))).mean()
        for seed in range(200)
    ]
    bounds = [np.asarray(functional.adjust_brightness(image, f)).mean() for f in (0.6, 1.4)]
    assert bounds[0] - 4 <= min(means) < 0.75 * mean
    assert 1.2 * mean < max(means) <= bounds[1] + 4


def test_a_batch_is_the_same_whenever_and_wherever_it_is_made(split: Split) -> None:
    whole = batches(split, FULL)
    later = batches(split, FULL, start=5)
    for mine, theirs in zip(whole[6], later[1], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert whole[6][0].dtype == np.float32
    assert (whole[6][0] != batches(split, FULL, seed=4)[6][0]).any()
    assert (whole[6][0] != whole[7][0]).any()


@pytest.mark.parametrize("augmentation", [FULL, Augmentation(mixup=0.8)], ids=["photos", "shift"])
def test_processes_share_a_batch(split: Split, augmentation: Augmentation) -> None:
    images, labels = batches(split, augmentation)[4]
    parts = [batches(split, augmentation, part=(number, 2))[4] for number in range(2)]
    assert sorted(map(len, (parts[0][0], parts[1][0]))) == [4, 4]
    for (mine, soft), rows in zip(parts, ([0, 1, 6, 7], [2, 3, 4, 5]), strict=True):
        np.testing.assert_array_equal(mine, images[rows])
        np.testing.assert_array_equal(soft, labels[rows])
    with pytest.raises(ValueError, match=r"multiple of 6.*batch_size=8"):
        batches(split, augmentation, part=(0, 3))


def test_every_image_of_a_batch_has_draws_of_its_own() -> None:
    one = np.asarray(photo(24, 24))
    split = Split(np.stack([one] * 8), np.zeros(8, int))
    varied, _ = batches(
        split, Augmentation(translate=0.0, policy="rand-m5-mstd2-p1-inc1"), flip=False
    )[0]
    assert len({image.tobytes() for image in varied}) >= 6


def test_repeats_come_in_a_row_and_shorten_the_choice(split: Split) -> None:
    augmentation = Augmentation(repeats=3, translate=0.0)
    made = batches(split, augmentation)
    epoch = np.concatenate([made.chosen(step) for step in range(2)])
    assert len(set(epoch)) == 6
    np.testing.assert_array_equal(epoch[0:3], epoch[0].repeat(3))


def test_photos_are_mirrored_half_of_the_time() -> None:
    ramp = np.broadcast_to(np.arange(0, 240, 10, dtype="uint8")[None, :, None], (24, 24, 3))
    split = Split(LazyImages([ramp] * 64, 24), np.zeros(64, int))
    made = batches(split, Augmentation(crop="resized", min_area=0.5), batch_size=64)[0][0]
    mirrored = (made[:, :, 0, 0].astype(int) > made[:, :, -1, 0]).all(axis=1)
    assert 16 < mirrored.sum() < 48


@pytest.mark.parametrize(
    ("field", "value"),
    [("crop", "centre"), ("interpolation", "box"), ("erasing", 1.5), ("mixup", -1), ("repeats", 0)],
)
def test_bad_values(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"Received: {field}={value!r}"):
        Augmentation(**{field: value})
