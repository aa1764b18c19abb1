"""Optimizers: schedules, what decays, per-layer rates, averages, accumulation."""

from types import ModuleType, SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from keras_vitcnn import build, config_of
from keras_vitcnn.data import Split
from keras_vitcnn.training import optimizer, recipe
from keras_vitcnn.training.checkpoint import Checkpoints, restore, state
from keras_vitcnn.training.evaluation import predicted
from keras_vitcnn.training.layer_groups import depths, undecayed
from keras_vitcnn.training.optimizers import averaged, averages, binary_loss, loss, schedule
from keras_vitcnn.training.schedules import WarmupCosine, WarmupSteps
from keras_vitcnn.weights.names import timm_names
from tests.helpers import TINY, to_numpy


def dense(**options: Any) -> keras.Sequential:
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, **options)])


def batch(count: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, 4)).astype("float32"), np.eye(2, dtype="float32")[
        rng.integers(0, 2, count)
    ]


def test_the_schedule_rises_and_falls() -> None:
    rate = WarmupCosine(2.0, warmup=0.1, final_rate=0.01, total_steps=100)
    rates = np.array([float(rate(step)) for step in range(100)])
    np.testing.assert_allclose(rates[:10], 0.2 * np.arange(1, 11), rtol=1e-5)
    assert (np.diff(rates[9:]) < 0).all()
    middle = 0.01 * 2 + 0.99 * 1  # half way down the cosine, after (0.1 + 1) / 2 of the steps
    assert rates[54] == pytest.approx(middle, rel=1e-4)
    assert rates[99] == pytest.approx(0.02, rel=1e-4)
    assert float(rate(200)) == pytest.approx(0.02, rel=1e-4)


def test_the_schedule_may_rise_from_somewhere() -> None:
    rate = WarmupCosine(1.0, warmup=0.5, start=0.2, total_steps=10)
    assert float(rate(0)) == pytest.approx(0.2 + 0.8 * 0.2, rel=1e-5)


def test_the_schedule_is_saved_with_its_length() -> None:
    total = keras.Variable(50.0)
    for rate in (
        WarmupCosine(1.0, final_rate=0.1, total_steps=total),
        WarmupSteps(1.0, milestones=(0.5,), warmup=0.1, total_steps=total),
    ):
        config = rate.get_config()
        assert config["total_steps"] == 50
        again = type(rate).from_config(config)
        steps = keras.ops.arange(50)
        np.testing.assert_allclose(to_numpy(again(steps)), to_numpy(rate(steps)), rtol=1e-6)


def test_steps_fall_by_ten_at_the_milestones() -> None:
    rate = schedule(recipe("resnet-90"), 0.1)
    rate.total_steps = 90
    rates = [float(rate(step)) for step in range(90)]
    assert rates == pytest.approx([0.1] * 30 + [0.01] * 30 + [0.001] * 30, rel=1e-5)


@pytest.mark.parametrize("name", [n for n in TINY if n not in ("gresnet", "vit_c")])
def test_what_decays_is_what_timm_decays(name: str) -> None:
    """timm: filters and matrices, without embeddings, tokens, position tables."""
    shape = (32, 32, 3)
    model = build(TINY[name], input_shape=shape, classes=3)
    alone = {id(weight) for weight in undecayed(model, "kernels")}
    spared = ("pos_embed", "cls_token", "dist_token", "relative_position_bias_table")
    for theirs, weight in timm_names(model).items():
        if not weight.trainable:
            continue
        axes = sum(size > 1 for size in weight.shape)
        ours = id(weight) not in alone
        if ours or axes > 1:
            assert ours == (not theirs.endswith(spared)), theirs
    assert 0 < len(alone) < len(model.trainable_variables)


def test_everything_but_norms_and_everything() -> None:
    model = build(TINY["resnet"], input_shape=(16, 16, 3), classes=3)
    assert undecayed(model, "all") == []
    left = {weight.path.rsplit("/", 1)[1] for weight in undecayed(model, "all but norms")}
    assert left == {"gamma", "beta"}
    assert "head/bias" not in {w.path for w in undecayed(model, "all but norms")}


