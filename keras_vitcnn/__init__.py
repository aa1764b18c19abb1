"""Build, walk between and compare Vision Transformers and ConvNets on any Keras 3 backend."""

from importlib import import_module
from types import ModuleType

from keras_vitcnn import analysis, blocks, layers, models, ops
from keras_vitcnn.analysis import Complexity, complexity
from keras_vitcnn.config import ConvNetConfig, TransformerConfig
from keras_vitcnn.models import build, config_of, create_model, list_models, list_weights
from keras_vitcnn.models.convit import (
    ConViTBase,
    ConViTBasePlus,
    ConViTSmall,
    ConViTSmallPlus,
    ConViTTiny,
    ConViTTinyPlus,
)
from keras_vitcnn.models.convnext import (
    ConvNeXtAtto,
    ConvNeXtBase,
    ConvNeXtFemto,
    ConvNeXtIsoBase,
    ConvNeXtIsoLarge,
    ConvNeXtIsoSmall,
    ConvNeXtLarge,
    ConvNeXtNano,
    ConvNeXtPico,
    ConvNeXtSmall,
    ConvNeXtTiny,
    ConvNeXtV2Atto,
    ConvNeXtV2Base,
    ConvNeXtV2Femto,
    ConvNeXtV2Huge,
    ConvNeXtV2Large,
    ConvNeXtV2Nano,
    ConvNeXtV2Pico,
    ConvNeXtV2Tiny,
    ConvNeXtXLarge,
)
from keras_vitcnn.models.early_convolutions import (
    ViTC1GF,
    ViTC4GF,
    ViTC18GF,
    ViTC36GF,
    ViTP1GF,
    ViTP4GF,
    ViTP18GF,
    ViTP36GF,
)
from keras_vitcnn.models.hybrid import (
    ViTR26Small32,
    ViTR50Base16,
    ViTR50Large32,
)
from keras_vitcnn.models.resnet import (
    GResNet50,
    ResNet18,
    ResNet34,
    ResNet50,
    ResNet50D,
    ResNet101,
    ResNet101D,
    ResNet152,
    ResNet200,
    ResNeXt50,
    ResNeXt101,
)
from keras_vitcnn.models.vit import (
    DeiT3Base16,
    DeiT3Huge14,
    DeiT3Large16,
    DeiT3Medium16,
    DeiT3Small16,
    DeiTBase16,
    DeiTBase16Distilled,
    DeiTSmall16,
    DeiTSmall16Distilled,
    DeiTTiny16,
    DeiTTiny16Distilled,
    ViTBase8,
    ViTBase16,
    ViTBase32,
    ViTHuge14,
    ViTLarge14,
    ViTLarge16,
    ViTLarge32,
    ViTSmall8,
    ViTSmall16,
    ViTSmall32,
    ViTTiny16,
)
from keras_vitcnn.weights import load_weights, to_timm

__version__ = "0.1.0"

__all__ = [
    "Complexity",
    "ConViTBase",
    "ConViTBasePlus",
    "ConViTSmall",
    "ConViTSmallPlus",
    "ConViTTiny",
    "ConViTTinyPlus",
    "ConvNeXtAtto",
    "ConvNeXtBase",
    "ConvNeXtFemto",
    "ConvNeXtIsoBase",
    "ConvNeXtIsoLarge",
    "ConvNeXtIsoSmall",
    "ConvNeXtLarge",
    "ConvNeXtNano",
    "ConvNeXtPico",
    "ConvNeXtSmall",
    "ConvNeXtTiny",
    "ConvNeXtV2Atto",
    "ConvNeXtV2Base",
    "ConvNeXtV2Femto",
    "ConvNeXtV2Huge",
    "ConvNeXtV2Large",
    "ConvNeXtV2Nano",
    "ConvNeXtV2Pico",
    "ConvNeXtV2Tiny",
    "ConvNeXtXLarge",
    "ConvNetConfig",
    "DeiT3Base16",
    "DeiT3Huge14",
    "DeiT3Large16",
    "DeiT3Medium16",
    "DeiT3Small16",
    "DeiTBase16",
    "DeiTBase16Distilled",
    "DeiTSmall16",
    "DeiTSmall16Distilled",
    "DeiTTiny16",
    "DeiTTiny16Distilled",
    "GResNet50",
    "ResNeXt50",
    "ResNeXt101",
    "ResNet18",
    "ResNet34",
    "ResNet50",
    "ResNet50D",
    "ResNet101",
    "ResNet101D",
    "ResNet152",
    "ResNet200",
    "TransformerConfig",
    "ViTBase8",
    "ViTBase16",
    "ViTBase32",
    "ViTC1GF",
    "ViTC4GF",
    "ViTC18GF",
    "ViTC36GF",
    "ViTHuge14",
    "ViTLarge14",
    "ViTLarge16",
    "ViTLarge32",
    "ViTP1GF",
    "ViTP4GF",
    "ViTP18GF",
    "ViTP36GF",
    "ViTR26Small32",
    "ViTR50Base16",
    "ViTR50Large32",
    "ViTSmall8",
    "ViTSmall16",
    "ViTSmall32",
    "ViTTiny16",
    "analysis",
    "blocks",
    "build",
    "complexity",
    "config_of",
    "create_model",
    "layers",
    "list_models",
    "list_weights",
    "load_weights",
    "models",
    "ops",
    "to_timm",
]

# What building a model does not need comes when it is first named: `kv.training.compare`.
_ON_DEMAND = ("data", "training")


def __getattr__(name: str) -> ModuleType:
    if name in _ON_DEMAND:
        return import_module(f"keras_vitcnn.{name}")
    raise AttributeError(f"module 'keras_vitcnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ON_DEMAND})
