"""The three kinds of data, and what is said about bad ones."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from keras_vitcnn.data import LazyImages, load, stratified, train_val_split

pytestmark = pytest.mark.backend_independent


def test_stratified_choices_keep_shares_and_nest() -> None:
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    small, large = stratified(labels, 16, seed=3), stratified(labels, 32, seed=3)
    np.testing.assert_array_equal(np.bincount(labels[small]), [10, 5, 1])
    np.testing.assert_array_equal(np.bincount(labels[large]), [20, 10, 2])
    assert set(small) <= set(large)
    assert set(small) != set(stratified(labels, 16, seed=4))


def test_no_class_is_lost_by_a_choice_or_a_split() -> None:
    labels = np.repeat([0, 1, 2], [1000, 2, 2])
    assert set(labels[stratified(labels, 3)]) == {0, 1, 2}
    train, val = train_val_split(labels)
    assert set(labels[train]) == set(labels[val]) == {0, 1, 2}
    assert sorted([*train, *val]) == list(range(len(labels)))


def test_digits() -> None:
    digits = load("digits")
    assert len(digits.train) + len(digits.val) == 1797
    assert digits.train.images.shape[1:] == (16, 16, 3)
    assert digits.train.images.dtype == np.uint8
    assert digits.train.images.max() == 255
    assert digits.class_names == tuple("0123456789")
    assert not digits.flip
    share = np.bincount(digits.val.labels) / np.bincount(digits.train.labels)
    assert np.ptp(share) < 0.02
    again = load("digits")
    np.testing.assert_array_equal(again.val.images, digits.val.images)
    assert again.fingerprint == digits.fingerprint


def test_the_8_by_8_scans_are_untouched_at_their_own_size() -> None:
    from sklearn.datasets import load_digits

    small = load("digits", image_size=8)
    known = {(image * 255 / 16).round().astype("uint8").tobytes() for image in load_digits().images}
    assert all(image[..., 0].tobytes() in known for image in small.val.images)


def test_limits_are_stratified() -> None:
    digits = load("digits", limit_train=50, limit_val=20)
    np.testing.assert_array_equal(np.bincount(digits.train.labels), [5] * 10)
    np.testing.assert_array_equal(np.bincount(digits.val.labels), [2] * 10)


def test_a_folder_is_split(image_folder: Callable[..., Path]) -> None:
    photos = load(image_folder(cat=10, dog=5), image_size=8)
    assert photos.class_names == ("cat", "dog")
    assert photos.flip
    np.testing.assert_array_equal(np.bincount(photos.train.labels), [8, 4])
    np.testing.assert_array_equal(np.bincount(photos.val.labels), [2, 1])
    seen = [{int(image[0, 0, 0]) for image in split.images} for split in (photos.train, photos.val)]
    assert not seen[0] & seen[1]
    assert seen[0] | seen[1] == {*range(10), *range(100, 105)}
    for split in (photos.train, photos.val):  # every image lies under its own label
        np.testing.assert_array_equal(split.images[:, 0, 0, 0] // 100, split.labels)


@pytest.mark.parametrize("second", ["val", "test"])
def test_given_splits_are_kept(image_folder: Callable[..., Path], second: str) -> None:
    image_folder("photos/train", cat=3, dog=4)
    image_folder(f"photos/{second}", cat=1, dog=2)
    photos = load(image_folder(), image_size=8)
    assert (len(photos.train), len(photos.val)) == (7, 3)


def test_a_large_folder_is_decoded_batch_by_batch(image_folder: Callable[..., Path]) -> None:
    path = image_folder(cat=5, dog=5)
    lazy = load(path, image_size=8, memory_budget=100)
    assert isinstance(lazy.train.images, LazyImages)
    eager = load(path, image_size=8)
    rows = np.arange(len(eager.train))
    np.testing.assert_array_equal(lazy.train.images[rows], eager.train.images)


def test_other_files_are_not_in_the_way(image_folder: Callable[..., Path]) -> None:
    path = image_folder(cat=3, dog=3)
    (path / "README.txt").write_text("hello")
    (path / "cat" / "Thumbs.db").write_bytes(b"x")
    (path / "cat" / "._0.png").write_bytes(b"x")
    (path / ".cache").mkdir()
    photos = load(path)
    assert len(photos.train) + len(photos.val) == 6


def test_the_fingerprint_follows_the_files(image_folder: Callable[..., Path]) -> None:
    path = image_folder(cat=3, dog=3)
    before = load(path).fingerprint
    assert load(path).fingerprint == before
    shutil.copy(path / "cat" / "0.png", path / "cat" / "more.png")
    assert load(path).fingerprint != before


def test_corrupt_images_are_named_or_skipped_and_counted(
    image_folder: Callable[..., Path],
) -> None:
    path = image_folder(cat=6, dog=6)
    broken = [path / "cat" / "1.png", path / "dog" / "2.png", path / "dog" / "4.png"]
    for file in broken:
        file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"cat.1\.png.*and so are 2 more.*skip_bad_images"):
        load(path)
    photos = load(path, skip_bad_images=True)
    assert photos.skipped == tuple(broken)
    assert len(photos.train) + len(photos.val) == 9
    assert "3 unreadable files" in photos.description


def test_a_class_of_corrupt_images_only_is_an_error(image_folder: Callable[..., Path]) -> None:
    path = image_folder(cat=2, dog=2)
    for file in (path / "dog").iterdir():
        file.write_bytes(b"")
    with pytest.raises(ValueError, match=r"dog.*no readable images"):
        load(path, skip_bad_images=True)


def test_bad_folders(image_folder: Callable[..., Path], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    (tmp_path / "empty").mkdir()
    lone = image_folder("lone", cat=3)
    hollow = image_folder("hollow", cat=3, dog=0)
    single = image_folder("single", cat=3, dog=1)
    image_folder("uneven/train", cat=2, dog=2)
    image_folder("uneven/val", cat=2, bird=2)
    for path, message in {
        tmp_path / "nowhere": "does not exist",
        file: "is not a folder",
        tmp_path / "empty": "no sub-folders",
        lone: "one class, 'cat'",
        hollow: "dog' has no readable images",
        single: "dog' has 1 readable image .*needs 2",
        tmp_path / "uneven": "class 'bird' that train/ lacks",
    }.items():
        with pytest.raises(ValueError, match=message) as caught:
            load(path)
        assert "\n" not in str(caught.value)
        assert str(caught.value).endswith(f"Received: data={str(path)!r}")


def test_bad_sizes_and_limits() -> None:
    with pytest.raises(ValueError, match="image_size=0"):
        load("digits", image_size=0)
    with pytest.raises(ValueError, match=r"number of classes, 10.*limit_train=9"):
        load("digits", limit_train=9)


def test_flip_is_off_where_a_mirrored_image_is_another_class(
    image_folder: Callable[..., Path],
) -> None:
    assert not load(image_folder("turns", left=2, right=2)).flip
    assert not load(image_folder("glyphs", a=2, b=2)).flip
    assert load(image_folder("glyphs2", a=2, b=2), flip=True).flip
    assert not load(image_folder("street_signs", stop=2, give_way=2)).flip
