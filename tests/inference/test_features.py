"""Feature pyramids: timm's maps, at any size, of models from anywhere."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest

import keras_vitcnn as kv
from keras_vitcnn.models.registry import find
from tests import helpers

STRIDES = {"P2": 4, "P3": 8, "P4": 16, "P5": 32}
LEVELS = tuple(STRIDES)
# Designs of one stride; images of 16 px are 4 tokens of 4 px along a side (hybrid: of 16 px).
COLUMNAR = ("vit", "deit_distilled", "deit3", "vit_c", "convit")


def tiny(name: str, size: int | tuple[int, int] = 16, **options: Any) -> keras.Model:
    height, width = (size, size) if isinstance(size, int) else size
    model = kv.build(
        helpers.TINY[name],
        input_shape=(height, width, 3),
        **{"classes": 3, "name": name} | options,
    )
    helpers.randomize(model)
    return model


def maps(pyramid: keras.Model, images: np.ndarray) -> dict[str, np.ndarray]:
    return {key: helpers.to_numpy(x) for key, x in helpers.call(pyramid, images).items()}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ConvNeXtAtto", {"depths": (1, 1, 1, 1)}),
        ("ResNet18", {"layers": (1, 1, 1, 1)}),
        ("SwinTiny", {"depths": (1, 2, 1, 1)}),
    ],
)
def test_maps_strides_and_channels_are_those_of_timm(timm, name, arguments):
    import torch

    size = (65, 97) if name != "SwinTiny" else (96, 160)
    options = {"img_size": size} if name == "SwinTiny" else {}
    torch.manual_seed(0)
    row = find(name)
    reference = timm.create_model(row.timm[0], num_classes=0, **options, **arguments).eval()
    config = row.config
    if arguments:
        config = replace(config, depths=tuple(next(iter(arguments.values()))))
    model = kv.build(config, input_shape=(*size, 3), include_preprocessing=False, include_top=False)
    kv.load_weights(model, {k: v.numpy() for k, v in reference.state_dict().items()})
    pyramid = kv.features(model, LEVELS)

    info = {one["reduction"]: one["num_chs"] for one in reference.feature_info}
    assert pyramid.channels == {level: info[stride] for level, stride in STRIDES.items()}
    assert pyramid.strides == STRIDES

    images = np.random.default_rng(0).normal(size=(1, *size, 3)).astype("float32")
    with torch.inference_mode():
        chw = torch.from_numpy(images).permute(0, 3, 1, 2)
        expected = reference.forward_intermediates(chw, intermediates_only=True)
    found = maps(pyramid, images)
    for level, value in zip(LEVELS, expected[-4:], strict=True):
        value = value.permute(0, 2, 3, 1).numpy()
        assert found[level].shape == value.shape
        assert np.abs(found[level] - value).max() <= 1e-4 * max(1, np.abs(value).max())


@pytest.mark.parametrize("name", list(helpers.TINY))
def test_every_design_has_its_levels_at_any_image_size(name, tmp_path):
    """Built at one size, asked for another that no stride divides, saved and loaded again."""
    tiny(name, 32).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    own = "P4" if name == "hybrid" else "P2"
    levels = (own, "P5") if name in (*COLUMNAR, "hybrid") else ("P5",)
    pyramid = kv.features(loaded, levels, image_size=(37, 50))
    sides = {"P2": (10, 13), "P4": (3, 4), "P5": (2, 2)}
    assert pyramid.levels == levels
    assert pyramid.strides == {level: STRIDES[level] for level in levels}
    for level in levels:
        assert pyramid.output[level].shape == (None, *sides[level], pyramid.channels[level])


@pytest.mark.parametrize("name", ["convnext", "deit_distilled", "swin"])
def test_a_pyramid_is_saved_and_loaded(name, tmp_path):
    pyramid = kv.features(tiny(name, 32), ("P2", "P5"), image_size=(37, 50))
    pyramid.save(tmp_path / "pyramid.keras")
    again = keras.models.load_model(tmp_path / "pyramid.keras")
    for attribute in ("levels", "channels", "strides"):
        assert getattr(again, attribute) == getattr(pyramid, attribute)
    images = helpers.images(1, (37, 50))
    found, loaded = maps(pyramid, images), maps(again, images)
    for level in pyramid.levels:
        assert found[level].std() > 0
        np.testing.assert_allclose(loaded[level], found[level], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "remat"),
    [
        *[(name, False) for name in ("deit_distilled", "vit_c", "hybrid", "swin", "mobilevit")],
        *[(name, True) for name in ("convit", "swin", "mobilevit")],
    ],
)
def test_another_image_size_is_what_loading_the_weights_there_gives(name, remat, tmp_path):
    """A file of weights loaded into a model built for a size is the older way to it."""
    model = tiny(name, 16, remat=remat)
    model.save_weights(tmp_path / "m.weights.h5")
    built = kv.build(
        helpers.TINY[name],
        input_shape=(32, 48, 3),
        classes=3,
        remat=remat,
        weights=tmp_path / "m.weights.h5",
    )
    resized = kv.inference.at_image_size(model, (32, 48))
    assert [layer.name for layer in resized.layers] == [layer.name for layer in built.layers]
    images = helpers.images(1, (32, 48))
    np.testing.assert_array_equal(helpers.outputs(resized, images), helpers.outputs(built, images))


def test_a_pyramid_of_one_stride():
    """The level of the tokens is the tokens; coarser ones are maxima of it (arXiv:2203.16527)."""
    model = tiny("convit", (16, 24), include_top=False)
    pyramid = kv.features(model, ("P0", "P1", "P2", "P3", "P4"))
    assert pyramid.channels == {"P0": 4, "P1": 8, "P2": 16, "P3": 16, "P4": 16}
    images = helpers.images(2, (16, 24))
    found = maps(pyramid, images)
    tokens = helpers.outputs(model, images)[:, 1:].reshape(2, 4, 6, 16)
    np.testing.assert_allclose(found["P2"], tokens, rtol=1e-5, atol=1e-5)
    pooled = tokens.reshape(2, 2, 2, 3, 2, 16).max(axis=(2, 4))
    np.testing.assert_allclose(found["P3"], pooled, rtol=1e-5, atol=1e-5)
    assert found["P4"].shape == (2, 1, 2, 16)
    # A transposed convolution whose stride is its kernel: each position becomes its own 2 x 2.
    kernel, bias = (np.asarray(w) for w in pyramid.get_layer("p1_up0").get_weights())
    up = np.einsum("bhwc,ijdc->bhiwjd", tokens, kernel).reshape(2, 8, 12, 8) + bias
    np.testing.assert_allclose(found["P1"], up, rtol=1e-4, atol=1e-4)


def test_tokens_of_14_pixels_have_strides_of_their_own():
    config = replace(helpers.TINY["vit"], patch_size=14)
    pyramid = kv.features(kv.build(config, input_shape=(28, 42, 3)))
    assert pyramid.strides == {"P2": 3.5, "P3": 7, "P4": 14, "P5": 28}
    assert pyramid.output["P2"].shape[1:3] == (8, 12)


def test_a_model_without_a_size_and_one_of_its_layers_share_weights():
    model = kv.build(helpers.TINY["convnext"], include_top=False)
    pyramid = kv.features(model, ("P1", "P2", "P3"))
    assert pyramid.strides == {"P1": 2, "P2": 4, "P3": 8}
    assert pyramid.output["P2"].shape[1:] == (None, None, 16)
    kernel = model.get_layer("stem_conv0").kernel
    assert any(weight is kernel for weight in pyramid.weights)


@pytest.fixture
def _channels_first():
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


@pytest.mark.usefixtures("_channels_first")
@pytest.mark.parametrize("name", ["convnext", "convit", "swin"])
def test_maps_have_the_layout_of_the_images(name):
    config = helpers.TINY[name]
    model = kv.build(config, input_shape=(3, 16, 16), classes=3)
    helpers.randomize(model)
    first = kv.features(model, ("P2",), image_size=(20, 18))
    columns = 4 if name == "convnext" else 5  # its kernel-sized strides round down
    assert first.output["P2"].shape == (None, first.channels["P2"], 5, columns)
    keras.config.set_image_data_format("channels_last")
    last = kv.features(tiny(name, 16), ("P2",), image_size=(20, 18))
    images = helpers.images(1, (20, 18))
    found = maps(first, images.transpose(0, 3, 1, 2))["P2"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found, maps(last, images)["P2"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("levels", "options", "message"),
    [
        (("C2",), {}, r"`levels` must be names such as 'P2'.*Received: levels=\('C2',\)"),
        ((), {}, "`levels` must be names"),
        (("P1",), {}, r"has the levels P2 to P3.*Received: levels=\('P1',\)"),
        (("P2",), {"image_size": (0, 4)}, r"`image_size`.*Received: image_size=\(0, 4\)"),
        (("P2",), {"image_size": (4.0, 4)}, "`image_size`"),
    ],
)
def test_wrong_arguments(levels, options, message):
    with pytest.raises(ValueError, match=message):
        kv.features(tiny("resnet"), levels, **options)


def test_a_model_from_elsewhere():
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(3, 3)])
    with pytest.raises(ValueError, match="must have the stages or patches"):
        kv.features(model)
