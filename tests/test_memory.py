"""A process that keeps its memory has it at hand in the next step."""

import sys

import pytest

from keras_vitcnn import memory
from tests import helpers

PAGES = 64 * 2**20 // 4096  # of the map below

STEPS = """
    import resource
    import keras
    import numpy as np
    from keras_vitcnn.training import keep_memory

    assert keep_memory() is True
    image = keras.Input((256, 256, 3))
    wide = keras.layers.Conv2D(32, 3, padding="same", activation="relu")(image)
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(wide * 2))
    images = np.ones((8, 256, 256, 3), "float32")

    def step():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        model.predict_on_batch(images)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    print([step() for _ in range(6)][-1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_no_page_is_cleared_again() -> None:
    assert int(helpers.run_python(STEPS).split()[-1]) < PAGES / 8


@pytest.mark.backend_independent
def test_a_c_library_without_such_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_c_library", lambda: None)
    assert memory.keep_memory() is False
    memory.trim_memory()
