"""Feature pyramids: the maps of a model at several strides, for detection and segmentation."""

from __future__ import annotations

import re
from math import ceil, floor, log2
from typing import Any

import keras

from keras_vitcnn.inference.image_size import at_image_size, token_stride
from keras_vitcnn.layers import HostNormal, MaxPooling2D, PositionEmbedding


@keras.saving.register_keras_serializable(package="keras_vitcnn")
class FeaturePyramid(keras.Model):
    """A functional model from images to a dict of maps, "P2" to its map of stride 4 and so on."""

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the maps, finest first."""
        return tuple(sorted(self.output, key=_exponent))

    @property
    def pyramid_outputs(self) -> dict[str, Any]:
        """Level -> its map, under the name by which keras-hub's detectors ask for it."""
        return dict(self.output)

    @property
    def channels(self) -> dict[str, int]:
        """Level -> channels of its map."""
        axis = 1 if _channels_first() else -1
        return {level: self.output[level].shape[axis] for level in self.levels}

    @property
    def strides(self) -> dict[str, float]:
        """Level -> pixels per position: 4 at P2, 8 at P3; a ViT of 14-pixel patches has 3.5, 7."""
        return {level: _stride(level, token_stride(self)) for level in self.levels}


def features(
    model: keras.Model,
    levels: tuple[str, ...] = ("P2", "P3", "P4", "P5"),
    image_size: tuple[int, int] | None = None,
) -> FeaturePyramid:
    """The maps of a model at several strides: P2 at a stride of 4 pixels, P3 at 8, and so on.

    Hierarchical models give the last map of each stride, before any head. Of a model with one
    stride (ViT, DeiT, ConViT, ViT_C, hybrids, isotropic ConvNeXt) the finer levels are made by
    transposed convolutions (stride 2, half the channels each; layer norm and GELU between two) and
    the coarser ones by pooling, from its last map: the simple feature pyramid of arXiv:2203.16527.
    Those convolutions start at random. Levels beyond a model's last one are pooled, too.

    Args:
        model: of this library, with or without its top, built or loaded.
        levels: names of the maps that are wanted.
        image_size: (height, width) in pixels; the model's own unless given, see `at_image_size`.

    Returns:
        A `FeaturePyramid`, whose output is a dict of maps (b, ceil(h / stride), ceil(w / stride),
        c), channels first where the images are. It shares its layers with `model` unless
        `image_size` is given. Its `strides` and `channels` say what each level has; saved and
        loaded again it is a `FeaturePyramid`.

    Raises:
        ValueError: for a level that the model can't give, with those it can, and for a model
            without stages or patches, such as one from elsewhere.
    """
    wrong = [level for level in levels if not re.fullmatch(r"P\d", level)]
    if wrong or not levels:
        raise ValueError(
            f"`levels` must be names such as 'P2' (stride 4) and 'P5'. Received: levels={levels!r}"
        )
    if image_size is not None:
        model = at_image_size(model, image_size)
    own = own_levels(model)
    finest, last = min(own), max(own)
    outputs = {}
    for name in sorted(set(levels), key=_exponent):
        level = _exponent(name)
        if level in own:
            x = own[level]
        elif level > last:
            x = _coarser(own[last], level - last, name)
        elif len(own) == 1:
            x = _finer(own[last], last - level, name)
        else:
            raise ValueError(
                f"This model has the levels P{finest} to P{last} and can give coarser ones. "
                f"Received: levels={levels!r}"
            )
        outputs[name] = _finished(x, model, name)
    return FeaturePyramid(model.input, outputs, name=f"{model.name}_features")


def own_levels(model: keras.Model) -> dict[int, Any]:
    """Exponent of the stride -> a model's last map (b, h, w, c) of that stride, channels last."""
    stride = token_stride(model)
    if stride is not None:
        return {round(log2(stride)): _token_map(model)}
    # The frozen grammar of layer names says what belongs to a stage; its last layer is its output.
    last = {}
    for layer in model.layers:
        if found := re.match(r"stage(\d+)_", layer.name):
            last[int(found[1])] = layer.output
    if not last:
        raise ValueError(
            "`model` must have the stages or patches of a model of this library, not nested in "
            f"another model. Received: model={model.name!r} with the layers "
            f"{[layer.name for layer in model.layers[:4]]}..."
        )
    maps = [last[stage] for stage in sorted(last)]
    side = model.inputs[0].shape[3 if _channels_first() else 2]
    if side is None:  # any image tells the strides; a large one tells them apart
        side = 1024
        channels = model.inputs[0].shape[1 if _channels_first() else 3]
        shape = (1, channels, side, side) if _channels_first() else (1, side, side, channels)
        shapes = keras.Model(model.input, maps).compute_output_shape(shape)
        widths = [shape[2] for shape in shapes]
    else:
        widths = [x.shape[2] for x in maps]
    # Sides round up or down, so that 3 positions may become 1 at a stride of 2.
    exponent, levels = round(log2(side / widths[0])), {}
    for x, before, width in zip(maps, widths[:1] + widths, widths, strict=False):
        exponent += max(1, floor(log2(before / width))) if width < before else 0
        levels[exponent] = x
    return levels


def _token_map(model: keras.Model) -> Any:
    """The normalised tokens of the patches as a map: (b, n, c) -> (b, rows, columns, c)."""
    tokens = model.get_layer("norm").output
    grid = next(one.grid for one in model.layers if isinstance(one, PositionEmbedding))
    patches = tokens[:, tokens.shape[1] - grid[0] * grid[1] :]
    return keras.layers.Reshape((*grid, tokens.shape[-1]), name="token_map")(patches)


def _finer(x: Any, doublings: int, name: str) -> Any:
    for step in range(doublings):
        label = f"{name.lower()}_up{step}"
        if step:
            x = keras.layers.LayerNormalization(epsilon=1e-6, name=f"{label}_norm")(x)
            x = keras.layers.Activation("gelu", name=f"{label}_act")(x)
        x = keras.layers.Conv2DTranspose(
            -(-x.shape[-1] // 2),
            2,
            2,
            data_format="channels_last",
            kernel_initializer=HostNormal(),
            name=label,
        )(x)
    return x


def _coarser(x: Any, halvings: int, name: str) -> Any:
    for step in range(halvings):
        label = f"{name.lower()}_pool{step}"
        x = MaxPooling2D(2, 2, "same", name=label)(x)
    return x


def _finished(x: Any, model: keras.Model, name: str) -> Any:
    """A map without what lies outside the image, in the layout of the images."""
    side = token_stride(model)
    if side is not None:
        shape = model.inputs[0].shape
        sides = shape[2:] if _channels_first() else shape[1:3]
        below, right = (
            have - ceil(pixels / _stride(name, side))
            for have, pixels in zip(x.shape[1:3], sides, strict=True)
        )
        if below or right:
            cropping = ((0, below), (0, right))
            label = f"{name.lower()}_crop"
            x = keras.layers.Cropping2D(cropping, data_format="channels_last", name=label)(x)
    if _channels_first():
        x = keras.layers.Permute((3, 1, 2), name=f"{name.lower()}_to_channels_first")(x)
    return x


def _stride(level: str, token_side: int | None) -> float:
    """Pixels per position: a power of two, or of what a token's side lacks of one."""
    unit = token_side / 2 ** round(log2(token_side)) if token_side else 1
    stride = unit * 2 ** _exponent(level)
    return int(stride) if stride == int(stride) else stride


def _exponent(level: str) -> int:
    return int(level[1:])


def _channels_first() -> bool:
    return keras.config.image_data_format() == "channels_first"
