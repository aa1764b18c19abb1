"""Segmentation: heads on any backbone, the loss of PyTorch, mIoU by hand, windows that agree."""

from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_vitcnn as kv
from keras_vitcnn.inference import (
    PixelCrossentropy,
    class_weights,
    mean_iou,
    overlay,
    palette,
    segmenter,
    sliding_window,
)
from tests import helpers

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(2, 5, 7, 4)).astype("float32") * 3
LABELS = RNG.integers(0, 5, (2, 5, 7))  # 4 is nobody's class
STRIDES_OF_4_TO_32 = {"depths": (1, 1, 1, 1), "widths": (8, 8, 16, 16), "strides": (1, 2, 2, 2)}


def backbone(name, size=(32, 32)):
    config = helpers.TINY[name]
    if name == "convnext":
        config = replace(config, **STRIDES_OF_4_TO_32, stem_stride=4)
    if name == "swin":
        config = replace(
            config, depths=(1, 1, 1, 1), widths=(8, 8, 8, 8), num_heads=(2,) * 4, stem_stride=4
        )
    return kv.build(config, input_shape=(*size, 3), include_top=False, name=name)


@pytest.mark.parametrize(
    ("head", "name"), [("fpn", "convnext"), ("upernet", "vit"), ("upernet", "swin")]
)
def test_every_pixel_has_logits_at_any_size_and_after_saving(head, name, tmp_path):
    model = segmenter(backbone(name), 3, head, image_size=(37, 50), width=4)
    helpers.randomize(model)
    assert model.output_shape == (None, 37, 50, 3)
    images = helpers.images(1, (37, 50))
    found = helpers.outputs(model, images)
    assert found.std(axis=(1, 2)).min() > 0
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(helpers.outputs(again, images), found, rtol=1e-4, atol=1e-4)


def test_published_widths():
    """Panoptic FPN: 256 in the pyramid, 128 behind; UPerNet: 512 throughout."""
    fpn = segmenter(backbone("convnext"), 3)
    assert fpn.get_layer("fpn_p5_lateral").filters == 256
    assert fpn.get_layer("fpn_p5_block2_conv").filters == 128
    assert not [one for one in fpn.layers if one.name == "fpn_p5_block3_conv"]
    upernet = segmenter(backbone("convnext"), 3, "upernet")
    assert {upernet.get_layer(f"pool{bins}_conv").filters for bins in (1, 2, 3, 6)} == {512}
    # Four maps of 512, and the four pooled ones beside the last map itself.
    assert upernet.get_layer("fpn_concat").output.shape[-1] == 4 * 512
    assert upernet.get_layer("pool_concat").output.shape[-1] == 4 * 512 + 16


def test_pooling_is_pytorchs():
    torch = pytest.importorskip("torch")
    x = RNG.normal(size=(1, 5, 7, 2)).astype("float32")
    layer = keras.layers.AdaptiveAveragePooling2D((3, 6), data_format="channels_last")
    expected = torch.nn.functional.adaptive_avg_pool2d(
        torch.from_numpy(x).permute(0, 3, 1, 2), (3, 6)
    )
    found = helpers.to_numpy(layer(x))
    np.testing.assert_allclose(found, expected.permute(0, 2, 3, 1).numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weights", [None, [1.0, 0.5, 0.0, 7.0]])
@pytest.mark.parametrize("ignored", [None, 1])
def test_loss_is_that_of_pytorch(weights, ignored):
    torch = pytest.importorskip("torch")
    labels = np.where((LABELS == 4) | (ignored == LABELS), -100, LABELS)
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(LOGITS).permute(0, 3, 1, 2),
        torch.from_numpy(labels),
        weight=None if weights is None else torch.tensor(weights),
    )
    loss = PixelCrossentropy(weights, ignored)
    assert float(loss(LABELS, LOGITS)) == pytest.approx(float(expected), rel=1e-5)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert float(again(LABELS, LOGITS)) == float(loss(LABELS, LOGITS))


