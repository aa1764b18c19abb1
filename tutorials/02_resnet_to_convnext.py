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
# # From ResNet to ConvNeXt
#
# "A ConvNet for the 2020s" (arXiv:2201.03545) changes a ResNet-50 step by step until it is as
# accurate as a Swin Transformer of the same cost (Swin-T: 81.3 % on ImageNet, 4.5 G
# multiply-adds), and then a little better. What does each step change, what does it cost, what
# does it bring in the paper, and does any of it show in a small run on CIFAR-10?
#
# **Needs** `pip install "keras-vitcnn[torch,data,plot]" tensorflow-datasets`; CIFAR-10 in the
# folder that `TFDS_DATA_DIR` names (it is downloaded where it is missing); and the folder of a
# measured road, `ROAD_RESULTS` or by default the one in this repository.
#
# **Takes** about 5 minutes on one core of a server processor (FAST=1: under a minute and a half).

# %%
import json
import os
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display

import keras_vitcnn as kv

FAST = os.environ.get("FAST") == "1"
RUNS = Path("runs/02")
RESULTS = Path(os.environ.get("ROAD_RESULTS", "../docs/results/resnet50-to-convnext-tiny"))

plt.style.use("style.mplstyle")
keras.utils.set_random_seed(0)

# %% [markdown]
# ## The road
#
# `kv.ablation.road` has the steps with the figures that the paper prints (table 10: mean and
# standard deviation of three seeds). Each step is a config that differs from the last adopted one
# in a few fields, and is a model: `kv.build(step.config)`. `kv.ablation.costs` counts what one
# image of 224 pixels costs it.

# %%
road = kv.ablation.road("resnet50-to-convnext-tiny")
costs = {cost.step.name: cost.complexity for cost in kv.ablation.costs(road)}
print(f"{road.title}, {road.source}: {len(road)} steps")
print(f"published top-1: {road.top1}")

# %% [markdown]
# ## What was measured
#
# `keras-vitcnn ablate` trains every step on the same images and writes `road.json` and
# `results.jsonl` ([the roads](../docs/roads.md)). We read such a run. It is small, as the next cell
# says, and so are its images: the stem's stride is reduced, so that the last map keeps 2 x 2
# positions, in every step alike.

# %%
for name in ("road.json", "results.jsonl"):
    if not (RESULTS / name).exists():
        raise FileNotFoundError(
            f"{RESULTS / name} is missing: set ROAD_RESULTS to a folder that "
            f"`keras-vitcnn ablate --road {road.name} --out FOLDER` wrote."
        )
ours = json.loads((RESULTS / "road.json").read_text("utf-8"))
records = [json.loads(line) for line in (RESULTS / "results.jsonl").read_text("utf-8").splitlines()]
settings, about = ours["settings"], ours["settings"]["about"]
# The first recipe, where a run has several.
measured = {one["name"]: one["measured"][0] for one in ours["steps"] if one["measured"]}
minutes = sum(record.get("seconds", 0) for record in records if "same_as" not in record) / 60
missing = [step.name for step in road if step.name not in measured]

dataset = about["data"].removeprefix("tfds:")


def several(number, what):
    return f"{number} {what}" + ("s" if number != 1 else "")


budget = [several(settings["epochs"], "epoch")] if settings["epochs"] else []
budget += [f"{settings['minutes_per_model']:g} minutes"] if settings["minutes_per_model"] else []
lines = [
    f"- {about['description']}",
    f"- Widths times {settings['width_multiplier']:g}, batches of {settings['batch_size']}, "
    f"{' or '.join(budget)} per training, {several(len(settings['seeds']), 'seed')}.",
    f"- {several(len(records), 'training')}, {minutes:.0f} minutes.",
    f"- Not measured yet: {', '.join(missing)}." if missing else "- All steps are measured.",
]
if adapted := {record["adaptation"] for record in records if record.get("adaptation")}:
    lines.append(f"- Changed for the image size: {' '.join(sorted(adapted))}")
