"""Erasing, mixup and cutmix: what they do to pixels and labels."""

import numpy as np
import pytest

from keras_vitcnn.data.mixing import erase, mix
from keras_vitcnn.layers.image_normalization import IMAGENET_MEAN, IMAGENET_STD

pytestmark = pytest.mark.backend_independent


@pytest.fixture
def batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, (6, 16, 20, 3)).astype("float32"), np.eye(6, dtype="float32")


def test_erased_rectangles_are_noise_in_normalised_terms() -> None:
    rng = np.random.default_rng(0)
    noise, shares = [], []
    for _ in range(200):
        image = np.full((32, 40, 3), -1000.0, "float32")
        erase(image, rng)
        hit = (image != -1000).all(axis=-1)
        rows, columns = np.flatnonzero(hit.any(axis=1)), np.flatnonzero(hit.any(axis=0))
        assert hit.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1), "one rectangle"
        shares.append(hit.mean())
        noise.append(image[hit])
    normal = (np.concatenate(noise) / 255 - IMAGENET_MEAN) / IMAGENET_STD
    np.testing.assert_allclose(normal.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(normal.std(axis=0), 1, atol=0.02)
    assert 0.015 < min(shares) < 0.03
    assert 0.3 < max(shares) < 0.345


def test_mixup_is_one_ratio_for_images_and_labels(batch: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = batch
    mixed, soft = mix(images.copy(), labels, np.random.default_rng(1), mixup=0.8, cutmix=0.0)
    ratio = soft[0, 0]
    assert 0 < ratio < 1
    np.testing.assert_allclose(soft, ratio * labels + (1 - ratio) * labels[::-1], atol=1e-6)
    np.testing.assert_allclose(mixed, ratio * images + (1 - ratio) * images[::-1], atol=1e-3)
    assert mixed.dtype == soft.dtype == np.float32


def test_cutmix_s_labels_are_its_areas(batch: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = batch
    for seed in range(20):
        mixed, soft = mix(images.copy(), labels, np.random.default_rng(seed), mixup=0.0, cutmix=1.0)
        foreign = (mixed != images).all(axis=-1)
        assert (foreign == foreign[0]).all(), "the same box in every image"
        np.testing.assert_array_equal(mixed, np.where(foreign[..., None], images[::-1], images))
        np.testing.assert_allclose(soft[0], [1 - foreign[0].mean(), 0, 0, 0, 0, foreign[0].mean()])
    np.testing.assert_allclose(soft.sum(axis=1), 1, rtol=1e-6)


def test_the_switch(batch: tuple[np.ndarray, np.ndarray]) -> None:
    cut = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        mixed, _ = mix(batch[0].copy(), batch[1], rng, mixup=0.8, cutmix=1.0, switch=0.25)
        cut.append(np.isin(mixed, batch[0]).all())
    assert np.mean(cut) == pytest.approx(0.25, abs=0.07)


def test_nothing_asked_nothing_mixed(batch: tuple[np.ndarray, np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    for options in ({"mixup": 0.0, "cutmix": 0.0}, {"mixup": 1.0, "cutmix": 1.0, "probability": 0}):
        images, labels = mix(*batch, rng, **options)
        assert images is batch[0]
        assert labels is batch[1]


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0])
def test_ratios_follow_the_beta_distribution(
    batch: tuple[np.ndarray, np.ndarray], alpha: float
) -> None:
    ratios = [
        mix(*batch, np.random.default_rng(seed), mixup=alpha, cutmix=0.0)[1][0, 0]
        for seed in range(800)
    ]
    assert np.mean(ratios) == pytest.approx(0.5, abs=0.05)
    assert np.var(ratios) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.12)
