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
# # ConViT: a convolution hidden in attention
#
# A convolution looks at fixed neighbours, attention looks wherever content tells it to. ConViT
# ([arXiv:2103.10697](https://arxiv.org/abs/2103.10697)) begins as the first and may become the
# second. How close to a convolution does it begin, what becomes of it in training, and does the
# start pay when images are few?
#
# **Needs** `pip install "keras-vitcnn[torch,data,plot]"` and
# `pip install tensorflow-datasets tensorflow-cpu` for CIFAR-10, in the folder that `TFDS_DATA_DIR`
# names; tensorflow-datasets downloads it where it is missing.
#
# **Takes** about 4 minutes on one core of a server processor (FAST=1: under a minute and a half).

# %%
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display

import keras_vitcnn as kv
from keras_vitcnn.models.registry import variant

FAST = os.environ.get("FAST") == "1"
IMAGES, EPOCHS, VAL = (400, 1, 200) if FAST else (10_000, 6, 2_000)
RATE = 4e-3
RESULTS = Path("../docs/results/sample_efficiency/sample-efficiency.json")
RUNS = Path("runs/05")

plt.style.use("style.mplstyle")
keras.utils.set_random_seed(0)
shutil.rmtree(RUNS, ignore_errors=True)  # a training in an old folder would go on, not begin

# %% [markdown]
# ## Gated positional self-attention
#
# Ten of ConViT's twelve blocks mix two attention matrices in each head $h$: one from content, one
# from the offset $\delta$ of a key from its query, in patches.
#
# $$A_h = (1 - \sigma(\lambda_h))\, \mathrm{softmax}(q_h k_h^\top / \sqrt{d})
# + \sigma(\lambda_h)\, \mathrm{softmax}(v_h \cdot r_\delta)$$
#
# with $r_\delta = (\delta_x, \delta_y, |\delta|^2)$ and one learned gate $\lambda_h$. The vector
# $v_h$ starts so that the second softmax is $\mathrm{softmax}(-\alpha\, |\delta - \Delta_h|^2)$:
# head $h$ looks at the neighbour at $\Delta_h$, the more sharply the larger the locality strength
# $\alpha$. Nine heads make the nine taps of a 3 x 3 convolution. The values start as the
# identity, so head $h$ carries its own slice of the channels, and the projection behind the heads
# holds the weights of the taps.
#
# That is a claim that can be checked. Below, the layer alone with its gates shut against content
# ($\lambda = 20$), a random projection $W$, and the convolution whose tap $h$ holds the rows of $W$
# that belong to head $h$. Borders are left out: where a tap lies outside the image, the softmax
# spreads over what is inside, and a convolution takes zeros.


# %%
def positional_and_convolution(alpha, gate=20.0, heads=9, head_dim=8, side=14):
    """The outputs of a GPSA layer at its start and of the convolution that it imitates."""
    rng, width = np.random.default_rng(0), heads * head_dim
    image = rng.normal(size=(1, side, side, width)).astype("float32")
    projection = rng.normal(size=(width, width)).astype("float32") / width**0.5

    layer = kv.layers.GatedPositionalSelfAttention(
        heads, (side, side), locality_strength=alpha, gate_init=gate
    )
    tokens = image.reshape(1, side * side, width)
    attended = layer(np.zeros((1, side * side, 2 * width), "float32"), tokens)
    ours = keras.ops.convert_to_numpy(attended) @ projection

    kernel = np.zeros((3, 3, width, width), "float32")
    for head in range(heads):
        column, row = divmod(head, 3)
        mine = slice(head * head_dim, (head + 1) * head_dim)
        kernel[row, column, mine] = projection[mine]
    theirs = keras.ops.convert_to_numpy(keras.ops.conv(image, kernel, padding="same"))
    return ours.reshape(theirs.shape)[:, 2:-2, 2:-2], theirs[:, 2:-2, 2:-2]


def weight_on_tap(alpha):
    """What a head gives to its own neighbour: 1 over a sum of Gaussians on the grid."""
    return 1 / np.exp(-alpha * np.arange(-50, 51) ** 2).sum() ** 2


