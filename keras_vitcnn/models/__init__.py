"""The zoo: configs become models (`build`), names become configs (`registry`)."""

from keras_vitcnn.models import (  # noqa: F401  (importing a family registers its models)
    bit,
    convit,
    convnet,
    convnext,
    early_convolutions,
    efficientnet,
    hybrid,
    mobilenet,
    mobilevit,
    regnet,
    resnet,
    swin,
    transformer,
    vit,
)
from keras_vitcnn.models.adapt import adapt_to_image_size, scale_width
from keras_vitcnn.models.build import build
from keras_vitcnn.models.registry import config_of, create_model, list_models, list_weights

__all__ = [
    "adapt_to_image_size",
    "build",
    "config_of",
    "create_model",
    "list_models",
    "list_weights",
    "scale_width",
]
