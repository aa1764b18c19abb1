"""Published checkpoints to our variables and back."""

from keras_vitcnn.weights.hub import DownloadError
from keras_vitcnn.weights.sources import load_weights
from keras_vitcnn.weights.state_dict import LoadReport, to_timm

__all__ = ["DownloadError", "LoadReport", "load_weights", "to_timm"]
