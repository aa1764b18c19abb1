"""Gradients against differences, Grad-CAM against its closed form, shifts against known models."""

from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_vitcnn as kv
from keras_vitcnn.analysis.gradients import input_gradient
from tests import helpers

DEIT = "weights/deit_tiny_patch16_224.safetensors"


def tiny(name, size=(16, 16), config=None, **options):
    model = kv.build(
        config or helpers.TINY[name],
        input_shape=(*size, 3),
        **{"classes": 3, "name": name} | options,
    )
    helpers.randomize(model)
    return model


@pytest.mark.parametrize("name", ["convnext", "convit", "mobilevit"])
def test_gradients_are_what_differences_say(name):
    model = tiny(name, classifier_activation=None)
    x = helpers.images(1).astype("float32")
    y, gradient = input_gradient(model, lambda y: y[:, 1], x)
    np.testing.assert_allclose(y, helpers.outputs(model, x), rtol=1e-4, atol=1e-4)
    direction = np.sign(gradient) * 2
    higher, lower = (helpers.outputs(model, x + sign * direction)[0, 1] for sign in (1, -1))
    assert (higher - lower) / 2 == pytest.approx((gradient * direction).sum(), rel=0.05)


def test_grad_cam_of_pooled_maps_is_the_class_activation_map():
    """With average pooling and a linear classifier the gradient is the classifier (section 3)."""
    model = tiny("resnet")
    images = helpers.images(2)
    maps = helpers.outputs(keras.Model(model.input, model.get_layer("pool").input), images)
    kernel = np.asarray(model.get_layer("head").get_weights()[0], "float64")
    for index, classes in enumerate([0, [1, 2], None]):
        wanted = [0, 0] if index == 0 else classes
        if classes is None:
            wanted = helpers.outputs(model, images).argmax(axis=-1)
        expected = np.maximum(
            np.einsum("bhwc,cb->bhw", maps, kernel[:, wanted]) / np.prod(maps.shape[1:3]), 0
        )
        assert expected.max() > 0
        found = kv.analysis.grad_cam(model, images, classes)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["vit", "deit_distilled", "convit", "swin", "mobilevit", "hybrid"])
def test_grad_cam_sees_something_in_every_family(name):
    size = (32, 32) if name == "hybrid" else (16, 24)
    model = tiny(name, size)
    images = helpers.images(1, size).repeat(3, axis=0)
    found = kv.analysis.grad_cam(model, images, [0, 1, 2])
    rows, columns = {"hybrid": (8, 8), "mobilevit": (4, 6), "swin": (4, 6)}.get(name, (4, 6))
    assert found.shape == (3, rows, columns)
    assert found.min() == 0 and found.max() > 0


def test_receptive_field_of_a_convnet_ends_where_its_kernels_end():
    """A patch stem of 2, a 3 x 3, a stride of 2 and a 3 x 3: 2 * (1 + 2 * (1 + 2)) = 14 pixels."""
    config = replace(helpers.TINY["convnext"], depths=(1, 1))
    model = tiny("convnext", (32, 32), config)
    field = kv.analysis.effective_receptive_field(model, helpers.images(2, 32))
    assert field.shape == (32, 32) and field.max() == 1
    rows, columns = (np.flatnonzero(field.max(axis=axis)) for axis in (1, 0))
    # Position 4 of 8 covers 16..19; its 3 x 3 12..23, and that of the stage before 2 px more.
    assert (rows[0], rows[-1]) == (columns[0], columns[-1]) == (10, 25)


def test_receptive_field_of_a_transformer_is_the_image():
    field = kv.analysis.effective_receptive_field(tiny("vit"), helpers.images(2))
    assert field.min() > 0


def test_a_classifier_that_looks_at_nothing_is_consistent():
    model = tiny("convnext")
    head = model.get_layer("head")
    head.set_weights([np.zeros_like(w) for w in head.get_weights()])
    result = kv.analysis.shift_consistency(model, helpers.images(3))
    assert result.distance.shape == result.agreement.shape == (3, 4)
    assert result.distance.max() == 0 and result.agreement.all()


def test_shifts_are_shifts():
    """Against images moved by hand, whose border repeats."""
    model = tiny("convnext")
    images = helpers.images(3)
    result = kv.analysis.shift_consistency(model, images, pixels=3)
    moved = np.concatenate([images[:, :, :1]] * 3 + [images[:, :, :-3]], axis=2)  # to the right
    before, after = helpers.outputs(model, images), helpers.outputs(model, moved)
    assert result.directions[3] == "right"
    np.testing.assert_allclose(
        result.distance[:, 3], np.abs(after - before).sum(axis=-1) / 2, rtol=1e-3, atol=1e-5
    )
    assert result.distance.min() > 0
    same = after.argmax(axis=-1) == before.argmax(axis=-1)
    np.testing.assert_array_equal(result.agreement[:, 3], same)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, x: kv.analysis.grad_cam(model, x, 3), r"from 0 to 2. Received: classes=3"),
        (lambda model, x: kv.analysis.grad_cam(model, x, 0.5), "must be integers"),
        (lambda model, x: kv.analysis.shift_consistency(model, x, 0), "Received: pixels=0"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(tiny("resnet"), helpers.images(1))


def test_models_that_lack_what_is_asked_for():
    headless = tiny("resnet", include_top=False, classes=3)
    with pytest.raises(ValueError, match="must have a classifier"):
        kv.analysis.grad_cam(headless, helpers.images(1))
    with pytest.raises(ValueError, match="without remat=True"):
        kv.analysis.grad_cam(tiny("vit", remat=True), helpers.images(1))
    sizeless = kv.build(helpers.TINY["resnet"], include_top=False)
    with pytest.raises(ValueError, match="must have a fixed image size"):
        kv.analysis.effective_receptive_field(sizeless, helpers.images(1))


def test_what_a_trained_model_shows_matters_to_it(shared):
    """Real photos: greying a fifth with most evidence costs more than one with least."""
    model = kv.DeiTTiny16(weights=shared(DEIT))
    photos = sorted(shared("photos").glob("*.jpg"))[::50]
    images = kv.data.preprocess_for(model)(photos)
    probabilities = model.predict(images, verbose=0)
    labels = probabilities.argmax(axis=-1)
    before = probabilities.max(axis=-1).mean()
    flow = kv.analysis.rollout(kv.analysis.attention_maps(model, images))
    for heat in (kv.analysis.grad_cam(model, images), flow):
        after = []
        for sign in (-1, 1):
            order = np.argsort(sign * heat.reshape(len(images), -1), axis=-1)[:, :39]
            mask = np.zeros((len(images), 196), bool)
            np.put_along_axis(mask, order, True, axis=1)
            mask = mask.reshape(-1, 14, 14).repeat(16, axis=1).repeat(16, axis=2)
            greyed = np.where(mask[..., None], np.uint8(124), images)
            after.append(model.predict(greyed, verbose=0)[np.arange(len(images)), labels].mean())
        assert after[0] < after[1] - 0.05, (before, after)
