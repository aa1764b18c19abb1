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
# # Early convolutions
#
# A ViT cuts the image into patches with one convolution of a large kernel and an equal stride. The
# paper *Early convolutions help transformers see better*
# ([arXiv:2106.14881](https://arxiv.org/abs/2106.14881)) puts a few small convolutions there and
# finds that the network learns faster, from more learning rates, and with SGD as well as with
# AdamW. What does the change cost, and is any of that seen at a small scale?
#
# **Needs** `pip install "keras-vitcnn[torch,data,plot]"` and
# `pip install tensorflow-datasets tensorflow-cpu` for CIFAR-10, in the folder that `TFDS_DATA_DIR`
# names; tensorflow-datasets downloads it where it is missing.
#
# **Takes** about 5 minutes on one core of a server processor (FAST=1: under a minute and a half).

# %%
import json
import os
from dataclasses import replace
from itertools import product
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown

import keras_vitcnn as kv

FAST = os.environ.get("FAST") == "1"
IMAGES, VAL, EPOCHS, SEEDS = (400, 200, 1, 1) if FAST else (2_000, 1_000, 2, 2)
LENGTHS = (1, 2) if FAST else (1, 3, 9)  # epochs, of the last section
RESULTS = Path(os.environ.get("STEMS_RESULTS", "../docs/results/vit-p-1gf-to-vit-c-1gf"))

plt.style.use("style.mplstyle")

# %% [markdown]
# ## Two stems
#
# ViT_P has the patches, ViT_C the convolutions: as many of 3 x 3 as it takes to reach the same
# stride of 16 pixels, each with batch norm and ReLU, then one of 1 x 1. In the library both are one
# config, and the road between them has two steps.

# %%
road = kv.ablation.road("vit-p-1gf-to-vit-c-1gf")
for step in road[1:]:
    print(kv.ablation.diff(step), "\n")
print("the end of the road is ViTC1GF:", road[-1].config == kv.config_of("ViTC1GF"))

# %% [markdown]
# The convolutions cost about as much as one of the twelve blocks, which the paper takes out in
# return. Counted here at 224 pixels, beside what the paper prints (table 2, 400 epochs):


# %%
def row(step, cost):
    printed = step.published
    top1, gflops = (f"{printed.top1:.1f}", f"{printed.gflops:.1f}") if printed else ("", "")
    return f"| {step.name} | {cost.params / 1e6:.2f} | {cost.macs / 1e9:.3f} | {gflops} | {top1} |"


table = ["| Step | Parameters (M) | GMACs counted | GFLOPs printed | Top-1 printed (%) |"]
table += ["|:--|--:|--:|--:|--:|"]
for size in ("1gf",) if FAST else ("1gf", "4gf", "18gf", "36gf"):
    here = kv.ablation.road(f"vit-p-{size}-to-vit-c-{size}")
    rows = [row(cost.step, cost.complexity) for cost in kv.ablation.costs(here)]
    table += [
        rows[0],
        *(r.replace("| one block", f"| ViT_C-{size.upper()}, one block") for r in rows[1:]),
    ]
Markdown("\n".join(table))

# %% [markdown]
# ## What the paper says
#
# Two of its figures in numbers: accuracy over the length of training (table 2; each point is a
# training of its own), and over the optimizer at 50 epochs with the best rates of each (table 3).
# The gap is widest where training is short and where the optimizer is SGD.

# %%
PAPER_LENGTHS = {"ViT_P-1GF": (66.8, 70.3, 72.3), "ViT_C-1GF": (71.4, 73.9, 75.3)}
PAPER_OPTIMIZERS = {"ViT_P-4GF": (72.3, 67.0), "ViT_C-4GF": (76.0, 75.3)}  # AdamW, SGD

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.9))
for (name, top1), marker in zip(PAPER_LENGTHS.items(), "os", strict=True):
    left.plot([100, 200, 400], top1, marker=marker, label=name)
