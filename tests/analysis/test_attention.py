"""Attention matrices and what is made of them, against their definitions."""

from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_vitcnn as kv
from keras_vitcnn.analysis import AttentionMap
from tests import helpers

SIZES = {"vit": (16, 24), "deit_distilled": (16, 24), "convit": (16, 24), "swin": (16, 24)}


def tiny(name, size=None, config=None):
    size = size or SIZES[name]
    model = kv.build(config or helpers.TINY[name], input_shape=(*size, 3), classes=3, name=name)
    helpers.randomize(model)
    return model


@pytest.fixture(scope="module")
def maps():
    return {
        name: kv.analysis.attention_maps(tiny(name), helpers.images(2, size))
        for name, size in SIZES.items()
    }


def softmax(x):
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("name", list(SIZES))
def test_rows_sum_to_one(maps, name):
    for layer in maps[name].values():
        np.testing.assert_allclose(layer.weights.sum(axis=-1), 1, rtol=1e-5)


def test_names_grids_and_tokens_in_front(maps):
    assert list(maps["vit"]) == ["block0_attn", "block1_attn"]
    assert [one.prefix for one in maps["deit_distilled"].values()] == [2]
    assert [one.prefix for one in maps["convit"].values()] == [0, 1], "its class token joins late"
    assert {(one.grid, one.pixels) for one in maps["convit"].values()} == {((4, 6), 4)}
    swin = maps["swin"]
    assert [one.grid for one in swin.values()] == [(8, 12), (8, 12), (4, 6)]
    assert [one.pixels for one in swin.values()] == [2, 2, 4]
    assert [one.shift for one in swin.values()] == [(0, 0), (1, 1), (0, 0)]


def test_the_matrices_of_a_vit_are_its_softmaxes(maps):
    model = tiny("vit")
    qkv = helpers.to_numpy(
        helpers.call(
            keras.Model(model.input, model.get_layer("block1_qkv").output),
            helpers.images(2, SIZES["vit"]),
        )
    )
    heads = model.get_layer("block1_attn").num_heads
    query, key, _ = qkv.reshape(*qkv.shape[:2], 3, heads, -1).transpose(2, 0, 3, 1, 4)
    expected = softmax(query @ key.swapaxes(-1, -2) / query.shape[-1] ** 0.5)
    np.testing.assert_allclose(maps["vit"]["block1_attn"].weights, expected, atol=1e-5)


def test_windowed_matrices_times_values_are_the_output_of_the_layer():
    layer = tiny("swin").get_layer("stage0_block1_attn")
    qkv = np.random.default_rng(0).normal(size=(2, 9, 12, 24)).astype("float32")
    weights = helpers.to_numpy(helpers.call(layer.attention, qkv))
    value = qkv[..., 16:].reshape(2, 3, 3, 4, 3, 2, 4).transpose(0, 1, 3, 5, 2, 4, 6)
    y = weights.reshape(2, 3, 4, 2, 9, 9) @ value.reshape(2, 3, 4, 2, 9, 4)
    y = y.reshape(2, 3, 4, 2, 3, 3, 4).transpose(0, 1, 4, 2, 5, 3, 6).reshape(2, 9, 12, 8)
    np.testing.assert_allclose(helpers.to_numpy(helpers.call(layer, qkv)), y, atol=1e-5)


