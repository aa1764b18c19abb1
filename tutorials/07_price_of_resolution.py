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
# # The price of resolution
#
# Attention compares every patch with every other, a convolution looks at a neighbourhood. So a ViT
# must become too dear at some image size; but at which? We count a ViT, a Swin and a ConvNeXt of
# one size class from 64 to 1024 pixels, derive where attention takes over, and then measure time
# and memory on this machine: does the clock agree with the count?
#
# **Needs** `pip install "keras-vitcnn[jax,plot]"`; no data, no weights.
#
# **Takes** about 8 minutes on one core of a server processor (FAST=1: under a minute and a half).
# The timings are those of the machine named in the output, and need one that does nothing else.

# %%
import os
import shutil
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow, where installed, has less to say
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import keras
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display

import keras_vitcnn as kv

FAST = os.environ.get("FAST") == "1"
COUNTED = ("ViTSmall16", "SwinTiny", "ConvNeXtTiny")  # 22, 28 and 29 million parameters
COUNTED_SIZES = (
    np.array([64, 128, 224, 448, 896, 1024])
    if FAST
    else np.unique([*range(64, 1025, 64), *range(224, 1025, 224)])
)
# Timed: the ViT first, which the others are compared with.
TIMED = ("ViTTiny16", "ConvNeXtAtto") if FAST else COUNTED
TIMED_SIZES = (64, 128) if FAST else (64, 128, 224, 448, 896)
REPEATED_SIZES = () if FAST else (224, 128)
SECONDS = 0.2 if FAST else 1.0  # of timed steps per point; at least five are taken
RUNS = Path("runs/07")

plt.style.use("style.mplstyle")
keras.utils.set_random_seed(0)
shutil.rmtree(RUNS, ignore_errors=True)
MARKERS = dict(zip(dict.fromkeys(COUNTED + TIMED), "os^Dv", strict=False))
COLOURS = {name: f"C{index}" for index, name in enumerate(MARKERS)}


def curves(axis, sizes, values, **options):
    """A line for each model over the image size, on logarithmic axes."""
    for name, numbers in values.items():
        axis.loglog(
            sizes, numbers, marker=MARKERS[name], color=COLOURS[name], label=name, **options
        )
    axis.set_xlabel("image size (px)")
    ticks = [size for size in (64, 128, 224, 448, 896) if min(sizes) <= size <= max(sizes)]
    axis.set_xticks(ticks, ticks)
    axis.minorticks_off()


# %% [markdown]
# ## Counted
#
# `kv.complexity(config, input_shape)` counts multiply-adds (MACs) and activations, the numbers that
# convolutions, linear maps and both products of attention put out. It walks over the graph and
# allocates no weights, so that 1024 pixels cost no more than 64.


# %%
def counts(name, sizes):
    """Complexity of one image at each size in pixels."""
    config = kv.config_of(name)
    return [kv.complexity(config, (int(size), int(size), 3)) for size in sizes]


cost = {name: counts(name, COUNTED_SIZES) for name in COUNTED}
macs = {name: np.array([one.macs for one in found], float) for name, found in cost.items()}
activations = {
    name: np.array([one.activations for one in found], float) for name, found in cost.items()
}

shown = [size for size in (64, 224, 448, 896) if size in COUNTED_SIZES]
print(f"{'GMACs of one image at':22}" + "".join(f"{size:8} px" for size in shown))
for name in COUNTED:
    row = [macs[name][list(COUNTED_SIZES).index(size)] / 1e9 for size in shown]
    print(f"{name:22}" + "".join(f"{value:11.2f}" for value in row))


# %%
figure, axes = plt.subplots(1, 2, figsize=(10.5, 4.4))
for axis, values, unit, label in (
    (axes[0], macs, 1e9, "multiply-adds (G)"),
    (axes[1], activations, 1e6, "activations (M)"),
):
    curves(axis, COUNTED_SIZES, {name: v / unit for name, v in values.items()}, markersize=5)
    axis.set(ylabel=label, title=f"{label.split(' (')[0].capitalize()} of one image")
    axis.legend()
