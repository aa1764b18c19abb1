"""Maps are resized as PyTorch does it (bilinear, not antialiased)."""

import numpy as np
import pytest

from keras_vitcnn.layers import ResizeMap
from tests.helpers import call, to_numpy


@pytest.mark.parametrize(("old", "new"), [((5, 7), (12, 9)), ((8, 6), (3, 1)), ((4, 4), (4, 4))])
def test_resizing_is_pytorchs(old, new):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(2, *old, 3)).astype("float32")
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(x).permute(0, 3, 1, 2), size=new, mode="bilinear", align_corners=False
    )
    found = to_numpy(call(ResizeMap(new), x))
    np.testing.assert_allclose(found, expected.permute(0, 2, 3, 1).numpy(), rtol=1e-5, atol=1e-6)
