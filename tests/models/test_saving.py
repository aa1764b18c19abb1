"""What one process saves, a fresh one that only imports the library loads, on any backend."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import keras_vitcnn as kv
from keras_vitcnn.models.registry import VARIANTS
from tests import helpers

SIZE = 32
OPTIONS = {
    "classes": 7,
    "classifier_activation": None,
    "drop_path_rate": 0.2,
    "dropout_rate": 0.1,
    "input_shape": (SIZE, SIZE, 3),
}
# Who loads what a backend saved: itself, and one other, so that each is loaded from by another.
OTHER = {"tensorflow": "torch", "torch": "jax", "jax": "tensorflow"}
OWN = keras.backend.backend()
LOADERS = [b for b in (OWN, OTHER[OWN]) if importlib.util.find_spec(b)]


def shrunk(config: Any) -> Any:
    """The same design with fewer and narrower blocks: what is left are its kinds of layers."""
    config, _ = kv.models.adapt_to_image_size(config, SIZE)
    if helpers.needs_slim(config):
        return helpers.slim(config)
    if isinstance(config, kv.ConvNetConfig):
        depths = (1,) * (len(config.depths) - 1) + (2,)
        return replace(kv.models.scale_width(config, 16 / config.widths[0]), depths=depths)
    backbone = config.backbone and shrunk(config.backbone)
    local, joins = min(config.local_blocks, 2), min(config.class_token_block, 2)
    return replace(
        config,
        width=32,
        num_heads=4,
        depth=3,
        backbone=backbone,
        stem_widths=tuple(width // 4 for width in config.stem_widths),
        local_blocks=local,
        class_token_block=joins,
    )


def designs() -> dict[str, Any]:
    """One variant for each design that is left of the whole zoo after shrinking."""
    seen = {}
    for name, row in VARIANTS.items():
        seen.setdefault(shrunk(row.config), name)
    return {name: config for config, name in seen.items()}


LOAD = """
import json, sys
import numpy as np
import keras, keras_vitcnn
from tests import helpers
from pathlib import Path
folder = Path({folder!r})
images = np.load(folder / "images.npy")
errors = {{}}
for path in sorted(folder.glob("*.keras")):
    expected = np.load(path.with_suffix(".npy"))
    outputs = helpers.outputs(keras.models.load_model(path), images)
    errors[path.stem] = float(np.abs(outputs - expected).max() / max(1, np.abs(expected).max()))
print(json.dumps(errors))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every design, saved with random weights beside its outputs."""
    folder = tmp_path_factory.mktemp("saved")
    images = helpers.images(2, SIZE)
    np.save(folder / "images.npy", images)
    for name, config in designs().items():
        remat = name in ("ResNet18", "ConvNeXtAtto", "ViTTiny16", "EfficientNetB0", "SwinTiny")
        model = kv.build(config, name=name, remat=remat, **OPTIONS)
        helpers.randomize(model)
        model.save(folder / f"{name}.keras")
        np.save(folder / f"{name}.npy", helpers.outputs(model, images))
    return folder


@pytest.mark.parametrize("backend", LOADERS)
def test_keras_files_load_in_a_fresh_process(saved: Path, backend: str) -> None:
    printed = helpers.run_python(LOAD.format(folder=str(saved)), backend=backend)
    errors = json.loads(printed.splitlines()[-1])
    assert errors.keys() == designs().keys()
    assert max(errors.values()) <= 1e-4, errors


def test_weights_files_round_trip(tmp_path: Path) -> None:
    for name, config in designs().items():
        model = kv.build(config, **OPTIONS)
        helpers.randomize(model)
        path = tmp_path / f"{name}.weights.h5"
        model.save_weights(path)
        again = kv.build(config, weights=path, **OPTIONS)
        saved, loaded = (
            {v.path: keras.ops.convert_to_numpy(v) for v in m.weights} for m in (model, again)
        )
        assert saved.keys() == loaded.keys(), name
        assert all(np.array_equal(saved[path], loaded[path]) for path in saved), name


def test_weights_pass_between_a_plain_and_a_rematerialised_model() -> None:
    config = designs()["ConvNeXtAtto"]
    plain, remat = (kv.build(config, remat=flag, **OPTIONS) for flag in (False, True))
    helpers.randomize(plain)
    remat.set_weights(plain.get_weights())
    images = helpers.images(2, SIZE)
    assert np.allclose(helpers.outputs(plain, images), helpers.outputs(remat, images))


def test_dtype_policies_survive_saving(tmp_path: Path) -> None:
    model = kv.build(designs()["ConvNeXtAtto"], dtype="mixed_bfloat16", **OPTIONS)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    # The first layer is the input, to which Keras gives the policy of the moment.
    policies = [[layer.compute_dtype for layer in m.layers[1:]] for m in (model, again)]
    assert policies[0] == policies[1]
    assert again.get_layer("stage0_block0_dw").compute_dtype == "bfloat16"