def test_nothing_but_ignored_pixels_costs_nothing():
    assert float(PixelCrossentropy(ignore_class=2)(np.full_like(LABELS, 2), LOGITS)) == 0


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")  # Keras' own on JAX
def test_mean_iou_over_two_batches():
    metric = mean_iou(4, ignore_class=4)
    for row in range(2):
        metric.update_state(LABELS[row : row + 1], LOGITS[row : row + 1])
    predicted, counted = LOGITS.argmax(axis=-1), LABELS != 4
    scores = []
    for label in range(4):
        a, b = (predicted == label) & counted, (label == LABELS) & counted
        scores.append((a & b).sum() / (a | b).sum())
    assert float(metric.result()) == pytest.approx(np.mean(scores), rel=1e-5)


@pytest.mark.backend_independent
def test_weights_of_rare_classes():
    """Frequencies 3/4 and 1/4 in one image, 1 of the third class in another: 1/3, 1, ..."""
    masks = [np.array([[0, 0], [0, 1]]), np.array([[2, 2], [9, -1]])]
    np.testing.assert_allclose(class_weights(masks, 3), [1, 3, 3 / 4])
    with pytest.raises(ValueError, match=r"lack the class 3.*Received: classes=4"):
        class_weights(masks, 4)


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")
def test_a_segmenter_learns_its_picture():
    """Left half one class, right half another; the edge between them is ignored."""
    keras.utils.set_random_seed(1)
    model = segmenter(backbone("vit"), 2, width=8)
    images = np.zeros((2, 32, 32, 3), "uint8")
    images[0, :, :16], images[1, :, 16:] = 255, 255
    labels = (images[..., 0] > 0).astype("int32")
    labels[:, :, 15:17] = 9
    model.compile(keras.optimizers.Adam(3e-3), PixelCrossentropy(ignore_class=9))
    model.fit(images, labels, epochs=30, batch_size=2, verbose=0)
    metric = mean_iou(2, ignore_class=9)
    metric.update_state(labels, helpers.call(model, images))
    assert float(metric.result()) > 0.9


class Brightness(keras.layers.Layer):
    """Logits of a pixel that depend on nothing else."""

    def call(self, x):
        x = keras.ops.cast(x, "float32")
        return x[..., :2] / 64


@pytest.mark.parametrize("size", [(8, 8), (8, 21), (13, 9), (5, 6)])
@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_windows_of_a_model_of_single_pixels_agree_with_the_whole(size, overlap):
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, Brightness()(inputs))
    image = helpers.images(1, size)[0]
    powers = np.exp(image[..., :2].astype("float64") / 64)
    expected = powers / powers.sum(axis=-1, keepdims=True)
    found = sliding_window(model, image, overlap, batch_size=3)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.backend_independent
def test_colours():
    """Those of PASCAL VOC: aeroplane is dark red, bicycle dark green, cat (8) a darker red."""
    np.testing.assert_array_equal(
        palette(8)[[0, 1, 2, 7]], [[128, 0, 0], [0, 128, 0], [128, 128, 0], [64, 0, 0]]
    )
    assert len({tuple(colour) for colour in palette(255)}) == 255
    image = np.full((1, 3, 3), 100, "uint8")
    found = overlay(image, np.array([[0, 1, 7]]), np.array([[0, 0, 0], [200, 100, 0]]), 0.5)
    np.testing.assert_array_equal(found, [[[50] * 3, [150, 100, 50], [100] * 3]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"head": "psp"}, r"`head` must be one of \['fpn', 'upernet'\]. Received: head='psp'"),
        ({"classes": 1}, "two or more. Received: classes=1"),
        ({"width": 0}, "`width` must be positive integers. Received: width=0"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        segmenter(backbone("vit"), **{"classes": 2} | arguments)


def test_a_backbone_without_a_size():
    sizeless = kv.build(helpers.TINY["resnet"], include_top=False)
    with pytest.raises(ValueError, match="has the levels"):
        coarse = replace(helpers.TINY["convnext"], stem_stride=8)
        segmenter(kv.build(coarse, input_shape=(32, 32, 3)), 2)
    with pytest.raises(ValueError, match="needs a fixed image size"):
        segmenter(sizeless, 2)
    with pytest.raises(ValueError, match="`overlap` must be in"):
        sliding_window(segmenter(backbone("vit"), 2, width=4), helpers.images(1)[0], 1.0)
    with pytest.raises(ValueError, match=r"must be non-negative.*Received: class_weights="):
        PixelCrossentropy([-1.0, 2.0])
