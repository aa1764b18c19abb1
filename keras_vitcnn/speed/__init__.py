"""How fast models run on this machine."""

from keras_vitcnn.speed.benchmark import benchmark
from keras_vitcnn.speed.points import MODES, Point, grid

__all__ = ["MODES", "Point", "benchmark", "grid"]
