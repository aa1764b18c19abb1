"""Training: recipes as data, one model under one of them, and several compared."""

from keras_vitcnn.training.comparison import Comparison, compare
from keras_vitcnn.training.evaluation import Evaluation, evaluate
from keras_vitcnn.training.fitting import Diverged, Fitted, fit
from keras_vitcnn.training.optimizers import optimizer
from keras_vitcnn.training.recipes import RECIPES, Recipe, recipe, recipes
from keras_vitcnn.training.settings import Settings

__all__ = [
    "RECIPES",
    "Comparison",
    "Diverged",
    "Evaluation",
    "Fitted",
    "Recipe",
    "Settings",
    "compare",
    "evaluate",
    "fit",
    "optimizer",
    "recipe",
    "recipes",
]
