"""Training: recipes as data, one model under one of them, several compared, a road walked."""

from keras_vitcnn.system import keep_memory
from keras_vitcnn.training.ablation import ablate
from keras_vitcnn.training.comparison import compare
from keras_vitcnn.training.evaluation import Evaluation, evaluate
from keras_vitcnn.training.fine_tuning import enable_lora, freeze, merge_lora
from keras_vitcnn.training.fitting import Fitted, fit
from keras_vitcnn.training.loop import Diverged
from keras_vitcnn.training.optimizers import optimizer
from keras_vitcnn.training.recipes import RECIPES, Recipe, recipe, recipes
from keras_vitcnn.training.records import Findings
from keras_vitcnn.training.settings import Settings

__all__ = [
    "RECIPES",
    "Diverged",
    "Evaluation",
    "Findings",
    "Fitted",
    "Recipe",
    "Settings",
    "ablate",
    "compare",
    "enable_lora",
    "evaluate",
    "fit",
    "freeze",
    "keep_memory",
    "merge_lora",
    "optimizer",
    "recipe",
    "recipes",
]
