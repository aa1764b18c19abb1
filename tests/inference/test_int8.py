"""Quantized classifiers still classify, are smaller, and are not written where they don't."""

import keras
import numpy as np
import pytest
from PIL import Image

import keras_vitcnn as kv
from keras_vitcnn.cli import main
from keras_vitcnn.inference import export_int8, int8, run_exported
from tests import helpers

TORCH = keras.backend.backend() == "torch"
pytestmark = pytest.mark.filterwarnings("ignore")  # the converter's own


def tiny(name):
    model = kv.build(helpers.TINY[name], input_shape=(16, 16, 3), classes=3)
    helpers.randomize(model)
    return model


if TORCH:  # from which alone ONNX is written

    def test_weights_are_integers_and_classes_stay(tmp_path):
        onnx = pytest.importorskip("onnx")
        model, images = tiny("resnet"), helpers.images(12)
        path = tmp_path / "model.onnx"
        done = export_int8(model, path, images, images)
        assert done.agreement >= 0.8
        assert done.bytes == path.stat().st_size < done.float_bytes
        assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
        kinds = {tensor.data_type for tensor in onnx.load(path).graph.initializer}
        assert onnx.TensorProto.UINT8 in kinds
        found = run_exported(path, "onnx", images[:5].astype("float32"))  # any batch size
        np.testing.assert_allclose(found, helpers.outputs(model, images[:5]), rtol=0, atol=0.1)

    def test_from_a_shell(tmp_path, capsys):
        pytest.importorskip("onnxruntime")
        tiny("vit").save(tmp_path / "model.keras")
        for index, image in enumerate(helpers.images(4)):
            Image.fromarray(image).save(tmp_path / f"{index}.png")
        options = ["--format", "onnx", "--photos", str(tmp_path), "--int8", str(tmp_path)]
        assert main(["export", str(tmp_path / "model.keras"), *options]) == 0
        path = tmp_path / "model.int8.onnx"
        assert f"{path}: 100.0% of 4 photos keep their likeliest class" in capsys.readouterr().out
        assert path.exists()

    def test_nothing_is_written_that_does_not_agree(tmp_path, monkeypatch):
        pytest.importorskip("onnxruntime")
        monkeypatch.setattr(int8, "run_exported", lambda *arguments: -run_exported(*arguments))
        images = helpers.images(4)
        with pytest.raises(ValueError, match=r"Only 0% of 4 images keep .* nothing was written"):
            export_int8(tiny("resnet"), tmp_path / "model.onnx", images, images)
        assert list(tmp_path.iterdir()) == []


def test_wrong_arguments(tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    model, images = tiny("vit"), helpers.images(2)
    with pytest.raises(ValueError, match=r"must end in '.onnx'. Received: path="):
        export_int8(model, tmp_path / "model.xml", images, images)
    with pytest.raises(ValueError, match="`calibration` must have images"):
        export_int8(model, tmp_path / "model.onnx", images[:0], images)
    if not TORCH:
        with pytest.raises(ValueError, match="onnx can be written from torch only"):
            export_int8(model, tmp_path / "model.onnx", images, images)
    model.save(tmp_path / "model.keras")
    options = ["--format", "openvino", "--photos", str(tmp_path), "--int8", str(tmp_path)]
    assert main(["export", str(tmp_path / "model.keras"), *options]) == 2
    assert "--int8 is for onnx" in capsys.readouterr().err


def test_keras_quantizes_transformers(tmp_path):
    """`Model.quantize`, natively: saved, loaded, and close to what it was."""
    model, images = tiny("vit"), helpers.images(8)
    before = helpers.outputs(model, images)
    model.quantize("int8")
    kernels = {w.path: w.dtype for w in model.weights if w.path.endswith("/kernel")}
    assert [path for path, dtype in kernels.items() if dtype != "int8"] == [
        "patch_embed/projection/kernel"
    ]
    after = helpers.outputs(model, images)
    np.testing.assert_allclose(after, before, rtol=0, atol=0.1)
    model.save(tmp_path / "int8.keras")
    loaded = keras.saving.load_model(tmp_path / "int8.keras")
    np.testing.assert_allclose(helpers.outputs(loaded, images), after, rtol=0, atol=1e-4)
