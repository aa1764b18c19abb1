"""What a trained model becomes when it is only used."""

from keras_vitcnn.inference.fuse import FuseReport, fuse
from keras_vitcnn.inference.predictor import Predictor, predictor

__all__ = ["FuseReport", "Predictor", "fuse", "predictor"]