left.set(xlabel="epochs", ylabel="top-1 on ImageNet-1k (%)", title="Length of training, AdamW")
left.set_xscale("log")
left.set_xticks([100, 200, 400], ["100", "200", "400"])
left.minorticks_off()
for (name, top1), marker in zip(PAPER_OPTIMIZERS.items(), "os", strict=True):
    right.plot([0, 1], top1, marker=marker, label=name)
    for place, value in enumerate(top1):
        right.annotate(f"{value:.1f}", (place, value), (0, 8), textcoords="offset points")
right.set_xticks([0, 1], ["AdamW", "SGD"])
right.set(xlim=(-0.3, 1.4), ylim=(66, 78), ylabel="top-1 on ImageNet-1k (%)")
right.set_title("Optimizer, 50 epochs")
left.legend()
right.legend(loc="lower left")
plt.show()

# %% [markdown]
# ## Learning rates and optimizers, measured
#
# Both ends of the road have been trained on CIFAR-10 with two recipes, `small-data` (AdamW) and
# `sgd`, and their learning rates times 0.1, 0.3, 1 and 3:
#
# ```sh
# keras-vitcnn ablate --road vit-p-1gf-to-vit-c-1gf --steps "ViT_P-1GF,one block fewer" \
#     --data tfds:cifar10 --recipe small-data,sgd --rate-factors 0.1,0.3,1,3 ...
# ```
#
# Each training is a line of `results.jsonl`. This cell reads what is there.


# %%
def read(folder):
    """The trainings of a run of `ablate`; [] where there are none."""
    file = folder / "results.jsonl"
    found = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [r | {"step": "ViT_C-1GF" if r["step"] == road[-1].name else r["step"]} for r in found]


def points(records, step, recipe):
    """Learning rate -> top-1 of the seeds in percent; a loss that exploded counts as chance."""
    found = {}
    for r in records:
        if (r["step"], r["recipe"]) == (step, recipe):
            found.setdefault(r["learning_rate"], []).append(100 * r.get("top1", CHANCE))
    return {rate: np.array(found[rate]) for rate in sorted(found)}


def steps_and_recipes(records):
    return [list(dict.fromkeys(r[key] for r in records)) for key in ("step", "recipe")]


def plot_rates(records, title):
    """A panel per recipe, a curve per stem: mean over the seeds, band from lowest to highest."""
    steps, recipes = steps_and_recipes(records)
    figure, panels = plt.subplots(
        1, len(recipes), figsize=(1.5 + 4.5 * len(recipes), 4.2), sharey=True, squeeze=False
    )
    for axis, recipe in zip(panels[0], recipes, strict=True):
        for step, marker in zip(steps, "osD^", strict=False):
            found = points(records, step, recipe)
            if found:
                low, mean, high = (
                    [f(v) for v in found.values()] for f in (np.min, np.mean, np.max)
                )
                (line,) = axis.plot([*found], mean, marker=marker, label=step)
                axis.fill_between([*found], low, high, color=line.get_color(), alpha=0.2)
        rates = sorted({r["learning_rate"] for r in records if r["recipe"] == recipe})
        axis.set_xscale("log")
        axis.set_xticks(rates, [f"{rate:.2g}" for rate in rates])
        axis.minorticks_off()
        axis.set(title=recipe, xlabel="peak learning rate")
    panels[0][0].set_ylabel("validation top-1 (%)")
    panels[0][0].legend(fontsize=10)
    figure.suptitle(title)
    plt.show()


CHANCE = 0.1
records = read(RESULTS)
if records:
    about = json.loads((RESULTS / "road.json").read_text())["settings"]
    scale = (
        f"{about['about']['train_images']:,} images of {about['image_size']} px, "
        f"epochs: {about['epochs']}, widths times {about['width_multiplier']:g}"
    )
    plot_rates(records, f"Both stems over learning rates ({scale})")
else:
    print("not measured")

