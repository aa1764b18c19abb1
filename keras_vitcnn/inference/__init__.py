"""What a trained model is used for beyond classes: feature pyramids and what stands on them."""

from keras_vitcnn.inference.features import FeaturePyramid, features
from keras_vitcnn.inference.image_size import at_image_size

__all__ = ["FeaturePyramid", "at_image_size", "features"]