def square(layer):
    """The heads' mean attention between all positions of a Swin's map: (b, n, n)."""
    weights = layer.weights.mean(axis=2, dtype="float64")
    rows, columns = layer.grid
    padded = [
        -(-side // window) * window for side, window in zip(layer.grid, layer.window, strict=True)
    ]
    where = np.full(padded, -1)
    where[:rows, :columns] = np.roll(
        np.arange(rows * columns).reshape(rows, columns), [-by for by in layer.shift], (0, 1)
    )
    full = np.zeros((len(weights), rows * columns, rows * columns))
    index = 0
    for top in range(0, padded[0], layer.window[0]):
        for left in range(0, padded[1], layer.window[1]):
            own = where[top : top + layer.window[0], left : left + layer.window[1]].reshape(-1)
            for i, query in enumerate(own):
                for j, key in enumerate(own):
                    if query >= 0 and key >= 0:
                        full[:, query, key] = weights[:, index, i, j]
            index += 1
    return full


def test_rollout_of_a_vit_is_the_product_of_the_layers(maps):
    product = np.eye(1 + 24)
    for layer in maps["vit"].values():
        product = (layer.weights.mean(axis=1) + np.eye(25)) / 2 @ product
    expected = product[:, 0, 1:].reshape(2, 4, 6)
    np.testing.assert_allclose(kv.analysis.rollout(maps["vit"]), expected, rtol=1e-5)


def test_rollout_of_a_convit_begins_without_a_class_token(maps):
    first, second = (layer.weights.mean(axis=1) for layer in maps["convit"].values())
    joined = np.zeros((2, 25, 25))
    joined[:, 0, 0], joined[:, 1:, 1:] = 1, first
    product = (second + np.eye(25)) / 2 @ (joined + np.eye(25)) / 2
    expected = product[:, 0, 1:].reshape(2, 4, 6)
    np.testing.assert_allclose(kv.analysis.rollout(maps["convit"]), expected, rtol=1e-5)


def test_rollout_of_a_swin_goes_through_shifts_and_merging(maps):
    first, second, third = (square(layer) for layer in maps["swin"].values())
    merge = np.zeros((24, 96))
    for position in range(96):
        row, column = divmod(position, 12)
        merge[row // 2 * 6 + column // 2, position] = 1 / 4
    product = (third + np.eye(24)) / 2 @ merge @ (second + np.eye(96)) / 2 @ (first + np.eye(96))
    expected = (product / 2).mean(axis=1).reshape(2, 8, 12)
    np.testing.assert_allclose(kv.analysis.rollout(maps["swin"]), expected, rtol=1e-5)


@pytest.mark.backend_independent
def test_mean_attention_distance_of_known_attention():
    """Zero when all look at themselves; over a row of n, uniformly, (n^2 - 1) / 3n positions."""
    own = np.broadcast_to(np.eye(6), (2, 1, 6, 6))
    alike = np.full((2, 1, 6, 6), 1 / 6)
    layer = AttentionMap(weights=np.concatenate([own, alike], 1), grid=(1, 6), pixels=8)
    found = kv.analysis.mean_attention_distance({"layer": layer})["layer"]
    np.testing.assert_allclose(found, [0, 8 * 35 / 18])
    windows = np.broadcast_to(alike[:, None], (2, 4, 1, 6, 6))
    layer = AttentionMap(weights=windows, grid=(2, 12), pixels=8, window=(1, 6))
    found = kv.analysis.mean_attention_distance({"layer": layer})["layer"]
    np.testing.assert_allclose(found, [8 * 35 / 18])


def test_a_class_token_has_no_distance(maps):
    layer = maps["deit_distilled"]["block0_attn"]
    patches = layer.weights[:, :, 2:, 2:].astype("float64")
    patches /= patches.sum(axis=-1, keepdims=True)
    total = np.zeros(patches.shape[1])
    for query in range(24):
        for key in range(24):
            (qy, qx), (ky, kx) = divmod(query, 6), divmod(key, 6)
            total += 4 * np.hypot(qy - ky, qx - kx) * patches[:, :, query, key].mean(axis=0) / 24
    found = kv.analysis.mean_attention_distance({"layer": layer})["layer"]
    np.testing.assert_allclose(found, total, rtol=1e-6)


def test_gates_start_where_the_paper_starts_them():
    gates = kv.analysis.gates(kv.build(helpers.TINY["convit"], input_shape=(16, 16, 3)))
    assert list(gates) == ["block0_attn"]
    np.testing.assert_allclose(gates["block0_attn"], np.full(4, 1 / (1 + np.exp(-1))), rtol=1e-6)


def test_locality_of_a_strong_convolutional_start():
    """Each head then attends to the positions nearest its tap, alike where several are."""
    config = replace(helpers.TINY["convit"], locality_strength=60.0)
    found = kv.analysis.head_locality(kv.build(config, input_shape=(16, 16, 3)))["block0_attn"]
    positions = np.stack(np.divmod(np.arange(16), 4), axis=-1)
    taps = [(row, column) for column in (-0.5, 0.5) for row in (-0.5, 0.5)]
    expected = []
    for tap in taps:
        means = []
        for query in positions:
            to_tap = np.linalg.norm(positions - query - tap, axis=-1)
            nearest = positions[np.isclose(to_tap, to_tap.min())]
            means.append(np.linalg.norm(nearest - query, axis=-1).mean())
        expected.append(np.mean(means))
    assert 0.5 < min(expected) < max(expected) + 1e-9 < 0.9
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("function", "name", "message"),
    [
        ("gates", "vit", "must have layers of GatedPositionalSelfAttention.*Received: model='vit'"),
        ("head_locality", "vit", "must have layers of GatedPositionalSelfAttention"),
        ("attention_maps", "resnet", "must have layers of MultiHeadSelfAttention or"),
        ("attention_maps", "mobilevit", "MobileViT has no map"),
    ],
)
def test_models_without_such_layers(function, name, message):
    arguments = [] if function != "attention_maps" else [helpers.images(1)]
    with pytest.raises(ValueError, match=message):
        getattr(kv.analysis, function)(tiny(name, (16, 16)), *arguments)
