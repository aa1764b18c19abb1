"""KerasCV's RandAugment as a policy: an image's draw depends on nothing but its own generator."""

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from keras_vitcnn import data, training
from keras_vitcnn.data.augmentation import Augmentation
from keras_vitcnn.data.batches import TrainBatches
from keras_vitcnn.data.keras_cv import KerasCV

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype("uint8"))


@pytest.fixture(scope="module")
def policy() -> KerasCV:
    for package in ("keras_cv", "tensorflow"):
        pytest.importorskip(package, reason="comes with the extra keras-cv")
    return KerasCV()


def pictures(policy: KerasCV, seeds: list[int]) -> list[np.ndarray]:
    return [np.asarray(policy(PHOTO, np.random.default_rng(seed))) for seed in seeds]


def test_an_image_is_drawn_from_its_own_seed(policy):
    first = pictures(policy, [1, 2, 3, 4])
    assert all(one.shape == (24, 24, 3) and one.dtype == np.uint8 for one in first)
    assert len({one.tobytes() for one in first}) == 4
    for one, again in zip(first, pictures(policy, [4, 3, 2, 1])[::-1], strict=True):
        np.testing.assert_array_equal(one, again)


def test_threads_do_not_disturb_each_other(policy):
    seeds = list(range(16))
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: pictures(policy, [seed])[0], seeds))
    for one, alone in zip(together, pictures(policy, seeds), strict=True):
        np.testing.assert_array_equal(one, alone)


def test_a_resumed_training_sees_the_same_batches(policy):
    split = data.load("digits", limit_train=40).train
    augmentation = Augmentation(policy="keras-cv")
    whole, rest = (
        TrainBatches(
            split, classes=10, batch_size=8, start=start, stop=5, augmentation=augmentation
        )
        for start in (0, 3)
    )
    for index in range(2):
        np.testing.assert_array_equal(whole[3 + index][0], rest[index][0])
    assert (whole[0][0] != whole[1][0]).any()


@pytest.mark.backend_independent
@pytest.mark.parametrize("package", ["keras_cv", "tensorflow"])
def test_what_is_missing_is_named(package, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else found(name)
    )
    with pytest.raises(ImportError, match=rf"{package} is not installed.*keras-cv"):
        KerasCV()


@pytest.mark.backend_independent
def test_a_recipe_takes_it(policy):
    assert replace(training.recipe("convnext-300"), policy="keras-cv").policy == "keras-cv"