print(f"{'locality strength':>18}{'weight on the tap':>20}{'relative difference':>22}")
for alpha in (0.5, 1, 2, 4, 8, 16):
    ours, theirs = positional_and_convolution(alpha)
    difference = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
    print(f"{alpha:18g}{weight_on_tap(alpha):20.3f}{difference:22.1e}")
ours, theirs = positional_and_convolution(alpha=1, gate=1.0)
difference = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
print(f"{'1, gates at 0.73':>18}{weight_on_tap(1) * 0.731:20.3f}{difference:22.1e}")

# %% [markdown]
# In the limit the layer *is* the convolution, to single precision. The released ConViTs do not
# begin there: they have $\alpha = 1$ and gates at $\sigma(1) = 0.73$, a blurred convolution under
# a quarter of global averaging. That a head gives its tap about a quarter of its weight is still
# far from uniform attention, which gives each of 196 patches half a percent.
#
# A whole model shows the same. This is ConViT-S with narrower heads and fewer blocks, neither of
# which its positions depend on, on 224 pixels; the middle patch asks.

# %%
narrow = replace(
    kv.config_of("ConViTSmall"), width=9 * 8, depth=2, local_blocks=1, class_token_block=1
)
photo = np.random.default_rng(0).uniform(0, 255, (1, 224, 224, 3)).astype("float32")


