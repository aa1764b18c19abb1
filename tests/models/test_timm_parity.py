"""Same weights, same outputs as timm: every family, every tensor random, images not square."""

from typing import Any

import keras
import numpy as np
import pytest

import keras_vitcnn as kv
from keras_vitcnn.models.registry import find
from tests import helpers

CLASSES = 17

# One axis stays even at every stride, the other odd, where TensorFlow's padding is another one than
# PyTorch's: 64, 32, 16, 8, 4, 2 and 97, 49, 25, 13, 7, 4.
CONVNET_SIZE = (64, 97)
VIT_SIZE = (96, 64)
CASES = [
    *[(name, CONVNET_SIZE) for name in ("ResNet18", "ResNet50", "ResNet50D", "ResNeXt50")],
    *[(name, CONVNET_SIZE) for name in ("ConvNeXtAtto", "ConvNeXtTiny", "ConvNeXtV2Atto")],
    *[(name, VIT_SIZE) for name in ("ViTTiny16", "ViTSmall32", "ViTR26Small32", "ViTR50Base16")],
    *[(name, VIT_SIZE) for name in ("DeiTTiny16", "DeiTTiny16Distilled", "DeiT3Small16")],
    # timm's ConViT takes square grids only.
    *[(name, (64, 64)) for name in ("ConViTTiny", "ConViTSmall")],
    *[(name, CONVNET_SIZE) for name in ("MobileNetV2", "EfficientNetB0", "EfficientNetB2")],
    *[(name, CONVNET_SIZE) for name in ("EfficientNetB0Symmetric", "EfficientNetLite0")],
    ("EfficientNetLite1Symmetric", CONVNET_SIZE),
    *[(name, CONVNET_SIZE) for name in ("RegNetY002", "RegNetY008", "RegNetZ005", "BiTR50x1")],
    # Whole windows with shifts, then windows that shrink and are filled up, each axis by itself.
    *[("SwinTiny", size) for size in [(112, 112), (96, 160)]],
    ("SwinBase384", (96, 112)),
    *[(name, CONVNET_SIZE) for name in ("MobileViTXXS", "MobileViTS")],
]


def timm_model(timm: Any, name: str, size: tuple[int, int]) -> Any:
    fixed = isinstance(kv.config_of(name), kv.TransformerConfig | kv.SwinConfig)
    options = {"img_size": size} if fixed else {}
    return timm.create_model(find(name).timm[0], num_classes=CLASSES, **options).eval()


def randomize(model: Any, seed: int = 0) -> dict[str, np.ndarray]:
    """Give every parameter and statistic a random value that keeps activations of order one."""
    import torch

    rng = np.random.default_rng(seed)
    state = {}
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked") or not tensor.is_floating_point():
            continue
        value = rng.standard_normal(tensor.shape)
        if name.endswith("running_var"):
            value = 0.5 + 0.5 * np.abs(value)
        elif tensor.ndim >= 2 and "token" not in name and "pos_embed" not in name:
            value /= np.prod(tensor.shape[1:]) ** 0.5
        elif name.endswith(("weight", "gamma")):
            value = 1 + 0.3 * value
        else:
            value *= 0.3
        state[name] = value.astype("float32")
    model.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()}, strict=False)
    return state


