"""Half precision: finite logits that correlate with float32's, sensitive parts in float32."""

import keras
import numpy as np
import pytest

import keras_vitcnn as kv
from tests import helpers

NAMES = ["ResNet18", "ConvNeXtAtto", "ConvNeXtV2Atto", "ViTTiny16", "ConViTTiny", "ViTC1GF"]
NAMES += ["GResNet50", "DeiT3Small16", "ViTR26Small32"]
NAMES += ["MobileNetV2", "EfficientNetB0", "RegNetY002", "RegNetZ005"]
NAMES += ["BiTR50x1", "SwinTiny", "MobileViTXXS"]
SIZE = 64
# Untrained, their logits hardly depend on the image.
ALIKE = {"GResNet50", "ViTC1GF", "MobileNetV2", "EfficientNetB0", "RegNetZ005", "MobileViTXXS"}
# Standardized kernels without a gain, in front of which alone there is a norm: an untrained BiT
# magnifies every rounding five times as much as the others.
CHAOTIC = {"BiTR50x1"}
# And those that keep their width: two images' logits of half a ConViT differ by a hundredth of what
# they share (six hundredths at its own), too little for what float16 leaves of it to correlate.
WHOLE = CHAOTIC | {"ConViTTiny"}


def build(name: str, dtype: str | None) -> keras.Model:
    """A model in its whole depth, over which rounding errors add up; most in half their width."""
    config = kv.config_of(name)
    if name not in WHOLE:
        config = kv.models.scale_width(config, 0.5)
    return kv.build(
        config, input_shape=(SIZE, SIZE, 3), classes=100, classifier_activation=None, dtype=dtype
    )


@pytest.mark.parametrize("name", NAMES)
def test_logits_correlate_with_float32(name: str) -> None:
    full = build(name, None)
    _wake(full)
    images = helpers.images(4, SIZE)
    expected = helpers.outputs(full, images)
    for dtype in ("mixed_bfloat16", "mixed_float16"):
        half = build(name, dtype)
        half.set_weights(full.get_weights())
        _correlate(name, dtype, expected, helpers.outputs(half, images))


def _correlate(name: str, dtype: str, expected: np.ndarray, logits: np.ndarray) -> None:
    assert np.isfinite(logits).all(), dtype
    chaotic = name in CHAOTIC
    least = 0.99 if chaotic and dtype == "mixed_bfloat16" else 0.999
    assert np.corrcoef(expected.ravel(), logits.ravel())[0, 1] >= least, dtype
    # Rounding errors of 2^-9 (bfloat16) and 2^-12 (float16) that add up over the depth; measured
    # are up to 14 times as much (the hybrid with its 26 layers in front).
    rounding = {"mixed_bfloat16": 2**-9, "mixed_float16": 2**-12}[dtype]
    assert (logits - expected).std() <= (100 if chaotic else 20) * rounding * expected.std(), dtype
    if dtype == "mixed_float16" and name not in ALIKE:
        # What the images have in common is most of an untrained network's logits.
        expected, logits = expected - expected.mean(0), logits - logits.mean(0)
        assert np.corrcoef(expected.ravel(), logits.ravel())[0, 1] >= 0.999


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_logits_are_float32(dtype: str) -> None:
    model = kv.build(helpers.TINY["convnext"], input_shape=(16, 16, 3), dtype=dtype)
    assert keras.backend.standardize_dtype(model(helpers.images(1)).dtype) == "float32"


def _wake(model: keras.Model) -> None:
    """Let every branch count: no zero gain, no layer scale of 1e-6, no unused gate."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.name == "gamma":
            weight.assign(rng.uniform(0.5, 1, weight.shape))
        elif weight.name in ("beta", "bias", "gate"):
            weight.assign(rng.normal(0, 0.1, weight.shape))


def test_a_layer_scale_of_1e_6_survives_float16() -> None:
    model = kv.build(helpers.TINY["convnext"], input_shape=(16, 16, 3), dtype="mixed_float16")
    scale = model.get_layer("stage0_block0_scale")
    assert scale.gamma.dtype == "float32"
    np.testing.assert_allclose(scale.gamma, 1e-6)
    # 100 * 1e-6 is a float16 number, though 1e-6 itself keeps two digits there at most.
    product = helpers.to_numpy(scale(np.full((1, 2, 2, 8), 100, "float16")))
    np.testing.assert_allclose(product, 1e-4, rtol=1e-3)
    small = keras.ops.convert_to_numpy(keras.ops.cast(scale.gamma, "float16"))
    assert abs(float(small[0]) - 1e-6) > 1e-9


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_training_in_half_precision_lowers_the_loss(dtype: str) -> None:
    keras.utils.set_random_seed(0)
    model = kv.build(
        helpers.TINY["convnext"],
        input_shape=(16, 16, 3),
        classes=2,
        dtype=dtype,
        classifier_activation=None,
    )
    model.compile(
        keras.optimizers.AdamW(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    images = helpers.images(8).astype("float32")
    labels = np.arange(8) % 2
    images[labels == 1, :, :8] = 255
    losses = model.fit(images, labels, batch_size=8, epochs=25, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.5 * losses[0]
