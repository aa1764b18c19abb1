"""What a model costs and what it sees."""

from keras_vitcnn.analysis.complexity import Complexity, complexity

__all__ = ["Complexity", "complexity"]
