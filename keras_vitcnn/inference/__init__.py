"""What a trained model is used for beyond classes: feature pyramids and what stands on them."""

from keras_vitcnn.inference.export import FORMATS, export, run_exported
from keras_vitcnn.inference.features import FeaturePyramid, features
from keras_vitcnn.inference.image_size import at_image_size
from keras_vitcnn.inference.segmentation import (
    PixelCrossentropy,
    class_weights,
    mean_iou,
    overlay,
    palette,
    sliding_window,
)
from keras_vitcnn.inference.segmenter import segmenter

__all__ = [
    "FORMATS",
    "FeaturePyramid",
    "PixelCrossentropy",
    "at_image_size",
    "class_weights",
    "export",
    "features",
    "mean_iou",
    "overlay",
    "palette",
    "run_exported",
    "segmenter",
    "sliding_window",
]
