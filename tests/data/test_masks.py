"""Photos with masks: pairs, crops that move both alike, the same on every machine."""

import numpy as np
import pytest
from PIL import Image

from keras_vitcnn.data import MaskBatches, mask_pairs

pytestmark = pytest.mark.backend_independent


@pytest.fixture
def folders(tmp_path):
    """Five photos whose red channel is their mask, ten times."""
    rng = np.random.default_rng(0)
    for name in ("photos", "masks"):
        (tmp_path / name).mkdir()
    for index in range(5):
        labels = rng.integers(0, 12, (6, 8)).astype("uint8").repeat(8, 0).repeat(8, 1)
        pixels = np.stack([10 * labels, np.full_like(labels, 9), labels], axis=-1)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{index}.png")
        Image.fromarray(labels).save(tmp_path / "masks" / f"{index}.png")
    return tmp_path / "photos", tmp_path / "masks"


def test_crops_move_photo_and_mask_alike(folders):
    batches = MaskBatches(mask_pairs(*folders), (40, 40), 2, ignore_class=11)
    assert len(batches) == 2
    agree, outside = [], 0
    for _ in range(4):
        for index in range(2):
            images, labels = batches[index]
            assert images.shape == (2, 40, 40, 3) and images.dtype == "uint8"
            assert labels.shape == (2, 40, 40) and labels.dtype == "int32"
            black = images[..., 1] < 5  # beyond the photo; its rim mixes when scaled
            assert set(labels[black]) <= {11}
            outside += black.sum()
            agree.append((np.abs(images[..., 0] - 10.0 * labels) <= 6)[~black].mean())
        batches.on_epoch_end()
    assert outside > 0, "a factor below one leaves something uncovered"
    assert np.mean(agree) > 0.7  # the rest lies between two labels


def test_epochs_differ_and_repeat(folders):
    first, second = (MaskBatches(mask_pairs(*folders), (40, 40), 2, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first[1][0], second[1][0])
    before = first[1][0]
    first.on_epoch_end()
    assert not np.array_equal(first[1][0], before)


def test_evaluation_sees_everything_once_in_order(folders):
    pairs = mask_pairs(*folders)
    batches = MaskBatches(pairs, (48, 64), 2, training=False)
    assert [len(batches[index][0]) for index in range(len(batches))] == [2, 2, 1]
    np.testing.assert_array_equal(batches[2][1][0], np.asarray(Image.open(pairs[4][1])))
    np.testing.assert_array_equal(batches[2][0][0], np.asarray(Image.open(pairs[4][0])))


def test_wrong_files(folders, tmp_path):
    photos, masks = folders
    with pytest.raises(ValueError, match="batch_size=6"):
        MaskBatches(mask_pairs(photos, masks), (8, 8), 6)
    Image.new("L", (3, 3)).save(masks / "0.png")
    with pytest.raises(ValueError, match=r"same size, not \(64, 48\) and \(3, 3\)"):
        MaskBatches(mask_pairs(photos, masks), (8, 8), 5, training=False)[0]
    (masks / "3.png").unlink()
    with pytest.raises(ValueError, match="1 photos have no mask, the first is '3'"):
        mask_pairs(photos, masks)
    with pytest.raises(ValueError, match="holds no images"):
        mask_pairs(photos, tmp_path / "nowhere")