plt.show()


def exponent(sizes, values):
    """p in values ~ pixels ** p, the slope of a line through the logarithms."""
    return np.polyfit(2 * np.log(sizes), np.log(values), 1)[0]


small, large = COUNTED_SIZES <= 224, COUNTED_SIZES >= 448
print("Fitted slope p, cost ~ pixels ** p")
print(f"{'':28}{'64 to 224 px':>14}{'448 to 1024 px':>16}")
for what, values in {"MACs": macs, "activations": activations}.items():
    for name in COUNTED:
        low, high = (exponent(COUNTED_SIZES[part], values[name][part]) for part in (small, large))
        print(f"{name:16}{what:12}{low:14.2f}{high:16.2f}")

# %% [markdown]
# ConvNeXt grows with the number of pixels and no faster, $p = 1$. So does Swin, but for the zeros
# that fill up its windows of 7 x 7 positions: only at multiples of 224 px do windows fit all its
# maps. The ViT is on its way from one to two, and its activations are ahead of its multiply-adds.
#
# The cost per pixel shows it best: a level line is linear cost.

# %%
figure, axis = plt.subplots()
per_pixel = {name: values / COUNTED_SIZES**2 / 1e3 for name, values in macs.items()}
curves(axis, COUNTED_SIZES, per_pixel, markersize=5)
axis.set_yscale("linear")
axis.set(ylabel="multiply-adds per pixel (thousands)", ylim=(0, None))
axis.set_title("A level line is linear cost")
axis.legend()
plt.show()


# %%
def overtakes(sizes, first, second):
    """The size from which on `first` is always the larger one; None if it ends as the smaller."""
    ratio = np.log(np.asarray(first) / np.asarray(second))
    below = np.flatnonzero(ratio <= 0)
    if len(below) == 0:
        return float(sizes[0])
    last = below[-1]
    if last == len(sizes) - 1:
        return None
    share = -ratio[last] / (ratio[last + 1] - ratio[last])
    low, high = np.log(sizes[last]), np.log(sizes[last + 1])
    return float(np.exp(low + share * (high - low)))


def sentence(what, first, second, sizes, at):
    """In words what `overtakes` found."""
    if at is None:
        return f"{first} needs no more {what} than {second} at {sizes[-1]} px"
    if at == sizes[0]:
        return f"{first} needs more {what} than {second} at every size"
    return f"{first} needs more {what} than {second} from {at:.0f} px on"


vit, *others = COUNTED
found = [
    sentence(what, vit, other, COUNTED_SIZES, overtakes(COUNTED_SIZES, v[vit], v[other]))
    for what, v in {"multiply-adds": macs, "activations": activations}.items()
    for other in others
]
display(
    Markdown(
        "Counted, with sizes between the counted ones interpolated:\n\n- "
        + ";\n- ".join(found)
        + "."
    )
)

# %% [markdown]
# ## Where attention takes over
#
# A block of width $D$ on $n$ tokens multiplies
#
# - $3nD^2$ for queries, keys and values, $nD^2$ for the projection behind attention, $8nD^2$ for an
#   MLP that is four times as wide: $12nD^2$ together;
# - $n^2D$ for $QK^\top$ and $n^2D$ for $AV$: $2n^2D$ together.
#
# So attention's share is
#
# $$\frac{2n^2D}{2n^2D + 12nD^2} = \frac{n}{n + 6D}$$
#
# and it is half at $n = 6D$ tokens. With patches of $P$ pixels that is an image of $P\sqrt{6D}$
# pixels. Activations are another matter: linear maps put out $3 + 1 + 4 + 1$ and $AV$ one number
# per channel, $10nD$; the matrices of $H$ heads are $Hn^2$. These are equal at $n = 10D/H$, ten
# times the width of a head, which is 64 in all of these models.
#
# The count must agree: as a polynomial in $n$ it is a parabola, which three sizes determine.

