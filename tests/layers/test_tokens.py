"""From maps to tokens: PatchEmbedding, ClassToken, PositionEmbedding."""

import keras
import numpy as np
import pytest

from keras_vitcnn.layers import ClassToken, PatchEmbedding, PositionEmbedding
from tests.helpers import call, randomize, to_numpy

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("height", "width"), [(6, 9), (8, 10)])
def test_patches_are_projected_row_by_row(height, width):
    x = RNG.normal(size=(2, height, width, 3))
    layer = PatchEmbedding(5, 3)
    layer(keras.Input(x.astype("float32").shape[1:]))
    randomize(layer)
    kernel, bias = (to_numpy(w) for w in layer.weights)
    rows, columns = height // 3, width // 3  # what does not fill a patch is dropped
    patches = x[:, : rows * 3, : columns * 3].reshape(2, rows, 3, columns, 3, 3)
    patches = patches.transpose(0, 1, 3, 2, 4, 5).reshape(2, rows * columns, 27)
    expected = patches @ kernel.reshape(27, 5) + bias
    np.testing.assert_allclose(to_numpy(call(layer, x.astype("float32"))), expected, atol=1e-5)


def test_class_token_comes_first_and_leaves_the_rest():
    x = RNG.normal(size=(4, 3, 5)).astype("float32")
    layer = ClassToken()
    layer(keras.Input(x.shape[1:]))
    y = to_numpy(call(layer, x))
    token = to_numpy(layer.weights[0])
    assert token.shape == (1, 1, 5)
    np.testing.assert_array_equal(y[:, :1], np.repeat(token, 4, axis=0))
    np.testing.assert_array_equal(y[:, 1:], x)


def model_with_positions(grid, prefix, width=4):
    tokens = keras.Input((prefix + grid[0] * grid[1], width))
    y = PositionEmbedding(grid, prefix_tokens=prefix, name="pos_embed")(tokens)
    return keras.Model(tokens, y)


def embedding_of(model):
    return to_numpy(model.get_layer("pos_embed").embedding)[0]


def test_positions_are_added():
    model = model_with_positions((2, 3), 1)
    randomize(model)
    x = RNG.normal(size=(3, 7, 4)).astype("float32")
    np.testing.assert_allclose(to_numpy(call(model, x)), x + embedding_of(model), atol=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "prefix"), [((4, 6), (6, 8), 0), ((8, 8), (3, 5), 1), ((4, 6), (6, 4), 2)]
)
def test_weights_of_another_grid_are_resized_as_pytorch_does(tmp_path, old, new, prefix):
    torch = pytest.importorskip("torch")
    source, target = model_with_positions(old, prefix), model_with_positions(new, prefix)
    randomize(source)
    source.save_weights(tmp_path / "old.weights.h5")
    target.load_weights(tmp_path / "old.weights.h5")

    learned = embedding_of(source)
    maps = torch.from_numpy(learned[prefix:].reshape(1, *old, 4)).permute(0, 3, 1, 2)
    maps = torch.nn.functional.interpolate(maps, new, mode="bicubic", antialias=True)
    expected = maps[0].permute(1, 2, 0).reshape(-1, 4).numpy()
    np.testing.assert_allclose(embedding_of(target)[prefix:], expected, atol=1e-5)
    np.testing.assert_array_equal(embedding_of(target)[:prefix], learned[:prefix])


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_weights_of_the_same_grid_are_loaded_unchanged(tmp_path, suffix):
    model = model_with_positions((3, 4), 1)
    randomize(model)
    path = tmp_path / f"model{suffix}"
    if suffix == ".keras":
        model.save(path)
        loaded = keras.saving.load_model(path)
    else:
        model.save_weights(path)
        loaded = model_with_positions((3, 4), 1)
        loaded.load_weights(path)
    np.testing.assert_array_equal(embedding_of(loaded), embedding_of(model))


def test_a_wrong_number_of_tokens_raises():
    with pytest.raises(ValueError, match=r"= 7 tokens\. Received: input_shape="):
        PositionEmbedding((2, 3), prefix_tokens=1)(np.zeros((1, 6, 4), "float32"))