def test_remat_hides_no_kernel() -> None:
    config = TINY["vit"]
    counts = [
        len(undecayed(build(config, input_shape=(16, 16, 3), classes=3, remat=remat), "kernels"))
        for remat in (False, True)
    ]
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("name", ["small-data", "sgd"])
@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_the_length_can_be_set_after_compiling(name: str, dtype: str) -> None:
    """One step at the end of the schedule moves nothing; at its peak it does."""
    model = dense()
    built, total_steps = optimizer(
        recipe(name, warmup=0.0, final_rate=0.0), model, batch_size=8, dtype=dtype
    )
    model.compile(built, "mse")
    x, y = np.ones((8, 4), "float32"), np.ones((8, 2), "float32")
    model.train_on_batch(x, y)
    moved = []
    for total in (2, 1000):  # the second step is the last of 2, or an early one of 1000
        total_steps.assign(total)
        before = np.array(to_numpy(model.weights[0]))
        model.train_on_batch(x, y)
        moved.append(np.abs(to_numpy(model.weights[0]) - before).max())
    assert moved[0] < 0.02 * moved[1]
    assert moved[1] > 1e-5


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_steps_are_pytorch_s(name: str) -> None:
    """Five steps of a constant rate under decay, against torch.optim."""
    torch = pytest.importorskip("torch")
    asked = recipe(
        "sgd",
        optimizer=name,
        weight_decay=0.3,
        learning_rate=0.05,
        reference_batch_size=None,
        warmup=0.0,
        final_rate=1.0,
        clip_norm=None,
    )
    model = dense()
    built, _ = optimizer(asked, model, 8)
    kernel, bias = (
        torch.tensor(np.array(to_numpy(w), "float32"), requires_grad=True) for w in model.weights
    )
    groups = [{"params": [kernel], "weight_decay": 0.3}, {"params": [bias], "weight_decay": 0.0}]
    theirs: Any
    if name == "sgd":
        theirs = torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True)
    else:
        theirs = torch.optim.AdamW(groups, lr=0.05, betas=(0.9, 0.999), eps=1e-8)
    rng = np.random.default_rng(0)
    for _ in range(5):
        gradients = [rng.normal(size=w.shape).astype("float32") for w in model.weights]
        built.apply([keras.ops.convert_to_tensor(g) for g in gradients], model.trainable_variables)
        kernel.grad, bias.grad = (torch.tensor(g) for g in gradients)
        theirs.step()
    for ours, other in zip(model.weights, (kernel, bias), strict=True):
        np.testing.assert_allclose(to_numpy(ours), other.detach().numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", ["Tiny", "Base"])
def test_depths_are_those_of_the_official_convnext(size: str) -> None:
    config = config_of(f"ConvNeXt{size}")
    names = ["stem_conv0", "stem_conv0_norm", "head_norm", "head"]
    names += [f"stage{i}_downsample" for i in range(1, 4)]
    names += [f"stage{i}_block{j}_dw" for i, n in enumerate(config.depths) for j in range(n)]

    weights = [SimpleNamespace(path=f"{name}/kernel") for name in names]
    found = depths(SimpleNamespace(trainable_variables=weights))
    # stem -> 0; stage0 -> 1; stage1 -> 2; stage2's block b -> 3 + b // 3; stage3 -> 12; head -> 13
    assert found["stem_conv0_norm"] == 0
    assert (found["stage0_block1_dw"], found["stage1_downsample"]) == (1, 2)
    assert found["stage2_downsample"] == 3
    last = config.depths[2] - 1
    assert found[f"stage2_block{last}_dw"] == 3 + last // 3 == {"Tiny": 5, "Base": 11}[size]
    assert (found["stage3_downsample"], found["stage3_block0_dw"], found["head"]) == (12, 12, 13)


def test_transformers_decay_block_by_block() -> None:
    found = depths(build(TINY["vit"], input_shape=(16, 16, 3), classes=3))
    assert {found[n] for n in ("patch_embed", "cls_token", "pos_embed")} == {0}
    assert (found["block0_qkv"], found["block1_fc2"], found["norm"], found["head"]) == (1, 2, 3, 3)
    found = depths(build(TINY["hybrid"], input_shape=(32, 32, 3), classes=3))
    assert (found["stage0_block0_conv"], found["block1_fc1"], found["head"]) == (0, 2, 3)


@pytest.mark.parametrize("name", ["vit", "convnext", "swin"])
def test_layer_decay_scales_the_updates(name: str) -> None:
    """The first step of Adam moves every weight by its learning rate."""
    model = build(TINY[name], input_shape=(16, 16, 3), classes=3, classifier_activation=None)
    options = {"learning_rate": 1e-3, "weight_decay": 0.0, "warmup": 0.0, "clip_norm": None}
    built, total = optimizer(recipe("small-data", layer_decay=0.5, **options), model, 64)
    total.assign(1e6)
    before = [np.array(to_numpy(weight)) for weight in model.trainable_variables]
    ones = [keras.ops.ones(weight.shape) for weight in model.trainable_variables]
    built.apply(ones, model.trainable_variables)
    places = depths(model)
    top = max(places.values())
    for weight, old in zip(model.trainable_variables, before, strict=True):
        moved = np.abs(to_numpy(weight) - old).mean()
        place = places[weight.path.split("/")[0]]
        assert moved == pytest.approx(1e-3 * 0.5 ** (top - place), rel=2e-2), weight.path


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_layer_decay_trains_and_saves(dtype: str, tmp_path: Any) -> None:
    model = build(
        TINY["vit"], input_shape=(16, 16, 3), classes=3, classifier_activation=None, dtype=dtype
    )
    asked = recipe("small-data", layer_decay=0.7, clip_norm=None, ema=0.5)
    built, total = optimizer(asked, model, 4, dtype)
    total.assign(100)
    model.compile(built, loss(asked))
    x = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype("float32")
    model.fit(x, np.eye(3)[[0, 1, 2, 0]], batch_size=2, epochs=2, shuffle=False, verbose=0)
    assert averages(model)
    inner = getattr(built, "inner_optimizer", built)
    assert int(to_numpy(inner.iterations)) == 4
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(model, {"step": 4})
    kept = [np.array(to_numpy(variable)) for variable in state(model).values()]
    model.fit(x, np.eye(3)[[0, 1, 2, 0]], batch_size=2, shuffle=False, verbose=0)
    last, _ = checkpoints.last()
    assert last is not None
    restore(model, last)
    for variable, value in zip(state(model).values(), kept, strict=True):
        np.testing.assert_array_equal(to_numpy(variable), value)
    assert len(inner.optimizers) == 4


def test_the_average_is_evaluated_and_the_weights_stay() -> None:
    model = dense(use_bias=False)
    asked = recipe("sgd", ema=0.8, warmup=0.0, final_rate=1.0)
    built, total = optimizer(asked, model, 8)
    total.assign(100)
    model.compile(built, loss(asked))
    x, y = batch()
    model.fit(x, y, batch_size=8, verbose=0)
    average = np.array(to_numpy(model.weights[0]))  # after the first step it is the weight
    for _ in range(3):
        model.fit(x, y, batch_size=8, verbose=0)
        average = 0.8 * average + 0.2 * to_numpy(model.weights[0])
    last = np.array(to_numpy(model.weights[0]))
    with averaged(model):
        np.testing.assert_allclose(to_numpy(model.weights[0]), average, rtol=1e-4, atol=1e-5)
        expected = x @ average
    np.testing.assert_array_equal(to_numpy(model.weights[0]), last)
    split = Split(x, y.argmax(axis=1))
    np.testing.assert_allclose(predicted(model, split, 4), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(to_numpy(model.weights[0]), last)
    assert np.abs(average - last).max() > 1e-3


@pytest.mark.parametrize("name", ["small-data", "sgd"])
def test_two_halves_make_a_batch(name: str) -> None:
    x, y = batch(16)
    weights = []
    for accumulate in (1, 2):
        keras.utils.set_random_seed(3)
        model = dense()
        asked = recipe(name, ema=0.9)
        built, total = optimizer(asked, model, 16, accumulate=accumulate)
        total.assign(1000 * accumulate)
        model.compile(built, loss(asked))
        for _ in range(3):
            model.fit(x, y, batch_size=16 // accumulate, shuffle=False, verbose=0)
        weights.append(np.array(to_numpy(model.weights[0])))
    np.testing.assert_allclose(weights[0], weights[1], rtol=2e-2, atol=2e-5)


def test_binary_loss_is_pytorch_s(timm: ModuleType) -> None:
    import torch

    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (5, 7)).astype("float32")
    labels = np.zeros((5, 7), "float32")
    labels[np.arange(5), [0, 1, 2, 3, 4]] = 0.7
    labels[:, 6] = 0.3
    expected = torch.nn.BCEWithLogitsLoss()(torch.tensor(logits), torch.tensor(labels).gt(0) * 1.0)
    ours = to_numpy(binary_loss(keras.ops.array(labels), keras.ops.array(logits)))
    assert ours.mean() == pytest.approx(float(expected), rel=1e-5)


def test_label_smoothing_of_soft_labels_is_timm_s() -> None:
    labels = np.array([[0.7, 0.3, 0.0]], "float32")
    logits = np.array([[1.0, 2.0, -1.0]], "float32")
    smooth = 0.9 * labels + 0.1 / 3
    log_softmax = logits - np.log(np.exp(logits).sum())
    found = loss(recipe("sgd", label_smoothing=0.1))(labels, logits)
    assert float(found) == pytest.approx(-(smooth * log_softmax).sum(), rel=1e-5)
