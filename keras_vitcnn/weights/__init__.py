"""Published checkpoints to our variables and back."""

from keras_vitcnn.weights.state_dict import load_weights, to_timm

__all__ = ["load_weights", "to_timm"]
