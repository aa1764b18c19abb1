"""Every measurement has a picture; what it shows is read off matplotlib's own objects."""

import io

import numpy as np
import pytest

from keras_vitcnn import analysis
from keras_vitcnn.analysis import AttentionMap, ShiftConsistency

pytestmark = pytest.mark.backend_independent
RNG = np.random.default_rng(0)
PHOTOS = RNG.integers(0, 256, (2, 16, 24, 3), "uint8")
HEAT = RNG.random((2, 4, 6))
HEADS = {"block0_attn": np.array([0.1, 0.4]), "block1_attn": np.array([0.3, 0.9])}
GLOBAL = AttentionMap(weights=RNG.random((2, 3, 25, 25)), grid=(4, 6), pixels=4)
WINDOWS = AttentionMap(
    weights=RNG.random((2, 6, 3, 9, 9)), grid=(5, 8), pixels=4, window=(3, 3), shift=(1, 1)
)
SHIFTS = ShiftConsistency(distance=np.full((2, 4), 0.25), agreement=np.array([[1, 1, 0, 1]] * 2))


def images_of(axis):
    return [np.asarray(image.get_array()) for image in axis.images]


def test_heat_lies_over_its_photo():
    for plot in (analysis.plot_rollout, analysis.plot_grad_cam):
        axes = plot(PHOTOS, HEAT, ["one", "two"]).axes
        assert [axis.get_title() for axis in axes[:2]] == ["one", "two"]
        np.testing.assert_array_equal(images_of(axes[1])[0], PHOTOS[1])
        np.testing.assert_array_equal(images_of(axes[3])[1], HEAT[1])
        assert axes[3].images[1].get_extent() == [0, 24, 16, 0]


def test_attention_of_the_class_token():
    axes = analysis.plot_attention_maps({"a": GLOBAL, "b": GLOBAL}, PHOTOS, layer="a").axes
    assert len(axes) == 2 * 4
    found = images_of(axes[4 + 2])[1]  # second photo, second head
    np.testing.assert_array_equal(found, GLOBAL.weights[1, 1, 0, 1:].reshape(4, 6))


def test_attention_in_shifted_windows_lies_where_it_was():
    axes = analysis.plot_attention_maps({"a": WINDOWS}, PHOTOS, query=2).axes
    found = images_of(axes[1])[1]
    assert found.shape == (5, 8)
    # Position (1, 1) of the map lay at (0, 0) of the first window, (0, 0) at the end of the last.
    assert found[1, 1] == WINDOWS.weights[0, 0, 0, 2, 0]
    assert found[1, 4] == WINDOWS.weights[0, 1, 0, 2, 0]
    assert found[0, 0] == WINDOWS.weights[0, 5, 0, 2, 3 * 1 + 1]


def test_dots_of_heads():
    plots = (
        analysis.plot_gates,
        analysis.plot_head_locality,
        analysis.plot_mean_attention_distance,
    )
    for plot in plots:
        axis = plot(HEADS).axes[0]
        *dots, mean = [line.get_ydata() for line in axis.lines]
        np.testing.assert_array_equal(dots, list(HEADS.values()))
        np.testing.assert_allclose(mean, [0.25, 0.6])
        assert [label.get_text() for label in axis.get_xticklabels()] == ["block0", "block1"]


def test_bars_of_shifts():
    axes = analysis.plot_shift_consistency({"a": SHIFTS, "b": SHIFTS}).axes
    assert [[bar.get_width() for bar in axis.patches] for axis in axes] == [[25, 25], [25, 25]]


def test_field_in_decades():
    field = np.array([[1, 0.1], [1e-9, 0.01]])
    (image,) = analysis.plot_effective_receptive_field(field).axes[0].images
    np.testing.assert_allclose(image.get_array(), [[0, -1], [-3, -2]])


def test_a_figure_becomes_a_file():
    buffer = io.BytesIO()
    analysis.plot_rollout(PHOTOS, HEAT).savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")


def test_an_unknown_layer():
    with pytest.raises(ValueError, match=r"one of \['a'\]. Received: layer='b'"):
        analysis.plot_attention_maps({"a": GLOBAL}, PHOTOS, layer="b")