@pytest.mark.parametrize(("name", "size"), CASES, ids=[f"{n}-{h}x{w}" for n, (h, w) in CASES])
def test_logits_equal_timm(name: str, size: tuple[int, int], timm: Any) -> None:
    import torch

    reference = timm_model(timm, name, size)
    state = randomize(reference)
    model = kv.create_model(
        name,
        input_shape=(*size, 3),
        classes=CLASSES,
        include_preprocessing=False,
        classifier_activation=None,
    )
    report = kv.load_weights(model, state)
    assert len(report.loaded) == len(model.weights)

    images = np.random.default_rng(1).standard_normal((2, *size, 3)).astype("float32")
    with torch.no_grad():
        theirs = reference(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    ours = helpers.outputs(model, images)
    assert theirs.std() > 0.1  # a dead network would agree with anything
    assert np.abs(ours - theirs).max() <= 1e-4 * max(1, np.abs(theirs).max())

    back = kv.to_timm(model)
    assert back.keys() == state.keys()
    assert all(np.array_equal(back[key], state[key]) for key in state)


def test_normalisation_inside_equals_normalised_images(timm: Any) -> None:
    import torch

    reference = timm_model(timm, "ResNet18", (64, 64))
    state = randomize(reference)
    model = kv.ResNet18(input_shape=(64, 64, 3), classes=CLASSES, classifier_activation=None)
    kv.load_weights(model, state)
    images = np.random.default_rng(2).integers(0, 256, (2, 64, 64, 3), dtype="uint8")
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    normalised = ((images / 255 - mean) / std).astype("float32")
    with torch.no_grad():
        theirs = reference(torch.from_numpy(normalised.transpose(0, 3, 1, 2))).numpy()
    ours = helpers.outputs(model, images)
    assert np.abs(ours - theirs).max() <= 1e-4 * max(1, np.abs(theirs).max())


def test_a_position_embedding_of_another_size_is_resized_as_timm_does(timm: Any) -> None:
    import torch

    state = randomize(timm_model(timm, "DeiTTiny16Distilled", (64, 64)))
    larger = timm_model(timm, "DeiTTiny16Distilled", (96, 128))
    from timm.layers import resample_abs_pos_embed

    resized = resample_abs_pos_embed(
        torch.from_numpy(state["pos_embed"]), (6, 8), num_prefix_tokens=2
    )
    larger.load_state_dict(
        {k: torch.from_numpy(v) for k, v in state.items()} | {"pos_embed": resized}
    )
    model = kv.DeiTTiny16Distilled(
        input_shape=(96, 128, 3),
        classes=CLASSES,
        include_preprocessing=False,
        classifier_activation=None,
    )
    report = kv.load_weights(model, state)
    assert report.adapted == {"pos_embed": "resized from 4 x 4 to 6 x 8 tokens"}
    images = np.random.default_rng(3).standard_normal((1, 96, 128, 3)).astype("float32")
    with torch.no_grad():
        theirs = larger(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    ours = helpers.outputs(model, images)
    assert np.abs(ours - theirs).max() <= 1e-4 * max(1, np.abs(theirs).max())


def test_relative_positions_of_another_window_are_resized(timm: Any) -> None:
    state = randomize(timm_model(timm, "SwinTiny", (112, 112)))
    options: dict[str, Any] = {"classes": CLASSES, "include_preprocessing": False}
    model = kv.SwinTiny(input_shape=(64, 112, 3), remat=True, **options)
    report = kv.load_weights(model, state)
    # 64 x 112 px leave maps of 16 x 28, 8 x 14, 4 x 7 and 2 x 4; 112 x 112 has 7 x 7 and 4 x 4.
    name = "layers.{}.blocks.{}.attn.relative_position_bias_table"
    sizes = {2: range(6), 3: range(2)}
    expected = {name.format(stage, block) for stage in sizes for block in sizes[stage]}
    assert set(report.adapted) == expected
    table = state[name.format(3, 1)].reshape(7, 7, -1)
    resized = kv.ops.resize_grid(table, (3, 7)).reshape(3 * 7, -1)
    assert np.allclose(kv.to_timm(model)[name.format(3, 1)], resized)


def test_a_checkpoint_that_does_not_fit_names_its_tensors_and_changes_nothing(timm: Any) -> None:
    state = randomize(timm_model(timm, "ResNet18", (64, 64)))
    model = kv.ResNet18(input_shape=(64, 64, 3), classes=CLASSES)
    before = [keras.ops.convert_to_numpy(w) for w in model.weights]
    broken = [
        (
            {k: v for k, v in state.items() if k != "conv1.weight"},
            "1 missing tensors .conv1.weight",
        ),
        (state | {"extra.weight": state["fc.bias"]}, "1 unexpected tensors .extra.weight"),
        (state | {"fc.bias": state["fc.bias"][:5]}, r"fc.bias \(5,\) for \(17,\)"),
    ]
    for checkpoint, message in broken:
        with pytest.raises(ValueError, match=message):
            kv.load_weights(model, checkpoint)
    after = [keras.ops.convert_to_numpy(w) for w in model.weights]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