# %% [markdown]
# Three numbers say it for each stem and recipe: the accuracy at its best rate, how far it falls
# at the worst of the rates, and how many rates stay within three points of the best.


# %%
def summary(records):
    """What a sweep says in Markdown: a table, and how the last step stands to the first."""
    if not records:
        return "not measured"
    steps, recipes = steps_and_recipes(records)
    lines = [
        "| Stem | Recipe | Best rate | Top-1 there (%) | Worst rate (%) | Rates within 3 points |"
    ]
    lines += ["|:--|:--|--:|--:|--:|--:|"]
    best = {}
    for step, recipe in product(steps, recipes):
        found = points(records, step, recipe)
        if not found:
            lines.append(f"| {step} | {recipe} | not measured | | | |")
            continue
        means = {rate: values.mean() for rate, values in found.items()}
        rate = max(means, key=means.get)
        best[step, recipe] = found[rate]
        near = sum(mean >= means[rate] - 3 for mean in means.values())
        lines.append(
            f"| {step} | {recipe} | {rate:.2g} | {with_reach(found[rate])} "
            f"| {min(means.values()):.1f} | {near} of {len(means)} |"
        )
    said = []
    for recipe in recipes if len(steps) > 1 else ():
        pair = [best.get((step, recipe)) for step in (steps[0], steps[-1])]
        if all(values is not None for values in pair):
            said.append(f"under {recipe} {difference(*pair)}")
    if said:
        lines += [
            "",
            f"“{steps[-1]}” against “{steps[0]}”, each at its best rate: {'; '.join(said)}.",
        ]
    gaps = [
        f"{best[step, recipes[0]].mean() - best[step, recipes[-1]].mean():+.1f} for “{step}”"
        for step in (steps[0], steps[-1])
        if (step, recipes[0]) in best and (step, recipes[-1]) in best and len(recipes) > 1
    ]
    if gaps:
        lines.append(
            f"Points that {recipes[0]} is ahead of {recipes[-1]}: {', '.join(gaps)} "
            "(in the paper, for 4GF, +5.3 for ViT_P and +0.7 for ViT_C)."
        )
    return "\n".join(lines)


def with_reach(values):
    return f"{values.mean():.1f}" + (f" ± {np.ptp(values) / 2:.1f}" if len(values) > 1 else "")


def difference(before, after):
    """A change in points, and whether the seeds lie apart."""
    if min(len(before), len(after)) < 2:
        remark = " from one seed"
    else:
        apart = after.min() > before.max() or after.max() < before.min()
        remark = "" if apart else ", within the seeds’ reach"
    return f"{after.mean() - before.mean():+.1f} points{remark}"


Markdown(summary(records))

# %% [markdown]
# ## A sweep of one's own
#
# The same in miniature, live: two transformers of 32 channels on 16 tokens, three blocks behind
# convolutions against four behind patches. Three rates, two recipes, a fresh seed for each
# repetition. `kv.training.ablate` would do it in one call, for any `Road` of `Step`s, and write a
# report; here is the loop, because it is short.

# %%
patches = replace(kv.config_of("ViTP1GF"), width=32, num_heads=2, depth=4, patch_size=8)
convolutions = replace(
    patches, stem_widths=(8, 16, 32), stem_strides=(2, 2, 2), patch_size=1, depth=3
)
STEMS = {"8 x 8 patches": patches, "convolutions": convolutions}
for name, config in STEMS.items():
    cost = kv.complexity(config, (32, 32, 3))
    print(f"{name:16}{cost.params:9,} parameters{cost.macs / 1e6:7.2f} M multiply-adds")

data = kv.data.load("tfds:cifar10", limit_train=IMAGES, limit_val=VAL)
BATCH = 50
STEPS = len(data.train) // BATCH


