"""Training: recipes as data, and the comparison of models under one of them."""

from keras_vitcnn.training.comparison import Comparison, compare
from keras_vitcnn.training.recipes import RECIPES, Recipe, optimizer, recipe
from keras_vitcnn.training.settings import Settings

__all__ = ["RECIPES", "Comparison", "Recipe", "Settings", "compare", "optimizer", "recipe"]