for name, recipe in settings.items():
    if name.startswith("recipe "):
        lines.append(
            f"- {name.capitalize()}: {recipe['optimizer']}, learning rate "
            f"{recipe['learning_rate']:g} at {recipe['reference_batch_size']} images, weight decay "
            f"{recipe['weight_decay']:g}, label smoothing {recipe['label_smoothing']:g}."
        )
Markdown("\n".join(lines))

# %% [markdown]
# ## How a block is drawn
#
# Not by hand. The function below builds the first stages of a config, and draws the layers of one
# part of it in their order. A convolution is a trapezium from its input to its output channels,
# so that a bottleneck looks like one; a norm or an activation is a thin bar; the line on the right
# is the shortcut.

# %%
PALE = {"conv": "#9ecae1", "depthwise": "#fdbe85", "norm": "#d9d9d9", "act": "#a1d99b"}
NAMES = {
    "BatchNormalization": "batch norm",
    "LayerNormalization": "layer norm",
    "LayerScale": "layer scale",
}
ACTIVATIONS = {"relu": "ReLU", "gelu": "GELU"}


def described(layer):
    """A layer as boxes: (text, kind, channels in, channels out)."""
    kind = type(layer).__name__
    inputs, outputs = (keras.tree.flatten(x)[0].shape[-1] for x in (layer.input, layer.output))
    activation = ACTIVATIONS.get(getattr(getattr(layer, "activation", None), "__name__", ""))
    boxes = []
    if kind in ("Conv2D", "DepthwiseConv2D", "Dense"):  # a Dense layer on a map is a 1 x 1
        size, stride = getattr(layer, "kernel_size", (1,))[0], getattr(layer, "strides", (1,))[0]
        depthwise = kind == "DepthwiseConv2D"
        text = f"{size}×{size} {'depthwise ' if depthwise else ''}{inputs}→{outputs}"
        text += f", stride {stride}" if stride > 1 else ""
        boxes.append((text, "depthwise" if depthwise else "conv", inputs, outputs))
    elif kind in NAMES:
        boxes.append((NAMES[kind], "norm", outputs, outputs))
    elif kind == "MaxPooling2D":
        boxes.append(("3×3 max pooling, stride 2", "norm", outputs, outputs))
    elif kind == "Add":
        boxes.append(("+", "add", outputs, outputs))
    if activation:
        boxes.append((activation, "act", outputs, outputs))
    return boxes


@cache
def boxes_of(config, part):
    """The boxes of the layers whose names begin with `part`, the place where their shortcut
    begins, and what is on it."""
    stages = replace(config, depths=(2, 1), widths=config.widths[:2], strides=config.strides[:2])
    model = kv.build(stages, input_shape=(64, 64, 3), classes=10)
    layers = [layer for layer in model.layers if layer.name.startswith(part)]
    main = [box for one in layers if "shortcut" not in one.name for box in described(one)]
    short = [box[0] for one in layers if "shortcut" in one.name for box in described(one)]
    begin = sum(len(described(one)) for one in layers if "downsample" in one.name)
    return main, begin, short


def draw(*parts):
    """Parts of networks side by side: (title, config, beginning of its layers' names)."""
    columns = {title: boxes_of(config, names) for title, config, names in parts}
    widest = max(box[3] for main, *_ in columns.values() for box in main)
    rows = max(len(main) for main, *_ in columns.values())
    size = (max(7.5, 2.3 * len(columns)), 0.5 + 0.3 * rows)
    _, axes = plt.subplots(1, len(columns), figsize=size)
    for panel, (title, (main, begin, short)) in zip(axes, columns.items(), strict=True):
        panel.set_title(title, fontsize=11)
        panel.set(xlim=(-1.15, 1.5), ylim=(rows, -0.4))
        panel.axis("off")
        for row, (text, kind, inputs, outputs) in enumerate(main):
            top, bottom = inputs / widest, outputs / widest
            if kind == "add":  # where the shortcut joins
                start, end = begin - 0.06 if begin else -0.25, row + 0.5
                panel.plot([0, 1.25, 1.25, 0], [start, start, end, end], color="0.4", zorder=0)
                name = "\n".join(short) or "identity"
                panel.text(1.32, (start + end) / 2, name, va="center", rotation=90, fontsize=9)
                panel.plot(0, row + 0.5, "o", color="white", markeredgecolor="0.4", markersize=14)
            else:
                shape = [(-top, row), (top, row), (bottom, row + 0.9), (-bottom, row + 0.9)]
                panel.add_patch(plt.Polygon(shape, facecolor=PALE[kind], edgecolor="0.4", lw=0.6))
            panel.text(0, row + 0.48, text, ha="center", va="center", fontsize=10)
    plt.show()


