"""A model for images of another size: the same weights, and a geometry computed anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_vitcnn.layers import (
    FoldPatches,
    GatedPositionalSelfAttention,
    ImageNormalization,
    PatchEmbedding,
    PositionEmbedding,
    Remat,
    UnfoldPatches,
    WindowAttention,
    WindowShift,
    WindowUnshift,
)

PADDING = "image_pad"


def at_image_size(model: keras.Model, image_size: tuple[int, int]) -> keras.Model:
    """Copy a model for images of another size, whatever the model was loaded from.

    Position embeddings and the tables of windows are resized (bicubic, antialiased); ConViT's
    geometry and Swin's shifts are computed anew. Where a ViT's patches don't cover the image, zeros
    (of the normalised image: its mean colour) fill it up below and to the right.

    Args:
        model: of this library, built or loaded.
        image_size: (height, width) in pixels.

    Returns:
        A model of the same layer names with weights of its own.

    Raises:
        ValueError: if the size is not two positive integers.
    """
    if len(image_size) != 2 or any(not isinstance(s, int) or s < 1 for s in image_size):
        raise ValueError(
            f"`image_size` must be (height, width) in pixels. Received: image_size={image_size!r}"
        )
    inputs = model.inputs[0]
    first = keras.config.image_data_format() == "channels_first"
    shape = (inputs.shape[1], *image_size) if first else (*image_size, inputs.shape[3])
    copy = _copied(
        model, keras.Input(shape, dtype=inputs.dtype, name=inputs.name), _Geometry(model)
    )
    copy.variant = getattr(model, "variant", None)
    if hasattr(model, "preprocessing"):
        copy.preprocessing = model.preprocessing
    return copy


def token_stride(model: keras.Model) -> int | None:
    """Pixels along the side of a token of a columnar model; `None` for one without such tokens."""
    embedding = next((one for one in model.layers if isinstance(one, PatchEmbedding)), None)
    if embedding is None:
        return None
    first = keras.config.image_data_format() == "channels_first"
    padding = next((one for one in model.layers if one.name == PADDING), None)
    height = padding.output.shape[1] if padding else model.inputs[0].shape[2 if first else 1]
    return height // (embedding.input.shape[1] // embedding.patch_size)


def _copied(model: keras.Model, inputs: Any, geometry: _Geometry) -> keras.Model:
    copy = keras.models.clone_model(
        model,
        input_tensors=inputs,
        clone_function=lambda layer: layer,
        call_function=geometry.call,
    )
    _copy_weights(model, copy)
    return copy


class _Geometry:
    """Calls a copy of each layer of a graph, told the sizes that its maps have now."""

    def __init__(self, model: keras.Model) -> None:
        self.stride = token_stride(model)
        windows = {
            layer.name.removesuffix("attn"): max(layer.window)
            for layer in _layers(model)
            if isinstance(layer, WindowAttention)
        }
        self.window_blocks = frozenset(windows)
        # A window shrank where a map was smaller; the largest is what the design asks for.
        self.window = max(windows.values(), default=0)
        self.padded = self.stride is None
        self.grid: tuple[int, int] = (0, 0)  # of the patches, or of the map before it was unfolded

    def call(self, layer: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, (WindowShift, WindowUnshift)) or layer.name == PADDING:
            return x  # put in again where the new sizes need it
        if isinstance(layer, Remat):
            inputs = keras.Input(batch_shape=x.shape, dtype=x.dtype)
            return Remat(_copied(layer.layer, inputs, self), name=layer.name)(x)
        if not self.padded and not isinstance(layer, (ImageNormalization, keras.layers.Permute)):
            x = self._whole_tokens(x)
        changes: dict[str, Any] = {}
        if isinstance(layer, PatchEmbedding):
            self.grid = x.shape[1] // layer.patch_size, x.shape[2] // layer.patch_size
        elif isinstance(layer, UnfoldPatches):
            self.grid = x.shape[1], x.shape[2]
        elif isinstance(layer, (PositionEmbedding, GatedPositionalSelfAttention)):
            changes = {"grid": self.grid}
        elif isinstance(layer, FoldPatches):
            changes = {"size": self.grid}
        block = layer.name.removesuffix("qkv").removesuffix("attn").removesuffix("proj")
        if block in self.window_blocks and block != layer.name:
            return self._in_windows(layer, block, x)
        return _like(layer, **changes)(x, *args, **kwargs)

    def _whole_tokens(self, x: Any) -> Any:
        self.padded = True
        below, right = (-x.shape[1] % self.stride, -x.shape[2] % self.stride)
        if not below and not right:
            return x
        pad = keras.layers.ZeroPadding2D(
            ((0, below), (0, right)), data_format="channels_last", name=PADDING
        )
        return pad(x)

    def _in_windows(self, layer: Any, block: str, x: Any) -> Any:
        """Projection, attention and projection of a Swin block, as `window_attention` lays them."""
        if layer.name.endswith("qkv"):
            size = self.grid = x.shape[1], x.shape[2]
        else:
            size = self.grid
        window = min(self.window, size[0]), min(self.window, size[1])
        odd = int(block.rstrip("_").rsplit("block", 1)[1]) % 2
        shift = (
            window[0] // 2 if odd and size[0] > window[0] else 0,
            window[1] // 2 if odd and size[1] > window[1] else 0,
        )
        moved = any(shift) or size[0] % window[0] or size[1] % window[1]
        if layer.name.endswith("attn"):
            return _like(layer, window=window, shift=shift)(x)
        if moved and layer.name.endswith("qkv"):
            x = WindowShift(window, shift, name=f"{block}shift")(x)
        elif moved:
            x = WindowUnshift(size, shift, name=f"{block}unshift")(x)
        return _like(layer)(x)


def _layers(model: keras.Model) -> Iterator[Any]:
    for layer in model.layers:
        yield from _layers(layer.layer) if isinstance(layer, Remat) else [layer]


def _like(layer: Any, **changes: Any) -> Any:
    return type(layer).from_config(layer.get_config() | changes)


def _copy_weights(old: keras.Model, new: keras.Model) -> None:
    for layer in old.layers:
        if not layer.weights:
            continue
        twin = new.get_layer(layer.name)
        if isinstance(layer, Remat):
            continue  # its block was copied on its own
        if isinstance(layer, PositionEmbedding):
            values = [twin.resized(np.array(layer.get_weights()[0]), layer.grid)]
        elif isinstance(layer, WindowAttention):
            values = [twin.resized(np.array(layer.get_weights()[0]), layer.window)]
        else:
            values = layer.get_weights()
        twin.set_weights(values)
