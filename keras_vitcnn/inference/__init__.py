"""What a trained model becomes when it is only used."""

from keras_vitcnn.inference.fuse import FuseReport, fuse

__all__ = ["FuseReport", "fuse"]
