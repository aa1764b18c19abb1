"""A process that keeps its memory has it at hand in the next step."""

import sys

import keras
import pytest

from keras_vitcnn import system
from tests import helpers

PAGES = 8 * 112 * 112 * 96 * 4 // 4096  # of the widest map below

STEPS = """
    import resource
    import keras
    import numpy as np
    from keras_vitcnn.training import keep_memory

    assert keep_memory() is True
    image = keras.Input((112, 112, 24))
    wide = keras.layers.Dense(96, activation="gelu")(image)
    narrow = keras.layers.Dense(24)(wide)
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(narrow * narrow))
    model.compile("sgd", "mse")
    images, targets = np.ones((8, 112, 112, 24), "float32"), np.zeros((8, 24), "float32")

    def step():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        model.train_on_batch(images, targets)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    print(min([step() for _ in range(8)][4:]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="keeps as little as this by itself"
)
def test_no_page_is_cleared_again() -> None:
    # A thread of pyarrow's, which pandas imports, has an arena at import already: threads of JAX
    # that come into that one keep blocks of more than 64 MB only.
    faults = helpers.run_python(STEPS, hidden={"pyarrow"})
    assert int(faults.split()[-1]) < PAGES / 8  # else more than PAGES


@pytest.mark.backend_independent
def test_a_c_library_without_such_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "_c_library", lambda: None)
    assert system.keep_memory() is False
    system.trim_memory()
