"""The points of a benchmark: what may be measured, and that it is refused before anything runs."""

import pytest

from keras_vitcnn.speed import Point, grid

pytestmark = pytest.mark.backend_independent


def test_a_grid_has_every_combination_once():
    points = grid(
        ["ConvNeXtTiny", "convnext_tiny", "ViTTiny16"],
        modes=("inference", "training"),
        batch_sizes=(1, 8),
        dtypes=("float32", "mixed_bfloat16"),
    )
    assert len(points) == len(set(points)) == 2 * 2 * 2 * 2, "two names of one model are one"
    assert points[0] == Point(model="ConvNeXtTiny", batch_size=1)
    assert str(points[0]) == "ConvNeXtTiny, inference, batch 1, 224 px, float32"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": ["ConvNetTiny"]}, "the nearest names are"),
        ({"models": []}, r"`models` must not be empty. Received: models=\[\]"),
        ({"modes": ["testing"]}, "Received: mode='testing'"),
        ({"dtypes": ["float64"]}, "Received: dtype='float64'"),
        ({"batch_sizes": [0]}, "Received: batch_size=0"),
        ({"image_sizes": [-1]}, "Received: image_size=-1"),
        ({"image_sizes": [50]}, "50"),  # no multiple of the patches' 16
        ({"jit": "maybe"}, "Received: jit='maybe'"),
    ],
)
def test_what_can_not_be_measured(options, message):
    with pytest.raises(ValueError, match=message):
        grid(**{"models": ["ViTTiny16"]} | options)
