"""The door: Keras' constructor arguments, image layout and dtype, handled once for all families."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from keras_vitcnn.layers import ImageNormalization
from keras_vitcnn.models import trunk
from keras_vitcnn.models.pretrained import Wanted, open_checkpoint


def build(
    config: Any,
    include_top: bool = True,
    include_preprocessing: bool = True,
    weights: str | Path | Wanted | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str | None = None,
    *,
    drop_path_rate: float = 0.0,
    dropout_rate: float = 0.0,
    dtype: Any = None,
    remat: bool = False,
) -> keras.Model:
    """Build the model that a config describes.

    Args:
        config: a `ConvNetConfig`, a `TransformerConfig` or any other config of the zoo.
        include_top: end with the classifier; otherwise with the last map (b, h, w, c), the
            normalised tokens (b, n, c), or the vector that `pooling` makes of them.
        include_preprocessing: take images in [0, 255] and normalise them inside; otherwise the
            input must be normalised already.
        weights: `None` (random); `"imagenet"` (the model's default published checkpoint), one of
            its tags (see `list_weights`), a checkpoint's full name in timm; the path of a
            `.weights.h5`, `.safetensors` or `.pth` file; `"hf://owner/repo"`; or
            `"package:NAME"`, an installed Python package that holds a checkpoint. Resized,
            re-channelled and left without a head where they must be, which the log and the
            model's `load_report` say.
        input_tensor: Keras tensor to build upon instead of a new input.
        input_shape: of one image, in the layout of `keras.config.image_data_format()`. 3 channels
            of the model's published size by default (with weights, of the size that they were
            trained for), which is 224 x 224 pixels unless the config has an `image_size`; without
            the top, a ConvNet takes any size.
        pooling: without the top: `None`, `"avg"`, `"max"`, or `"token"` for class-token models.
        classes: of the classifier.
        classifier_activation: of the classifier; `None` for logits. Its output is float32.
        name: of the model.
        drop_path_rate: of the last block; earlier ones as the config's schedule says.
        dropout_rate: in front of the classifier.
        dtype: dtype policy of all layers, e.g. `"mixed_bfloat16"`; Keras' global one by default.
        remat: keep one activation per block while training and compute the others again.

    Returns:
        A functional `keras.Model`.

    Raises:
        ValueError: for an argument out of its range, an image size the config can't take, or
            weights that are not published, damaged or of another model.
        OSError: if weights have to be downloaded and can't.
    """
    _check_rate("drop_path_rate", drop_path_rate)
    _check_rate("dropout_rate", dropout_rate)
    if include_top and pooling is not None:
        raise ValueError(
            "`pooling` is for models without the top: set include_top=False or leave it out. "
            f"Received: pooling={pooling!r}"
        )
    if not isinstance(classes, int) or isinstance(classes, bool) or classes < 1:
        raise ValueError(f"`classes` must be a positive integer. Received: classes={classes!r}")
    wanted = weights if isinstance(weights, Wanted) else Wanted(weights)
    checkpoint = None if wanted.source is None else open_checkpoint(wanted)
    if checkpoint and checkpoint.preprocessing and input_shape is None and input_tensor is None:
        input_shape = _default_shape(config, include_top, checkpoint.preprocessing.image_size)

    with _dtype_policy(dtype):
        inputs, x = _entrance(config, input_tensor, input_shape, include_top)
        if include_preprocessing:
            x = ImageNormalization(name="normalization")(x)
        x = trunk.features(config, x, drop_path_rate=drop_path_rate, remat=remat)
        if include_top:
            x = trunk.classified(config, x, classes, dropout_rate)
            if classifier_activation is not None or x.dtype != "float32":
                # A softmax over half-precision numbers would not sum to one.
                x = keras.layers.Activation(
                    classifier_activation or "linear", dtype="float32", name="predictions"
                )(x)
        elif pooling is not None:
            x = trunk.pooled(config, x, pooling)
        elif len(x.shape) == 4 and _channels_first():
            x = keras.layers.Permute((3, 1, 2), name="to_channels_first")(x)
        model = keras.Model(inputs, x, name=name)
    model.variant = wanted.variant
    if checkpoint is not None:
        model.load_report = checkpoint.load_into(model)
    return model


def _entrance(
    config: Any, input_tensor: Any, input_shape: tuple | None, include_top: bool
) -> tuple[Any, Any]:
    """The model's inputs and its image, channels last."""
    if input_tensor is not None:
        if not keras.utils.is_keras_tensor(input_tensor):
            raise ValueError(
                "`input_tensor` must be a Keras tensor, such as keras.Input(shape=...). "
                f"Received: input_tensor={input_tensor!r}"
            )
        x, shape = input_tensor, tuple(input_tensor.shape[1:])
        if input_shape is not None and tuple(input_shape) != shape:
            raise ValueError(
                f"`input_shape` must equal the shape of `input_tensor`, {shape}, or be left out. "
                f"Received: input_shape={input_shape}"
            )
        inputs = keras.utils.get_source_inputs(input_tensor)
    else:
        shape = _default_shape(config, include_top) if input_shape is None else tuple(input_shape)
        inputs = x = keras.Input(shape=_checked_shape(shape), name="image")
    height, width, channels = _checked_shape(shape)
    if _channels_first():
        channels, height, width = shape
        x = keras.layers.Permute((2, 3, 1), name="to_channels_last")(x)
    if channels is None:
        raise ValueError(
            "`input_shape` must state the number of channels. "
            f"Received: input_shape={shape}, data format {keras.config.image_data_format()!r}"
        )
    trunk.check_image(config, height, width)
    return inputs, x


def _default_shape(
    config: Any, include_top: bool, size: tuple[int, int] | None = None
) -> tuple[int | None, ...]:
    height: int | None
    width: int | None
    height, width = size or (trunk.default_size(config),) * 2
    if not include_top:
        try:
            trunk.check_image(config, None, None)
            height = width = None
        except ValueError:
            pass
    return (3, height, width) if _channels_first() else (height, width, 3)


def _checked_shape(shape: tuple) -> tuple:
    if len(shape) != 3 or any(side is not None and side < 1 for side in shape):
        raise ValueError(
            "`input_shape` must be the three sizes of one image, without the batch. "
            f"Received: input_shape={shape}"
        )
    return shape


def _channels_first() -> bool:
    return keras.config.image_data_format() == "channels_first"


def _check_rate(name: str, rate: float) -> None:
    if not 0 <= rate < 1:
        raise ValueError(f"`{name}` must be in [0, 1). Received: {name}={rate}")


@contextmanager
def _dtype_policy(dtype: Any) -> Iterator[None]:
    """Keras' global policy for the time of building, so that no block has to pass it on."""
    before = keras.config.dtype_policy()
    if dtype is not None:
        try:
            keras.config.set_dtype_policy(keras.dtype_policies.get(dtype))
        except (ValueError, TypeError) as error:
            raise ValueError(
                "`dtype` must be a dtype policy such as 'float32', 'mixed_bfloat16' or "
                f"'mixed_float16'. Received: dtype={dtype!r}"
            ) from error
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