def train(stem, recipe, factor=1.0, seed=0, epochs=EPOCHS):
    """One training, as a record of `ablate`; `history` is top-1 after each epoch."""
    keras.utils.set_random_seed(seed)
    base = kv.training.recipe(recipe)
    chosen = replace(base, learning_rate=base.learning_rate * factor)
    model = kv.build(STEMS[stem], input_shape=(32, 32, 3), classes=10, classifier_activation=None)
    optimizer, total_steps = kv.training.optimizer(chosen, model, BATCH)
    total_steps.assign(epochs * STEPS)  # the schedule ends where the training does
    loss = keras.losses.CategoricalCrossentropy(True, label_smoothing=chosen.label_smoothing)
    model.compile(optimizer, loss)
    history = []
    for epoch in range(epochs):
        batches = kv.data.TrainBatches(
            data.train,
            classes=10,
            batch_size=BATCH,
            start=epoch * STEPS,
            stop=(epoch + 1) * STEPS,
            seed=seed,
            flip=True,
            augmentation=chosen,
        )
        model.fit(batches, shuffle=False, verbose=0)
        history.append(kv.training.evaluate(model, data.val, BATCH).top1)
    rate = chosen.learning_rate_at(BATCH)
    what = {"step": stem, "recipe": recipe, "learning_rate": rate, "seed": seed}
    return what | {"top1": history[-1], "history": history}


live = [
    train(stem, recipe, factor, seed)
    for seed, recipe, factor, stem in product(
        range(SEEDS), ("small-data", "sgd"), (0.1, 1, 10), STEMS
    )
]
plot_rates(live, f"Live ({IMAGES:,} images of CIFAR-10, epochs: {EPOCHS}, seeds: {SEEDS})")

# %%
Markdown(summary(live))

# %% [markdown]
# ## Short and long trainings
#
# The paper's other claim is speed: after 100 epochs ViT_C is where ViT_P comes after 200 to 400.
# Here every length is a training of its own, with its own schedule, at the unchanged rate of
# `small-data`.

# %%
lengths = {
    stem: [
        np.array([100 * train(stem, "small-data", 1, seed, n)["top1"] for seed in range(SEEDS)])
        for n in LENGTHS
    ]
    for stem in STEMS
}
figure, axis = plt.subplots()
for (stem, values), marker in zip(lengths.items(), "os", strict=True):
    mean = np.array([v.mean() for v in values])
    reach = np.abs([[v.min() for v in values] - mean, [v.max() for v in values] - mean])
    axis.errorbar(LENGTHS, mean, yerr=reach, marker=marker, capsize=3, label=stem)
axis.set_xscale("log")
axis.set_xticks(LENGTHS, [str(n) for n in LENGTHS])
axis.minorticks_off()
axis.set(xlabel=f"epochs of {IMAGES:,} images", ylabel="validation top-1 (%)")
axis.set_title("Accuracy over the length of training, live")
axis.legend()
plt.show()

# %%
gaps = [after.mean() - before.mean() for before, after in zip(*lengths.values(), strict=True)]
shown = ", ".join(f"{gap:+.1f} after {n}" for gap, n in zip(gaps, LENGTHS, strict=True))
paper = ", ".join(
    f"{after - before:+.1f} after {n}"
    for before, after, n in zip(*PAPER_LENGTHS.values(), (100, 200, 400), strict=True)
)
Markdown(
    f"Points that the convolutions are ahead, by epochs: {shown}. In the paper, of 1GF: {paper}."
)

# %% [markdown]
# ## What to keep
#
# - The trade costs nothing: about the same multiply-adds, a few parameters fewer.
# - Whether it buys accuracy, insensitivity to the rate, and freedom of the optimizer at this
#   scale is what the tables above say, each with the reach of its seeds. A sentence that says
#   “within the seeds’ reach” is not evidence either way.
# - The scale differs from the paper's in everything: 32 pixels instead of 224, so the stem is two
#   or three convolutions; networks a hundredth of the size; minutes of training. `small-data` and
#   `sgd` were made for small images, so that their middle rate is a fair start for both stems.