# %% [markdown]
# ## What to believe
#
# A difference of two trained networks has a spread: another seed gives another difference. A
# published change counts here as clear if it exceeds the sum of both printed standard deviations,
# and ours as a direction if it exceeds the sum of our two. Everything below that is computed from
# the numbers; a step that is not in the results is reported as not measured.


# %%
def with_spread(mean, deviation, digits, sign=""):
    return f"{mean:{sign}.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}")


def claim(step, base):
    """How clear the paper's change is."""
    change = step.published.top1 - base.published.top1
    if base.published.top1_std is None:
        return f"the paper's {change:+.2f} points start from a single published training"
    noise = step.published.top1_std + base.published.top1_std
    return f"the paper's {change:+.2f} points " + (
        f"are {abs(change) / noise:.1f} times the two standard deviations: clear on ImageNet"
        if abs(change) > noise
        else f"are within the two standard deviations ({noise:.2f}): not settled there either"
    )


def finding(step, found):
    """What our change says about it."""
    if found is None or found["change"] is None:
        return "not measured here, neither confirmed nor refuted"
    if found["spread"] is None:
        return f"ours, {found['change']:+.1f}, is of one seed and has no known spread"
    text = f"ours, {found['change']:+.1f} with a spread of {found['spread']:.1f}, "
    if abs(found["change"]) <= found["spread"]:
        return text + "could be chance"
    published = found["published_change"]
    if not published:
        return text + "exceeds the spread, and the paper has no change to hold it against"
    same = (found["change"] > 0) == (published > 0)
    return text + ("goes the same way" if same else "goes the other way")


def table(step):
    """Cost and accuracy, published and ours, with what to believe."""
    base, cost, found = road.base(step), costs[step.name], measured.get(step.name)
    printed = step.published
    top1 = trained = "not measured"
    change = "start" if base is None else "not measured"
    if found:
        top1 = with_spread(found["mean_percent"], found["standard_deviation"], 1)
        top1 += f" ({len(found['top1'])} seeds)" if len(found["top1"]) > 1 else " (one seed)"
        trained = f"{found['params'] / 1e6:.2f} M, {found['macs'] / 1e6:.1f} M"
        if found["change"] is not None:
            change = with_spread(found["change"], found["spread"], 1, "+")
    published = "start" if base is None else f"{printed.top1 - base.published.top1:+.2f}"
    rows = [
        ("multiply-adds at 224 px (G)", f"{printed.gflops:.2f}", f"{cost.macs / 1e9:.3f}"),
        ("parameters at full width (M)", "", f"{cost.params / 1e6:.2f}"),
        ("parameters, multiply-adds as trained", "", trained),
        ("top-1 (%)", with_spread(printed.top1, printed.top1_std, 2), top1),
        (f"change from “{base.name}” (points)" if base else "change", published, change),
    ]
    text = "| | paper | here |\n|:--|--:|--:|\n"
    text += "\n".join(f"| {' | '.join(row)} |" for row in rows)
    if printed.misprint:
        text += f"\n\nThe printed {printed.gflops:.2f} can't be right: {printed.misprint}."
    if base is not None:
        text += f"\n\n**What to believe:** {claim(step, base)}; {finding(step, found)}."
    return text


