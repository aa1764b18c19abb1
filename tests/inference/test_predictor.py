"""A predictor gives what the model gives: for any number of images, in their order."""

import importlib
import platform
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import pytest

import keras_vitcnn as kv
from keras_vitcnn.inference import onednn, threads
from keras_vitcnn.system import device
from tests import helpers

TOLERANCE = 1e-4
WHOLE, IN_TWO = 4, 8  # batches, on two cores


def built(name: str, **options: Any) -> keras.Model:
    model = kv.build(helpers.TINY[name], input_shape=(16, 16, 3), classes=5, **options)
    helpers.randomize(model)
    return model


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return built("convnext")


def on_two_cores(model: keras.Model, batch_size: int) -> kv.inference.Predictor:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "_cores", lambda: 2)
        return kv.predictor(model, batch_size)


@pytest.fixture(scope="module", params=[WHOLE, IN_TWO])
def predict(model: keras.Model, request: pytest.FixtureRequest) -> kv.inference.Predictor:
    return on_two_cores(model, request.param)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 9])
def test_any_number_of_images(
    model: keras.Model, predict: kv.inference.Predictor, count: int
) -> None:
    images = helpers.images(9, 16)[:count]
    found = predict(images)
    assert isinstance(found, np.ndarray) and found.shape == (count, 5)
    if count:
        expected = helpers.outputs(model, images)
        assert np.abs(found - expected).max() <= TOLERANCE


def test_an_image_gets_the_same_bits_wherever_it_stands(predict: kv.inference.Predictor) -> None:
    images = helpers.images(9, 16)
    whole = predict(images)
    assert np.array_equal(whole[:3], predict(images[:3]))
    assert np.array_equal(whole[8:], predict(images[8:]))


def test_bytes_are_images_too(model: keras.Model, predict: kv.inference.Predictor) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype="uint8")
    expected = helpers.outputs(model, images.astype("float32"))
    assert np.abs(predict(images) - expected).max() <= TOLERANCE


def test_doubles_are_images_too(model: keras.Model, predict: kv.inference.Predictor) -> None:
    images = helpers.images(3, 16)
    assert np.abs(predict(images.astype("float64")) - predict(images)).max() <= TOLERANCE


@pytest.mark.parametrize("name", ["resnet", "gresnet", "convnext", "vit", "swin"])
def test_norms_are_folded_and_answers_stay(name: str) -> None:
    model, images = built(name, classifier_activation=None), helpers.images(3, 16)
    expected = helpers.outputs(model, images)
    found = kv.predictor(model, batch_size=2)(images)
    assert np.abs(found - expected).max() <= TOLERANCE * max(1, np.abs(expected).max())


@pytest.mark.parametrize("name", ["resnet", "convnext"])
def test_models_of_any_image_size(name: str) -> None:
    model = kv.build(helpers.TINY[name], input_shape=(None, None, 3), classes=5)
    helpers.randomize(model)
    predict = kv.predictor(model, batch_size=2)
    for size in (16, 24):
        images = helpers.images(3, size)
        assert np.abs(predict(images) - helpers.outputs(model, images)).max() <= TOLERANCE


def test_layers_that_compute_with_a_copy_of_their_weights_and_models_inside() -> None:
    known = keras.layers.Normalization()
    known.adapt(3 + 2 * np.random.default_rng(0).normal(size=(50, 4)))
    image = keras.Input((5, 4))
    inner = keras.Sequential([keras.Input((5, 4)), keras.layers.LayerNormalization()])
    doubled = keras.layers.Lambda(lambda x: 2 * x, output_shape=(5, 4))(known(image))
    model = keras.Model(image, keras.layers.LayerNormalization()(inner(doubled) + doubled))
    x = np.random.default_rng(1).normal(size=(3, 5, 4)).astype("float32")
    found = kv.predictor(model, batch_size=2)(x)
    np.testing.assert_allclose(found, helpers.outputs(model, x), rtol=0, atol=1e-5)


