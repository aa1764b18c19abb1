"""Fold the norms of a trained model into its convolutions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from keras_vitcnn.inference.fuse_algebra import border_options
from keras_vitcnn.inference.fuse_plan import Fold, Plan, is_functional
from keras_vitcnn.layers import BorderBias, Conv2D, Remat, StandardizedConv2D

ATTRIBUTES = ("variant", "load_report", "preprocessing")  # what this library notes on a model


@dataclass(frozen=True)
class FuseReport:
    """What `fuse` took out of a model: names of layers, with a path where models are nested."""

    folded: tuple[str, ...]  # norms and layer scales that are part of a convolution now
    standardized: tuple[str, ...]  # convolutions whose kernel is standardized once and for all
    kept: tuple[str, ...]  # batch and split norms that stay, since no convolution can take them
    layers: int  # fewer than before
    params: int  # fewer than before, trained ones and statistics

    def __str__(self) -> str:
        return (
            f"{len(self.folded)} norms and scales folded, {len(self.kept)} kept, "
            f"{len(self.standardized)} kernels standardized: "
            f"{self.layers} layers and {self.params} parameters fewer"
        )


def fuse(model: keras.Model) -> keras.Model:
    """The same function in fewer layers: norms and layer scales become part of their neighbours.

    For inference: batch normalization, and split normalization (GResNet), is a scale and a shift of
    every channel there, which the convolution or linear map behind or in front of it takes over,
    exactly; layer scale (ConvNeXt, DeiT III) is one too, but stays in float16, which cannot hold
    such small kernels. Where a norm stands in front of a zero-padded convolution, a `BorderBias`
    adds what the shift amounts to, less at the borders. Standardized kernels (BiT, hybrids) become
    plain ones. Other norms (layer, group) depend on the image and stay.

    Args:
        model: functional, or `Sequential` with a known input; nested ones are fused too, and layers
            of other kinds are copied. Not changed.

    Returns:
        A new functional `keras.Model` of the same inputs and outputs, under the same layer names
        and dtype policies, not compiled; its `fuse_report` is a `FuseReport`. The model itself, as
        it is, if there is nothing to fold.

    Raises:
        ValueError: for anything but a functional model, or one whose layers can't be copied.
    """
    if not is_functional(model):
        raise ValueError(
            "`model` must be a functional keras.Model, or a Sequential model that knows its input: "
            "a graph of layers is what can be rewritten. "
            f"Received: model={model!r}"
        )
    return _fused(model, type, unchanged_too=False)


def snapshot(model: keras.Model, kind_of: Callable[[Any], type] = type) -> keras.Model:
    """As `fuse`, but a copy in any case, of layers of the kinds that `kind_of` says.

    Args:
        model: as of `fuse`.
        kind_of: a layer -> the class that takes its config and its weights.
    """
    return _fused(model, kind_of, unchanged_too=True)


def _fused(model: keras.Model, kind_of: Callable[[Any], type], unchanged_too: bool) -> keras.Model:
    try:
        plan = Plan(model)
        if not plan.changes and not unchanged_too:
            return model
        fused = _rewritten(plan, kind_of)
    except (NotImplementedError, TypeError) as error:
        raise ValueError(
            "Every layer of `model` must give its arguments in `get_config`, as for saving. "
            f"Received: model={model!r} ({error})"
        ) from error
    for name in ATTRIBUTES:
        if hasattr(model, name):
            setattr(fused, name, getattr(model, name))
    fused.fuse_report = FuseReport(
        folded=tuple(plan.names("dropped")),
        standardized=tuple(plan.names("standardized")),
        kept=tuple(plan.names("kept")),
        layers=_count_layers(model) - _count_layers(fused),
        params=model.count_params() - fused.count_params(),
    )
    return fused


def _rewritten(plan: Plan, kind_of: Callable[[Any], type]) -> keras.Model:
    """A new model as planned."""
    copies: list[tuple[Any, Any]] = []
    unpadded: dict[str, Any] = {}

    def copy(layer: Any) -> Any:
        if layer.name in plan.nested:
            inner = _rewritten(plan.nested[layer.name], kind_of)
            if isinstance(layer, Remat):
                return Remat(inner, name=layer.name, dtype=layer.dtype_policy)
            return inner
        new = _copied(layer, kind_of(layer), plan.folds.get(layer.name))
        if layer.name not in plan.dropped:
            copies.append((layer, new))
        return new

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if layer.name in plan.dropped:
            unpadded.update(dict.fromkeys(plan.dropped[layer.name], args[0]))
            return args[0]
        y = layer(*args, **kwargs)
        fold = plan.folds.get(layer.name)
        if fold is None or not fold.border:
            return y
        border = BorderBias(
            **border_options(layer, fold.zeros or 0),
            dtype=layer.dtype_policy,
            name=f"{layer.name}_border",
        )
        y = border(y, unpadded[layer.name])
        border.set_weights([fold.numbers.shift[:, :, None], fold.numbers.bias])
        return y

    model = keras.models.clone_model(plan.model, clone_function=copy, call_function=call)
    for old, new in copies:
        fold = plan.folds.get(old.name)
        if fold is not None:
            _assign(new, fold)
        elif isinstance(old, keras.Layer) and old.weights:
            new.set_weights(old.get_weights())
            if hasattr(new, "finalize_state"):  # preprocessing layers compute with a copy
                new.finalize_state()
    return model


def _copied(layer: Any, kind: Any, fold: Fold | None) -> Any:
    """The same layer without its weights; with a bias and a plain kernel if it is folded."""
    config = layer.get_config()
    if fold is not None:
        config["use_bias"] = not fold.border
        if kind is StandardizedConv2D:
            kind = Conv2D
            del config["epsilon"]
    if kind is keras.layers.Lambda:  # its function is in this process already
        return kind.from_config(config, safe_mode=False)
    return kind.from_config(config)


def _assign(layer: Any, fold: Fold) -> None:
    kernel = fold.numbers.kernel.reshape(layer.kernel.shape)
    bias = fold.numbers.without_border().bias
    layer.set_weights([kernel] if fold.border else [kernel, bias])


def _count_layers(model: keras.Model) -> int:
    """Of a model and those inside it, but for the inputs, which `Sequential` does not list."""
    layers = [x.layer if isinstance(x, Remat) else x for x in model.layers]
    counted = [x for x in layers if not isinstance(x, keras.layers.InputLayer)]
    return sum(_count_layers(x) if is_functional(x) else 1 for x in counted)