def walk(name, config, part=None):
    """One step: the fields that change, the part before and after, the figures."""
    step = road.step(name)
    assert config == step.config  # the change in the cell is the one that the road has
    print(kv.ablation.diff(step))
    if part:
        draw(("before", step.before, part), (f"after: {name}", config, part))
    display(Markdown(table(step)))
    return config


BLOCK, STEM, ENTRANCE = "stage0_block1", "stem", ("stage1_downsample", "stage1_block0")

# %% [markdown]
# ## ResNet-50
#
# The start is the network of 2015 (arXiv:1512.03385) as PyTorch has it: a 7 x 7 convolution and
# pooling as the stem, then four stages of bottleneck blocks. A block narrows its channels to a
# quarter, convolves 3 x 3 there, and widens again. The road's first row stands for a training of
# that time: 90 epochs of SGD in the paper, plain SGD for as long as the other steps here.

# %%
here = kv.config_of("ResNet50")
draw(("stem", here, STEM), ("a block", here, BLOCK), ("the first block of a stage", here, ENTRANCE))
here = walk("ResNet-50", here)

# %% [markdown]
# ## Training recipe
#
# The network stays, the training changes (section 2.1): AdamW for SGD, 300 epochs for 90, mixup,
# cutmix, RandAugment, random erasing, label smoothing, stochastic depth. A good part of what ViTs
# were thought to have over ResNets was their recipe. Our small run has no 300 epochs, and its
# recipe is AdamW with label smoothing alone, so this row is another experiment than the paper's:
# heavy regularisation pays over many epochs, and costs accuracy over few.

# %%
here = walk("training recipe", here)

# %% [markdown]
# ## Stage ratio
#
# ResNet-50 has 3, 4, 6 and 3 blocks in its four stages; Swin-T spends its blocks as 1 : 1 : 3 : 1
# (section 2.2). With 3, 3, 9 and 3 blocks the ConvNet does the same. It is also a larger network:
# more multiply-adds, and a gain that is partly paid for with them.

# %%
here = walk("stage ratio", replace(here, depths=(3, 3, 9, 3)))

# %% [markdown]
# ## Patchify stem
#
# A ViT cuts the image into patches: a convolution whose stride is its kernel. The paper puts one of
# 4 x 4 in place of the 7 x 7 convolution and the pooling, and finds that neither overlap nor
# pooling was needed. On small images with a reduced stride the patch is smaller than 4 x 4, and
# the networks before have lost their pooling, too: less of a change than the paper's.

# %%
here = walk("patchify stem", replace(here, stem="patch", stem_stride=4, pool=False), STEM)

# %% [markdown]
# ## Depthwise convolution
#
# The 3 x 3 convolution now works on every channel by itself, and only the 1 x 1 convolutions mix
# channels (section 2.3): ResNeXt's grouped convolution (arXiv:1611.05431) with as many groups as
# channels. Self-attention separates the two in the same way. Multiply-adds fall by almost half, and
# so does the capacity.

# %%
here = walk("depthwise convolution", replace(here, mixer="depthwise"), BLOCK)

# %% [markdown]
# ## Width
#
# What the depthwise convolution saved is spent on channels: 96 in the first stage, as in Swin-T, in
# place of 64. Taken with the step before, this is ResNeXt's rule, more groups and a larger
# width. The network is now costlier than at the start, so compare both steps together.

# %%
here = walk("width", replace(here, widths=(96, 192, 384, 768)), BLOCK)

# %% [markdown]
# ## Inverted bottleneck
#
# The MLP of a transformer is four times as wide as its input; MobileNetV2 (arXiv:1801.04381) built
# its blocks that way before (section 2.4). The block becomes wide in the middle, where the cheap
# depthwise convolution is, and narrow between blocks. The shortcuts between stages shrink with it,
# which is where most of the saving comes from.

# %%
here = walk("inverted bottleneck", replace(here, shape="inverted"), BLOCK)