def middle_heads(strength, gate):
    model = kv.build(replace(narrow, locality_strength=strength, gate_init=gate), classes=10)
    found = kv.analysis.attention_maps(model, photo)["block0_attn"]
    rows, columns = found.grid
    seen = found.weights[0, :, (rows // 2) * columns + columns // 2]
    return seen.reshape(-1, rows, columns)[:, 4:11, 4:11]


STARTS = {"α = 8, position alone": (8.0, 20.0), "α = 1, position alone": (1.0, 20.0)}
STARTS["α = 1, gates at 0.73"] = (1.0, 1.0)
figure, axes = plt.subplots(len(STARTS), 9, figsize=(11, 4.4))
for row, (label, start) in zip(axes, STARTS.items(), strict=True):
    for axis, seen in zip(row, middle_heads(*start), strict=True):
        shown = axis.imshow(seen, vmin=0, vmax=1, cmap="viridis")
        axis.plot(3, 3, "+", color="white", markersize=9)
        axis.grid(False)
        axis.set(xticks=[], yticks=[])
    row[0].set_ylabel(label.replace(", ", ",\n"), fontsize=11)
for head, axis in enumerate(axes[0]):
    axis.set_title(f"head {head}", fontsize=11)
figure.colorbar(shown, ax=axes, label="attention", shrink=0.8)
figure.suptitle("Each head starts at one neighbour of its query (+): 7 x 7 patches of 14 x 14")
plt.show()

# %% [markdown]
# ## What training makes of the start
#
# The gates are learned. The paper follows them over 300 epochs of ImageNet (figure 6), and calls
# what it sees an escape from locality: each head decides how much of it to keep. We have minutes,
# and a small ConViT: six blocks, five of them local, with four heads as in ConViT-Ti. Four heads
# are a 2 x 2 convolution, whose taps lie half a patch from the query.

# %%
small = replace(
    kv.config_of("ConViTTiny"), width=4 * 8, depth=6, local_blocks=5, class_token_block=5
)
variant("ConViTSix", small, "this notebook", alias="convit_six")  # a name that `fit` takes
done = kv.training.fit(
    "ConViTSix",
    "tfds:cifar10",
    RUNS,
    recipe=kv.training.recipe("small-data", learning_rate=RATE, reference_batch_size=100),
    epochs=EPOCHS,
    batch_size=100,
    limit_train=IMAGES,
    limit_val=VAL,
)
fitted, how = kv.models.adapt_to_image_size(small, 32)  # what `fit` did for images of 32 pixels
before = kv.build(fitted, input_shape=(32, 32, 3), classes=10)
print(how)
print(f"{IMAGES:,} images of CIFAR-10, {EPOCHS} epochs: top-1 {done.evaluation.top1:.1%}")

# %%
start = float(np.mean([*kv.analysis.gates(before).values()]))
figure = kv.analysis.plot_gates(kv.analysis.gates(done.model))
figure.axes[0].axhline(start, color="black", linestyle=":")
figure.axes[0].annotate(f"before, {start:.2f}", (0, start), (0, 4), textcoords="offset points")
figure.axes[0].set_title("Share of position in each head (dots), mean of a block (line)")
figure.set_size_inches(7, 3.8)
display(figure)

# %%
trained, untrained = (kv.analysis.head_locality(one) for one in (done.model, before))
figure = kv.analysis.plot_head_locality(trained)
axis = figure.axes[0]
for depth, heads in enumerate(untrained.values()):
    axis.plot([depth - 0.12] * len(heads), heads, "x", color="black")
axis.set_ylim(0, 1.2 * max(np.max([*trained.values()]), np.max([*untrained.values()])))
axis.set_title("How far the position branch looks: before (crosses), after (dots)")
figure.set_size_inches(7, 3.8)
display(figure)

# %%
gates = kv.analysis.gates(done.model)
blocks = {name.removesuffix("_attn"): heads for name, heads in gates.items()}
moved = np.concatenate([heads - start for heads in blocks.values()])
least, most = (
    min(blocks, key=lambda b: blocks[b].mean()),
    max(blocks, key=lambda b: blocks[b].mean()),
)
spread = np.mean([np.ptp(heads) for heads in blocks.values()])
further = np.mean([trained[name].mean() - untrained[name].mean() for name in trained])
Markdown(
    f"The gates moved by {np.abs(moved).mean():.2f} on average, between {moved.min():+.2f} and "
    f"{moved.max():+.2f}; {np.mean(moved < 0):.0%} of the heads turned towards content. The most "
    f"positional block is {most} (mean gate {blocks[most].mean():.2f}), the least is {least} "
    f"({blocks[least].mean():.2f}). Within a block heads start equal and end {spread:.2f} apart "
    f"on average. The position branches look {further:+.2f} patches further than at the start."
)

# %% [markdown]
# That is the beginning of a training, a few hundred steps. A gate is a single number that AdamW
# moves by at most about the learning rate per step, so where it would end after 300 epochs can't be
# seen here. What can be seen is whether heads which start equal stay so.
#
# ## Does the start pay when images are few?
#
# The paper's main claim (table 2): trained on a twentieth of ImageNet, with as many steps,
# ConViT-S is far ahead of DeiT-S, and the lead shrinks as images become many. We have that
# measured on CIFAR-10 with four small networks: a ConViT, the DeiT it departs from, a ResNet and
# a ConvNeXt of about the same cost, each share with the same number of steps
# ([how](../docs/results/sample-efficiency.md)).

# %%
if not RESULTS.exists():
    raise FileNotFoundError(f"{RESULTS} is missing: run scripts/sample_efficiency.py")
measured = json.loads(RESULTS.read_text())
settings = measured["settings"]
models = {one["name"]: one for one in measured["models"]}
CONVIT, DEIT, *CONVNETS = (name for name in models if name != "linear model")


def top1(name, percent):
    """One value per seed, in percent."""
    shares = {one["percent"]: one["top1"] for one in models[name]["shares"]}
    return np.array(shares.get(percent, []))


def with_reach(values, sign=""):
    """The mean, and half the distance of the extremes where there is more than one seed."""
    reach = f" ± {np.ptp(values) / 2:.1f}" if len(values) > 1 else ""
    return f"{values.mean():{sign}.1f}{reach}"


percents = [one["percent"] for one in models[CONVIT]["shares"]]
print(f"{'model':16}{'parameters':>12}{'MACs (M)':>10}" + "".join(f"{p:>12g} %" for p in percents))
for name, one in models.items():
    row = f"{name:16}{one['params']:12,}{one['macs'] / 1e6:10.1f}"
    print(row + "".join(f"{with_reach(top1(name, percent)):>14}" for percent in percents))

# %%
printed = measured["published"]["top1"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
for index, (name, marker) in enumerate(zip(models, ("o", "s", "D", "^", ""), strict=True)):
    values = [top1(name, percent) for percent in percents]
    mean = np.array([value.mean() for value in values])
    reach = np.abs([[v.min() for v in values] - mean, [v.max() for v in values] - mean])
    style = {"marker": marker, "capsize": 3, "label": name}
    if name == "linear model":
        style |= {"color": "black", "linestyle": "--", "linewidth": 1.3}
    left.errorbar(np.array(percents) * 1.03 ** (index - 2), mean, yerr=reach, **style)
left.set(title="Measured here: CIFAR-10, 32 px", xlabel="share of 50,000 images (%)")
left.set_ylabel("validation top-1 (%)")
left.legend(fontsize=9, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.08))
for name, marker in (("ConViT-S", "o"), ("DeiT-S", "s")):
    x = [row["percent"] for row in printed]
    right.plot(x, [row[name] for row in printed], marker=marker, label=name)
right.set(title="Published: ImageNet-1k, 224 px", xlabel="share of 1.28 M images (%)")
right.set_ylabel("top-1 (%)")
right.legend()
for axis, ticks in ((left, percents), (right, [row["percent"] for row in printed])):
    axis.set_xscale("log")
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
plt.show()

# %%
differences = {}  # of the same seed
for percent in percents:
    convit, deit = top1(CONVIT, percent), top1(DEIT, percent)
    seeds = min(len(convit), len(deit))
    differences[percent] = convit[:seeds] - deit[:seeds]
leads = ", ".join(f"{with_reach(d, '+')} at {percent:g} %" for percent, d in differences.items())
paper = ", ".join(
    f"{row['ConViT-S'] - row['DeiT-S']:+.1f} at {row['percent']} %" for row in printed
)
gains = ", ".join(
    f"{name} {top1(name, percents[-1]).mean() - top1(name, percents[0]).mean():+.1f}"
    for name in (CONVIT, DEIT, *CONVNETS)
)
few, many = differences[percents[0]], differences[percents[-1]]
change = many.mean() - few.mean()
if min(len(few), len(many)) < 2:
    verdict = "can't be judged, being from one seed"
elif abs(change) <= (np.ptp(few) + np.ptp(many)) / 2:
    verdict = "does not change by more than the seeds spread"
else:
    verdict = f"{'shrinks' if change < 0 else 'grows'} by {abs(change):.1f} points"
best = {
    percent: max((*CONVNETS, CONVIT, DEIT), key=lambda name, p=percent: top1(name, p).mean())
    for percent in percents
}
firsts = ", ".join(f"{name} at {percent:g} %" for percent, name in best.items())
Markdown(
    f"**ConViT's lead over DeiT** in points, mean over the seeds ± half their distance: {leads}. "
    f"From the smallest share to the largest it {verdict}. The paper's leads are {paper}.\n\n"
    f"**First at each share:** {firsts}.\n\n"
    f"**From {percents[0]:g} % to {percents[-1]:g} % of the images** top-1 moves by {gains} "
    f"points, in the same {settings['presentations'] // settings['batch_size']:,} steps."
)

# %% [markdown]
# ## What to keep
#
# - Gated positional attention contains the convolution exactly, as the limit of sharp heads with
#   gates shut against content. The released models begin with a blurred one.
# - Gates move in training, head by head, and `kv.analysis.gates` and `kv.analysis.head_locality`
#   read them.
# - The sentences above say whether the paper's claim is seen at this scale. They rest on networks
#   hundreds of times smaller than ConViT-S, on thousands of steps instead of hundreds of thousands,
#   on a grid of 4 x 4 patches instead of 14 x 14, which leaves little to be local about, and on few
#   seeds. A lead that does not show here says nothing against the paper's.
# - Beside networks that are convolutions throughout, which the paper's table leaves out, a soft
#   bias has to be compared with a hard one: the figure has both.