# %%
config = kv.config_of(vit)
n = (COUNTED_SIZES // config.patch_size) ** 2 + 1.0  # with the class token
heads, width = config.num_heads, config.width


def parabola(values):
    """(a, b, c) of a n^2 + b n + c through three sizes, and its largest error at all others."""
    three = [0, len(n) // 2, -1]
    found = np.linalg.solve(np.vander(n[three], 3), values[three])
    return found, np.abs(np.vander(n, 3) @ found / values - 1).max()


for what, values, quadratic, half in (
    ("MACs", macs[vit], 2 * config.depth * width, 6 * width),
    ("activations", activations[vit], config.depth * heads, 10 * width // heads),
):
    (a, b, c), error = parabola(values)
    print(f"{what:12} {a:6.0f} n^2 + {b:9.0f} n + {c:7.0f}; largest error {error:.0e}")
    print(f"{'':12} derived: {quadratic} n^2; half at n = b / a = {b / a:.0f}, derived {half}")

print(f"\n{'attention is half':20}{'width':>10}{'patch':>7}{'MACs':>14}{'activations':>22}")
for name in ("ViTTiny16", "ViTSmall16", "ViTBase16", "ViTLarge16", "ViTSmall8"):
    one = kv.config_of(name)
    side = one.patch_size * np.sqrt(6 * one.width)
    memory = one.patch_size * np.sqrt(10 * one.width / one.num_heads)
    print(f"{name:20}{one.width:10}{one.patch_size:7}{side:11.0f} px{memory:19.0f} px")

# %% [markdown]
# What $b$ has more than $12D^2$ per block is the patch embedding; hence the count's $b / a$ is
# slightly above the formula. The wider a ViT, the later attention matters: its quadratic part grows
# with $D$, the rest with $D^2$. Smaller patches are the other way to many tokens.

# %%
fine = np.geomspace(64, 1024, 200)
tokens = (fine / config.patch_size) ** 2 + 1
figure, axis = plt.subplots()
for what, values, half, colour in (
    ("multiply-adds", macs[vit], 6 * width, "C0"),
    ("activations", activations[vit], 10 * width / heads, "C1"),
):
    (a, _, _), _ = parabola(values)
    side = config.patch_size * np.sqrt(half)
    share = 100 * tokens / (tokens + half)
    axis.plot(fine, share, color=colour, alpha=0.5)
    marker = "o" if colour == "C0" else "s"
    axis.plot(
        COUNTED_SIZES, 100 * a * n**2 / values, marker, color=colour, label=f"{what}, counted"
    )
    axis.plot([side, side], [0, 50], ":", color=colour, linewidth=1.5)
    axis.annotate(f" {side:.0f} px", (side, 3), color=colour)
axis.axhline(50, color="black", linestyle=":", linewidth=1)
axis.set(
    title=f"Attention's share of {vit}; lines: n / (n + half)",
    xlabel="image size (px)",
    ylabel="share of attention (%)",
    ylim=(0, 100),
)
axis.legend(loc="upper left")
plt.show()

# %% [markdown]
# ## Measured
#
# `kv.speed.benchmark` measures each model at each size in a process of its own: some steps to warm
# up, then timed steps, then the peak of its resident memory. We go up through the sizes, and at
# every size all models take their turn, so that what is compared stands close together in time. The
# middle sizes are measured once more on the way down; a point is the median of all its steps. One
# image at a time, float32, random weights: the numbers don't change the time. JAX compiles a whole
# network into one program, so that calling its layers takes no time.

# %%
records = []
for sizes, models, folder in (
    (TIMED_SIZES, TIMED, RUNS / "up"),
    (REPEATED_SIZES, TIMED[::-1], RUNS / "down"),
):
    for size in sizes:
        found = kv.speed.benchmark(
            models, folder, seconds=SECONDS, batch_sizes=(1,), image_sizes=(size,)
        )
    if sizes:
        records += found.records  # of all calls with that folder

# %%
points = [record for record in records if record["kind"] == "point"]
failed = {f"{r['model']} at {r['image_size']} px: {r['failure']}" for r in points if "failure" in r}
if failed:
    raise RuntimeError("Not measured: " + "; ".join(sorted(failed)))


def at_point(name, size):
    return [r for r in points if (r["model"], r["image_size"]) == (name, size)]


seconds, memory, drift = {}, {}, []
for name in TIMED:
    runs = [at_point(name, size) for size in TIMED_SIZES]
    seconds[name] = np.array(
        [np.median(np.concatenate([r["step_seconds"] for r in found])) for found in runs]
    )
    memory[name] = np.array(
        [np.median([r["peak_memory"] or np.nan for r in found]) / 1e6 for found in runs]
    )
    medians = [[np.median(r["step_seconds"]) for r in found] for found in runs]
    drift += [max(pair) / min(pair) - 1 for pair in medians if len(pair) > 1]

machine = points[0]["machine"]
peak = np.median([r["macs_per_second"] for r in records if r["kind"] == "matmul"]) / 1e9
print(
    f"{machine['processor']}, cores used: {machine['cores']}, "
    f"accelerator: {machine['accelerator']}, backend: {machine['backend']}"
)
print(f"fastest product of two matrices: {peak:.1f} GMACs/s")
if drift:
    print(
        f"measured twice, a point's medians differ by {np.median(drift):.0%}, "
        f"the worst by {max(drift):.0%}"
    )
print(f"\n{'milliseconds at':22}" + "".join(f"{size:8} px" for size in TIMED_SIZES))
for name in TIMED:
    print(f"{name:22}" + "".join(f"{1e3 * value:11.1f}" for value in seconds[name]))

# %% [markdown]
# Time and speed over the size. The dotted lines in the first plot are what the time would be if
# every multiply-add took as long as those of the same model at the largest size.

# %%
work = {name: np.array([at_point(name, size)[0]["macs"] for size in TIMED_SIZES]) for name in TIMED}
speed = {name: work[name] / seconds[name] / 1e9 for name in TIMED}

figure, axes = plt.subplots(1, 2, figsize=(10.5, 4.4))
for name in TIMED:
    counted = work[name] * seconds[name][-1] / work[name][-1]
    axes[0].loglog(TIMED_SIZES, counted, ":", color=COLOURS[name], linewidth=1.5)
curves(axes[0], TIMED_SIZES, seconds)
axes[0].set(title="Time of one image", ylabel="seconds (median)")
curves(axes[1], TIMED_SIZES, speed)
axes[1].set_yscale("linear")
axes[1].axhline(peak, color="black", linestyle=":", linewidth=1)
axes[1].annotate("matrix product", (TIMED_SIZES[0], peak), (0, 4), "data", "offset points")
axes[1].set(
    title="Speed",
    ylabel="multiply-adds per second (G)",
    ylim=(0, 1.15 * max(peak, *map(max, speed.values()))),
)
for axis in axes:
    axis.legend()
plt.show()

# %%
vit, *others = TIMED
lines = []
for other in others:
    counted = {name: [one.macs for one in counts(name, COUNTED_SIZES)] for name in (vit, other)}
    by_count = overtakes(COUNTED_SIZES, counted[vit], counted[other])
    by_clock = overtakes(TIMED_SIZES, seconds[vit], seconds[other])
    lines.append(
        f"- **{vit} and {other}.** Counted: "
        + sentence("multiply-adds", vit, other, COUNTED_SIZES, by_count)
        + ". Measured: "
        + sentence("time", vit, other, TIMED_SIZES, by_clock)
        + f". At {TIMED_SIZES[-1]} px {vit} has {work[vit][-1] / work[other][-1]:.2f} times the "
        + f"multiply-adds and takes {seconds[vit][-1] / seconds[other][-1]:.2f} times as long."
    )
for name in TIMED:
    p, q = (
        np.log(values[-1] / values[-2]) / (2 * np.log(TIMED_SIZES[-1] / TIMED_SIZES[-2]))
        for values in (work[name], seconds[name])
    )
    lines.append(
        f"- **{name}** grows from {TIMED_SIZES[-2]} to {TIMED_SIZES[-1]} px with pixels to the "
        f"{p:.2f} by count and to the {q:.2f} by the clock; its multiply-adds run at "
        f"{speed[name][0] / peak:.0%} of the matrix product's speed at {TIMED_SIZES[0]} px and at "
        f"{speed[name][-1] / peak:.0%} at {TIMED_SIZES[-1]} px."
    )
display(Markdown("On this machine:\n\n" + "\n".join(lines)))

# %% [markdown]
# Two things stand between count and clock. At small sizes much of the time does not depend on the
# image: all weights have to be read, for only a few tokens or positions. And a multiply-add is not
# always as quick: a ViT consists of large matrix products, which processors are best at, while
# depthwise convolutions, layer norms, GELU, softmax and the cutting of windows move many numbers
# for few multiply-adds, or for none that are counted. Which of these wins on your machine is in the
# lines above, and may differ from ours.

# %% [markdown]
# ## Memory
#
# The peak of the process includes Python, the libraries and the weights. What the image size adds
# is the difference to the smallest size.

# %%
added = {name: np.maximum(values - values[0], 1) for name, values in memory.items()}
n_timed = [(size // kv.config_of(vit).patch_size) ** 2 + 1 for size in TIMED_SIZES]
matrices = np.array([kv.config_of(vit).num_heads * tokens**2 * 4 / 1e6 for tokens in n_timed])

figure, axis = plt.subplots()
axis.loglog(TIMED_SIZES[1:], matrices[1:], "k:", label=f"all A of one layer of {vit}")
curves(axis, TIMED_SIZES[1:], {name: values[1:] for name, values in added.items()})
axis.set(
    title=f"Memory that resolution adds to that at {TIMED_SIZES[0]} px",
    ylabel="peak resident memory (MB)",
)
axis.legend()
plt.show()

print(f"{'peak of the process (MB)':26}" + "".join(f"{size:8} px" for size in TIMED_SIZES))
for name in TIMED:
    print(f"{name:26}" + "".join(f"{value:11,.0f}" for value in memory[name]))

stored = added[vit][-1] > matrices[-1]
dearest = max(TIMED, key=lambda name: added[name][-1])
display(
    Markdown(
        f"At {TIMED_SIZES[-1]} px the attention matrices of one layer of {vit} would take "
        f"{matrices[-1]:,.0f} MB if they were stored. The process grew by {added[vit][-1]:,.0f} MB "
        f"over {TIMED_SIZES[0]} px, which is "
        + ("enough to hold them. " if stored else "less: they never exist as a whole. ")
        + f"The model that grows most is {dearest}, by {added[dearest][-1]:,.0f} MB."
    )
)

# %% [markdown]
# The activations were counted as if every matrix $A$ were put out. Whether one is depends on the
# kernel. A fused one computes it in pieces and keeps none
# ([arXiv:2205.14135](https://arxiv.org/abs/2205.14135); PyTorch's `scaled_dot_product_attention`,
# which Keras calls on that backend): the quadratic time stays, the quadratic memory goes. Plain
# matrix products, as of JAX on a CPU, store it. A ConvNet or a Swin starts with maps at a stride of
# 4 pixels, 16 times as many positions as a ViT has tokens, and its widest map sets the peak. In
# training, where activations of all layers wait for the backward pass, the counted ones are the
# better guide.
#
# What one pays for resolution with each design is above; what one gets for it, on one's own
# images, is what [a comparison](../docs/compare.md) measures. The shell command for timings is in
# [docs/speed.md](../docs/speed.md).