# %% [markdown]
# ## Depthwise moved up
#
# Attention comes before the MLP, so the depthwise convolution moves before the two 1 x 1
# convolutions (section 2.5). It then works on a quarter of the channels. In the paper this loses
# accuracy and prepares the next step: on few channels a large kernel is affordable.

# %%
here = walk("depthwise moved up", replace(here, mixer_first=True), BLOCK)

# %% [markdown]
# ## Kernels of 5, 7, 9 and 11
#
# Swin's windows are 7 x 7; ResNets have stayed with 3 x 3 because dense kernels cost $k^2$ times
# input times output channels. A depthwise one costs $k^2$ per channel, a small part of the block.
# The paper tries 5, 7, 9 and 11 and keeps 7, where the gain saturates. Here 5 and 7 are held
# against 3, and 9 and 11 against 7.
#
# On images of 32 pixels the maps of the stages are 16, 8, 4 and 2 positions wide, if the stem's
# stride is 2. A 7 x 7 kernel then covers all of the last two, and much of a 9 x 9 or 11 x 11 one
# lies on the padding. Little can be learnt here about large kernels on large maps.

# %%
kernels = {size: replace(here, kernel=size) for size in (5, 7, 9, 11)}
draw(("3", here, BLOCK), *((str(size), config, BLOCK) for size, config in kernels.items()))

# %%
for size, config in kernels.items():
    walk(f"kernel {size}", config)
here = kernels[7]

# %% [markdown]
# ## GELU
#
# Transformers use GELU (arXiv:1606.08415), $x\,\Phi(x)$ with the normal distribution function
# $\Phi$, a smooth ReLU (section 2.6). It replaces every ReLU of the network. Parameters and
# multiply-adds stay as they are; on a processor GELU takes more time than ReLU, which neither
# count sees.

# %%
here = walk("GELU", replace(here, activation="gelu"), BLOCK)

# %% [markdown]
# ## Fewer activations
#
# A ResNet has an activation behind every convolution and one behind the sum; a transformer block
# has one, in its MLP. Only the one between the two 1 x 1 convolutions stays, and the stem loses its
# own. The shortcut is then an identity from one end of a stage to the other.

# %%
here = walk("fewer activations", replace(here, activations="one"), BLOCK)

# %% [markdown]
# ## Fewer norms
#
# Of the three batch norms of a block one stays, behind the depthwise convolution and before the
# 1 x 1 convolutions. That is fewer than a transformer block, which has two. Batch norms of the stem
# and of the shortcuts between stages remain.

# %%
here = walk("fewer norms", replace(here, norms="one"), BLOCK)

# %% [markdown]
# ## Layer norm
#
# Layer norm takes mean and variance over the channels of one position, batch norm over the batch.
# The paper notes that in a plain ResNet the exchange costs accuracy, and that this network takes
# it. What a network says of an image in training then no longer depends on the rest of the batch.

# %%
here = walk("layer norm", replace(here, norm="layer"), BLOCK)

# %% [markdown]
# ## Separate downsampling
#
# Up to here the first block of a stage strides, and its shortcut with it. Swin has a layer of its
# own between stages, and so does the end of this road: a norm, then a 2 x 2 convolution of
# stride 2. The paper reports that training diverges without the norms that come with it, before
# each of these convolutions, behind the stem and behind the last pooling. The step also holds
# biases and layer scale, as the released model has them.

# %%
change = {"downsample": "between", "bias": True, "layer_scale": 1e-6}
here = walk("separate downsampling", replace(here, **change), ENTRANCE)
assert here == kv.config_of("ConvNeXtTiny")  # the end of the road