def test_it_is_compiled_once() -> None:
    calls = []

    @keras.saving.register_keras_serializable("tests")
    class Counted(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            calls.append(x.shape)
            return x

    image = keras.Input((4, 4, 3))
    predict = kv.predictor(keras.Model(image, Counted()(image)), batch_size=2)
    predict(np.zeros((2, 4, 4, 3), "float32"))
    before = len(calls)
    for count in (0, 1, 2, 5):
        predict(np.zeros((count, 4, 4, 3), "float32"))
    assert len(calls) == before


def test_later_training_does_not_change_it() -> None:
    for name in ("vit", "resnet"):
        model, images = built(name), helpers.images(2, 16)
        predict = kv.predictor(model, batch_size=2)
        before = predict(images)
        helpers.randomize(model, seed=5)
        assert np.array_equal(before, predict(images))


def test_several_outputs_keep_their_structure() -> None:
    image = keras.Input((6, 6, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    model = keras.Model(image, {"map": keras.layers.ReLU()(image), "mean": pooled})
    x = np.random.default_rng(0).normal(size=(3, 6, 6, 3)).astype("float32")
    found = kv.predictor(model, batch_size=2)(x)
    np.testing.assert_allclose(found["map"], np.maximum(x, 0), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["mean"], x.mean(axis=(1, 2)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(16, 16, 3), (1, 16, 15, 3), (1, 16, 16, 4), (2,)])
def test_other_shapes_are_refused(predict: kv.inference.Predictor, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(n, 16, 16, 3\).*Received: images of shape"):
        predict(np.zeros(shape))


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "8"])
def test_bad_batch_sizes_are_refused(model: keras.Model, batch_size: Any) -> None:
    with pytest.raises(ValueError, match=r"`batch_size` must be.*Received: batch_size="):
        kv.predictor(model, batch_size=batch_size)


def test_models_of_two_inputs_are_refused() -> None:
    one, two = keras.Input((2,)), keras.Input((2,))
    with pytest.raises(ValueError, match="one input"):
        kv.predictor(keras.Model([one, two], keras.layers.Add()([one, two])))


# --- threads


@pytest.mark.backend_independent
@pytest.mark.parametrize(
    ("cores", "batch_size", "expected"),
    [(1, 64, 1), (2, 1, 1), (2, 7, 1), (2, 8, 2), (2, 64, 2), (16, 8, 2), (16, 64, 16)],
)
def test_cores_share_a_batch(
    cores: int, batch_size: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_cores", lambda: cores)
    assert threads.parts(batch_size) == expected
    monkeypatch.setattr("keras.distribution.distribution", object)
    assert threads.parts(batch_size) == 1


@pytest.fixture
def three_threads() -> Iterator[None]:
    """PyTorch computing with three threads, as a user may have told it."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.skipif(
    keras.backend.backend() != "torch" or device() != "cpu",
    reason="these threads are PyTorch's, on CPUs",
)
@pytest.mark.usefixtures("three_threads")
def test_nobody_else_loses_threads(model: keras.Model) -> None:
    import torch

    predict = kv.predictor(model, batch_size=12)
    predict(helpers.images(12, 16))
    assert torch.get_num_threads() == 3
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 3
    assert predict._threads is not None
    for _ in range(9):
        assert predict._threads.submit(torch.get_num_threads).result() == 1


def test_what_a_part_says_is_not_lost(model: keras.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    predict = on_two_cores(model, IN_TWO)

    def fails(images: np.ndarray) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(predict, "_runs", lambda images: fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        predict(helpers.images(9, 16))


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="XLA's option, which JAX gives it")
def test_an_xla_without_the_option(model: keras.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(kv.inference.Predictor.__module__)
    monkeypatch.setattr(module, "XLA_ON_CPUS", {"xla_cpu_no_such_option": 1})
    images = helpers.images(2, 16)
    found = kv.predictor(model, batch_size=2)(images)
    assert np.abs(found - helpers.outputs(model, images)).max() <= TOLERANCE


# --- layer normalization on TensorFlow

tensorflow_only = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow" or not onednn.available(),
    reason="oneDNN's layer normalization is TensorFlow's, on processors with VNNI or the like",
)


@pytest.mark.backend_independent
@pytest.mark.parametrize(("told", "answer"), [("0", False), ("false", False), ("1", True)])
def test_tensorflow_does_what_it_is_told(
    told: str, answer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", told)
    assert onednn.available() == answer
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert not onednn.available()


def layer_norm(shape: tuple, **options: Any) -> keras.Model:
    """A model of one norm with gains and shifts of its own."""
    image = keras.Input(shape)
    norm = keras.layers.LayerNormalization(**options)
    model = keras.Model(image, norm(image))
    rng = np.random.default_rng(0)
    norm.set_weights([rng.normal(size=weight.shape) for weight in norm.weights])
    return model


@tensorflow_only
@pytest.mark.parametrize("shape", [(7, 11, 24), (13, 24), (24,)])
@pytest.mark.parametrize("spread", [1e-3, 1, 30])
def test_a_joined_norm_is_the_norm(shape: tuple, spread: float) -> None:
    x = np.random.default_rng(1).normal(5 * spread, spread, (WHOLE, *shape)).astype("float32")
    model = layer_norm(shape, epsilon=1e-6)  # of the size of the smallest variance
    gamma, beta = (np.float64(weight) for weight in model.get_weights())
    x64 = np.float64(x)
    deviation = np.sqrt(x64.var(-1, keepdims=True) + 1e-6)
    expected = (x64 - x64.mean(-1, keepdims=True)) / deviation * gamma + beta
    np.testing.assert_allclose(kv.predictor(model, WHOLE)(x), expected, rtol=0, atol=2e-5)


def operations_of(run: Callable[[], Any]) -> list[str]:
    """The kinds of operations of the graph that TensorFlow's optimiser made of a function."""
    from tensorflow.python.eager.context import context

    for _ in range(3):  # what it reports of the first run is empty
        context().enable_run_metadata()
        run()
        graphs = context().export_run_metadata().partition_graphs
        context().disable_run_metadata()
        if graphs:
            break
    return [node.op for graph in graphs for node in graph.node]


@tensorflow_only
@pytest.mark.parametrize("shape", [(7, 11, 24), (13, 24)])
def test_tensorflow_runs_it_as_one_operation(shape: tuple) -> None:
    predict, x = kv.predictor(layer_norm(shape), WHOLE), np.zeros((WHOLE, *shape), "float32")
    operations = operations_of(lambda: predict(x))
    assert operations.count("_MklLayerNorm") == 1
    assert not {"Rsqrt", "Mean"} & set(operations)


@tensorflow_only
@pytest.mark.parametrize("options", [{"center": False}, {"axis": 1}, {"axis": [1, 2]}])
def test_other_norms_stay(options: dict[str, Any]) -> None:
    norm = layer_norm((5, 6, 8), **options).layers[-1]
    assert onednn.kind_of(norm) is keras.layers.LayerNormalization


FAULTS = """
    import resource
    from keras_vitcnn.inference.threads import threads
    import torch

    def maps(_):
        # 72 MB: more than a heap of a thread's.
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        some = [torch.ones(18 << 18) for _ in range(4)]
        del some
        return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before

    pool = threads(1)
    for _ in range(3):
        pool.submit(maps, None).result()
    print(pool.submit(maps, None).result())
"""


@pytest.mark.skipif(
    keras.backend.backend() != "torch" or platform.libc_ver()[0] != "glibc",
    reason="memory of PyTorch's threads, as glibc gives it",
)
def test_a_thread_keeps_more_than_one_heap() -> None:
    faults = int(helpers.run_python(FAULTS).split()[-1])
    assert faults < 18 << 20 >> 12  # else the pages of the fourth map, or of all
