"""Training: recipes as data, the comparison of models under one of them, the walk along a road."""

from keras_vitcnn.training.ablation import Ablation, ablate
from keras_vitcnn.training.comparison import Comparison, compare
from keras_vitcnn.training.recipes import RECIPES, Recipe, optimizer, recipe
from keras_vitcnn.training.settings import Settings

__all__ = [
    "RECIPES",
    "Ablation",
    "Comparison",
    "Recipe",
    "Settings",
    "ablate",
    "compare",
    "optimizer",
    "recipe",
]