# %% [markdown]
# ## The whole road
#
# On the left what the paper prints, on the right what was measured here; bars are standard
# deviations over the seeds, hollow markers are steps that were tried and not kept.

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 6.2), sharey=True)
published = {
    step.name: (step.published.top1, step.published.top1_std) for step in road if step.published
}
here_too = {
    name: (one["mean_percent"], one["standard_deviation"]) for name, one in measured.items()
}
for panel, points, colour in zip(axes, (published, here_too), ("C0", "C1"), strict=True):
    for adopted, filled in ((True, colour), (False, "white")):
        rows = [
            (points[step.name], row)
            for row, step in enumerate(road)
            if step.adopted == adopted and step.name in points
        ]
        panel.errorbar(
            [top1 for (top1, _), _ in rows],
            [row for _, row in rows],
            xerr=[std or 0 for (_, std), _ in rows],
            fmt="o-" if adopted else "o",
            color=colour,
            markerfacecolor=filled,
            capsize=3,
        )
axes[0].set_yticks(range(len(road)), [step.name for step in road])
axes[0].set_ylim(len(road) - 0.5, -0.5)
axes[0].set_xlabel("top-1 on ImageNet-1k (%)")
axes[1].set_xlabel(f"top-1 on {dataset} (%)")
axes[0].set_title("published")
axes[1].set_title(f"here, widths x {settings['width_multiplier']:g}")
plt.show()

# %% [markdown]
# Which changes agree? A row is a step, held against the one before that was kept. Bars are spreads,
# the sum of both standard deviations: where a bar reaches zero, the step may have done nothing. The
# change of recipe is left out, being another one here than in the paper.

# %%
rows = [step for step in road if road.base(step) and step.name != "training recipe"]
figure, axes = plt.subplots(figsize=(8, 6))
axes.axvline(0, color="0.4", linewidth=1)
for row, step in enumerate(rows):
    base, found = road.base(step), measured.get(step.name)
    spread = (step.published.top1_std or 0) + (base.published.top1_std or 0)
    x = step.published.top1 - base.published.top1
    label = "published, ImageNet-1k" if row == 0 else None
    axes.errorbar(x, row - 0.15, xerr=spread, fmt="o", color="C0", capsize=3, label=label)
    if found and found["change"] is not None:
        x, spread = found["change"], found["spread"] or 0
        axes.errorbar(x, row + 0.15, xerr=spread, fmt="s", color="C1", capsize=3)
axes.errorbar([], [], xerr=[], fmt="s", color="C1", label=f"here, {dataset}")
axes.set_yticks(range(len(rows)), [step.name for step in rows])
axes.set_ylim(len(rows) - 0.5, -0.5)
axes.set_xlabel("change of top-1 (points)")
axes.set_title("What each step changes, and how surely")
axes.legend(loc="best")
plt.show()

# %%
found = {step.name: measured[step.name]["direction"] for step in rows if step.name in measured}
judged = {name: direction for name, direction in found.items() if direction}
kinds = {
    "went the same way": [n for n, text in judged.items() if text.startswith("as published")],
    "went the other way": [n for n, text in judged.items() if text.startswith("opposite")],
    "changed less than the spread of the seeds": [
        n for n, text in judged.items() if "within" in text
    ],
}
lines = [f"Of {len(judged)} steps that can be held against the paper,", ""]
lines += [f"- {len(names)} {kind}: {', '.join(names) or 'none'};" for kind, names in kinds.items()]
if missing:
    lines.append(f"- not measured yet: {', '.join(missing)}.")
if any("one seed" in text for text in judged.values()):
    lines += ["", "A direction of a single seed has no spread, and is counted as it came out."]
ends = [measured.get(road[place].name) for place in (1, -1)]
if all(ends):
    total = road[-1].published.top1 - road[1].published.top1
    here_total = ends[1]["mean_percent"] - ends[0]["mean_percent"]
    lines += [
        "",
        f"From the first to the last network under the modern recipe, the paper gains "
        f"{total:+.2f} points and this run {here_total:+.1f}.",
    ]
settled = [step for step in rows if "clear" in claim(step, road.base(step))]
lines += [
    "",
    f"In the paper, {len(settled)} of the {len(rows)} changes exceed the two standard deviations "
    f"of their networks: {', '.join(step.name for step in settled)}. The others are within what "
    "seeds do, and are choices of taste and of cost as much as of accuracy.",
]
Markdown("\n".join(lines))

