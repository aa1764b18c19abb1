"""What a trained model becomes when it is used: faster, exported, or the trunk of other tasks."""

from keras_vitcnn.inference.export import FORMATS, export, run_exported
from keras_vitcnn.inference.features import FeaturePyramid, features
from keras_vitcnn.inference.fuse import FuseReport, fuse
from keras_vitcnn.inference.image_size import at_image_size
from keras_vitcnn.inference.int8 import Int8Export, export_int8
from keras_vitcnn.inference.predictor import Predictor, predictor
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
    "FuseReport",
    "Int8Export",
    "PixelCrossentropy",
    "Predictor",
    "at_image_size",
    "class_weights",
    "export",
    "export_int8",
    "features",
    "fuse",
    "mean_iou",
    "overlay",
    "palette",
    "predictor",
    "run_exported",
    "segmenter",
    "sliding_window",
]