# %% [markdown]
# ## Retrained live
#
# One change again, small enough to wait for: the depthwise convolution, before and after, from
# `kv.training.ablate`, which also wrote the results above. Few images and epochs make a large
# spread; more of both only take time.

# %%
LIVE = ("patchify stem", "depthwise convolution")
if FAST:
    data, scale = "digits", {"limit_train": 128, "limit_val": 50, "epochs": 1}
    seeds = (0,)
else:
    data, scale = "tfds:cifar10", {"limit_train": 1000, "limit_val": 500, "epochs": 3}
    seeds = (0, 1)
shutil.rmtree(RUNS, ignore_errors=True)  # a run in an old folder would go on, not begin
live = kv.training.ablate(
    road, data, RUNS, steps=LIVE, seeds=seeds, width_multiplier=0.25, batch_size=32, **scale
)
top1 = {
    name: [100 * record["top1"] for record in live.records if record["step"] == name]
    for name in LIVE
}
macs = {record["step"]: record["macs"] / 1e6 for record in live.records}

figure, axes = plt.subplots(figsize=(7.5, 2.6))
for row, name in enumerate(LIVE):
    axes.plot(top1[name], [row] * len(top1[name]), "o", color=f"C{row}", alpha=0.7)
    axes.plot(np.mean(top1[name]), row, "|", color="black", markersize=22)
axes.set_yticks(range(len(LIVE)), [f"{name}\n{macs[name]:.1f} M multiply-adds" for name in LIVE])
axes.set_ylim(len(LIVE) - 0.5, -0.5)
axes.set_xlabel(f"top-1 on {data.removeprefix('tfds:')} (%)")
axes.set_title("One point per seed, the line is their mean")
plt.show()

# %%
before, after = (np.array(top1[name]) for name in LIVE)
change = np.mean(after - before)
share = macs[LIVE[1]] / macs[LIVE[0]]
step, base = road.step(LIVE[1]), road.step(LIVE[0])
spread = before.std(ddof=1) + after.std(ddof=1) if len(seeds) > 1 else None
verdict = (
    "One seed has no known spread."
    if spread is None
    else f"The two standard deviations are {spread:.1f} points together, so this "
    + ("could be chance." if abs(change) <= spread else "is more than the spread.")
)
epochs = several(scale["epochs"], "epoch")
Markdown(
    f"**{LIVE[1].capitalize()}**, on {scale['limit_train']:,} images and {epochs}: {share:.0%} of "
    f"the multiply-adds, {change:+.1f} points. {verdict} In the paper it is "
    f"{step.published.top1 - base.published.top1:+.2f} points, at "
    f"{step.published.gflops / base.published.gflops:.0%} of the multiply-adds."
)

# %% [markdown]
# ## What to take away
#
# - The two ends of the road are two configs, and every step between them is a model that can be
#   built, counted, trained and exported.
# - Costs can be checked to the last digit. Two printed figures of the table can't be right, which
#   changes nothing in the paper's argument.
# - Accuracies can't be checked at this scale, only directions, and only of steps that exceed the
#   spread between seeds. Small images, narrow networks and short trainings may favour
#   other choices than ImageNet does: regularisation and large kernels have little to work on.
# - A single seed of one's own says next to nothing about a change of a few tenths of a point, and
#   the paper prints standard deviations, too.
#
# The road of ResNet-200 to ConvNeXt-B is `kv.ablation.road("resnet200-to-convnext-base")`, and
# others lead to GResNet, ViT_C and ConViT: [the roads](../docs/roads.md). From a shell:
#
# ```sh
# keras-vitcnn ablate --road resnet50-to-convnext-tiny --dry-run
# keras-vitcnn ablate --road resnet50-to-convnext-tiny --data tfds:cifar10 \
#     --width-multiplier 0.25 --epochs 10 --seeds 3 --out runs/road
# ```
