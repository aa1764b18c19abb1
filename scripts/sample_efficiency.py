"""Four small networks on shares of CIFAR-10, written to docs/results/sample-efficiency.md.

    TFDS_DATA_DIR=... KERAS_BACKEND=torch python scripts/sample_efficiency.py [--seeds 2]

A ConViT, the DeiT that it departs from, a ResNet and a ConvNeXt of about the same cost, each
trained on every share with the same number of images presented: on a twentieth of the images,
twenty times the epochs (arXiv:2103.10697, table 2). A stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_vitcnn import config_of, training
from keras_vitcnn.config import TransformerConfig
from keras_vitcnn.files import write_atomically
from keras_vitcnn.models import scale_width
from keras_vitcnn.models.registry import variant
from keras_vitcnn.training import plots
from keras_vitcnn.training.records import Findings, Record, RunFolder
from keras_vitcnn.training.render import Document, Figure, Table, markdown

ROOT = Path(__file__).resolve().parent.parent
IMAGES = 50_000  # to train on, in CIFAR-10
BATCH = 100  # divides every share's epoch, so that all shares have equally many steps
CONVIT, DEIT, RESNET, CONVNEXT = "ConViTMini", "DeiTMini", "ResNetMini", "ConvNeXtMini"
BASELINE = "linear model"

COLUMN = TransformerConfig(width=48, depth=3, num_heads=4)
MINIS = {  # name: what it is, config
    CONVIT: (
        "3 blocks of 48 channels in 4 heads, the first 2 with gated positional attention",
        replace(
            COLUMN, local_blocks=2, class_token_block=2, class_token_position=False, qkv_bias=False
        ),
    ),
    DEIT: ("3 blocks of 48 channels in 4 heads", COLUMN),
    RESNET: (
        "ResNet18 at a quarter of its width, 1, 1, 1, 1 blocks",
        replace(scale_width(config_of("ResNet18"), 0.25), depths=(1, 1, 1, 1)),
    ),
    CONVNEXT: (
        "ConvNeXtAtto at 0.4 of its width, 1, 1, 3, 1 blocks",
        replace(scale_width(config_of("ConvNeXtAtto"), 0.4), depths=(1, 1, 3, 1)),
    ),
}
# Pixels of a token's side, and the ConvNets' stride before their stages: twice as coarse as
# `adapt_to_image_size` has them, at a quarter of the cost: 40 trainings take less than an hour.
STEM_STRIDES = {(CONVIT, DEIT): 8, (RESNET, CONVNEXT): 4}
for _name, (_, _config) in MINIS.items():
    variant(_name, _config, "scripts/sample_efficiency.py", alias=_name.lower())

# Top-1 on shares of ImageNet-1k, percent: DeiT-S and ConViT-S, arXiv:2103.10697, table 2.
PUBLISHED = {
    5: (34.8, 47.8),
    10: (48.0, 59.6),
    30: (66.1, 73.7),
    50: (74.6, 78.2),
    100: (79.9, 81.4),
}


@dataclass(frozen=True)
class Share:
    """What was found with so many percent of the images."""

    percent: float
    records: list[Record]

    @property
    def images(self) -> int:
        return images_of(self.percent)

    def top1(self, model: str) -> dict[int, float]:
        """Percent by seed."""
        return {r["seed"]: 100 * r["top1"] for r in self.records if r["model"] == model}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shares", type=float, nargs="+", default=[5, 10, 25, 50, 100])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--presentations", type=int, default=50_000)
    parser.add_argument("--limit-val", type=int, default=2_500)
    parser.add_argument("--learning-rate", type=float, default=0.002, help="at its peak")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/sample_efficiency")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/sample_efficiency")
    options = parser.parse_args()
    epochs = {percent: epochs_of(percent, options.presentations) for percent in options.shares}
    found: dict[float, list[Findings]] = {}
    for seeds in range(1, options.seeds + 1):  # all shares once before any of them twice
        for percent in options.shares:
            found[percent] = [
                training.compare(
                    names,
                    "tfds:cifar10",
                    options.runs / f"{percent:g}-stride-{stride}",
                    seeds=range(seeds),
                    recipe=training.recipe(
                        "small-data",
                        learning_rate=options.learning_rate,
                        reference_batch_size=BATCH,
                    ),
                    epochs=epochs[percent],
                    batch_size=BATCH,
                    limit_train=images_of(percent),
                    limit_val=options.limit_val,
                    stem_stride=stride,
                    show_progress=True,
                )
                for names, stride in STEM_STRIDES.items()
            ]
            publish(found, options)


def images_of(percent: float) -> int:
    return round(IMAGES * percent / 100)


def epochs_of(percent: float, presentations: int) -> int:
    """As many as show so many images."""
    images = images_of(percent)
    if presentations % images or images % BATCH:
        raise SystemExit(
            f"--presentations must be a multiple of every share's images, and these of {BATCH}. "
            f"Received: --presentations {presentations}, {percent:g} % being {images} images"
        )
    return presentations // images


def publish(found: dict[float, list[Findings]], options: argparse.Namespace) -> None:
    """Write records, JSON, figure and page of what has finished."""
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    shares = []
    for percent, families in found.items():
        baseline = RunFolder(families[0].out)
        records = [r for one in families for r in one.records]
        records += baseline.records(baseline.baseline)
        lines = "".join(json.dumps(record) + "\n" for record in records)
        write_atomically(out / f"{percent:g}.jsonl", lines)
        shares.append(Share(percent, [r for r in records if "top1" in r]))
    shares.sort(key=lambda share: share.percent)
    settings = {
        "data": "CIFAR-10",
        "presentations": options.presentations,
        "batch_size": BATCH,
        "recipe": "small-data",
        "learning_rate": options.learning_rate,
        "limit_val": options.limit_val,
    }
    content = {"settings": settings, "models": models(shares), "published": published()}
    write_atomically(out / "sample-efficiency.json", json.dumps(content, indent=2) + "\n")
    figure = draw(shares)
    write_atomically(out / "accuracy.png", plots.png(figure))
    write_atomically(out / "accuracy.svg", plots.svg(figure))
    page = out.with_name(out.name.replace("_", "-")).with_suffix(".md")
    write_atomically(page, markdown(document(shares, options)))


def models(shares: Sequence[Share]) -> list[dict[str, Any]]:
    """Every model with its cost, and its top-1 in percent by share and seed."""
    content = []
    for name in (*MINIS, BASELINE):
        records = [r for share in shares for r in share.records if r["model"] == name]
        content.append(
            {
                "name": name,
                "what": MINIS[name][0] if name in MINIS else "softmax regression on the pixels",
                "params": records[0]["params"],
                "macs": records[0]["macs"],
                "adaptation": records[0].get("adaptation", ""),
                "shares": [
                    {
                        "percent": share.percent,
                        "images": share.images,
                        "top1": [round(value, 2) for value in share.top1(name).values()],
                    }
                    for share in shares
                ],
            }
        )
    return content


def published() -> dict[str, Any]:
    rows = [
        {"percent": percent, "DeiT-S": deit, "ConViT-S": convit}
        for percent, (deit, convit) in PUBLISHED.items()
    ]
    return {"source": "arXiv:2103.10697, table 2", "data": "ImageNet-1k", "top1": rows}


def draw(shares: Sequence[Share]) -> Any:
    """Top-1 over the number of images: means, bars from the lowest to the highest seed."""
    import matplotlib
    from matplotlib.figure import Figure as Plot

    images = np.array([share.images for share in shares])
    with matplotlib.rc_context(plots.STYLE):
        figure = Plot(figsize=(7.2, 4.6), layout="constrained")
        axes = figure.add_subplot()
        for index, name in enumerate((*MINIS, BASELINE)):
            values = [np.array([*share.top1(name).values()]) for share in shares]
            mean = np.array([value.mean() for value in values])
            reach = [
                mean - [value.min() for value in values],
                [value.max() for value in values] - mean,
            ]
            plain = name == BASELINE
            axes.errorbar(
                images * 1.03 ** (index - 2),  # beside each other, so that no bar hides another
                mean,
                yerr=reach,
                color=plots.INK if plain else plots.COLOURS[index],
                marker="" if plain else plots.MARKERS[index],
                linestyle="--" if plain else "-",
                linewidth=1.3 if plain else 2,
                capsize=3,
                label=name,
            )
        axes.set_xscale("log")
        axes.set_xticks(images, [f"{s.images:,}\n{s.percent:g} %" for s in shares])
        axes.minorticks_off()
        axes.set_xlabel("training images, and their share of CIFAR-10")
        axes.set_ylabel("validation top-1 (%)")
        figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=12)
    return figure


def document(shares: Sequence[Share], options: argparse.Namespace) -> Document:
    """The tables, what they say, and how they came about."""
    rows = [
        [f"{share.percent:g} % ({share.images:,})"]
        + [mean_and_reach(share.top1(name)) for name in (*MINIS, BASELINE)]
        for share in shares
    ]
    leads = [[f"{share.percent:g} %", with_reach(lead(share), "+")] for share in shares]
    printed = [
        [f"{percent} %", f"{deit:.1f}", f"{convit:.1f}", f"{convit - deit:+.1f}"]
        for percent, (deit, convit) in PUBLISHED.items()
    ]
    costs = [
        [m["name"], m["what"], f"{m['params']:,}", f"{m['macs'] / 1e6:.1f}", m["adaptation"]]
        for m in models(shares)
    ]
    epochs = ", ".join(
        f"{epochs_of(share.percent, options.presentations)} at {share.percent:g} %"
        for share in shares
    )
    seeds = " or ".join(map(str, sorted(seed_counts(shares))))
    scale = (
        f"CIFAR-10 at 32 pixels, every class keeping its share, {options.limit_val:,} images of "
        f"its test split for validation. Every training is shown {options.presentations:,} images "
        f"in {options.presentations // BATCH:,} steps of {BATCH}, whatever the share (epochs: "
        f"{epochs}). Recipe small-data, which shifts and mirrors images, with a peak learning rate "
        f"of {options.learning_rate:g}; seeds: {seeds}, which decide weights, "
        "order and augmentation. Top-1 is that of the last epoch, mean ± half the distance from "
        "the lowest to the highest seed."
    )
    machine = ", ".join(f"{key} {value}" for key, value in last_network(shares)["machine"].items())
    arguments = f"--shares {' '.join(f'{share.percent:g}' for share in shares)} "
    arguments += f"--seeds {max(seed_counts(shares))} --presentations {options.presentations} "
    arguments += f"--limit-val {options.limit_val} --learning-rate {options.learning_rate:g}"
    return Document(
        title="How many images a design needs",
        answer=[trend(shares), *map(winner, shares), closing(shares)],
        sections={
            "Results": [
                Figure("sample_efficiency/accuracy", "Accuracy over the number of images", ""),
                Table(rows, ["Share (images)", *MINIS, BASELINE]),
            ],
            "ConViT beside DeiT": [
                "Points that ConViTMini is ahead of DeiTMini, mean over the seeds ± half their "
                "distance:",
                Table(leads, ["Share of CIFAR-10", "Lead (points)"]),
                "As published for ImageNet-1k at 224 pixels, 300 epochs of all images and "
                "proportionally more of fewer (arXiv:2103.10697, table 2):",
                Table(printed, ["Share of ImageNet-1k", "DeiT-S (%)", "ConViT-S (%)", "Lead"]),
            ],
            "The networks": [
                Table(costs, ["Model", "What it is", "Parameters", "MACs (M)", "Fitted to 32 px"])
            ],
            "How they were trained": [scale],
            "Again": [f"`python scripts/sample_efficiency.py {arguments}` on: {machine}."],
        },
    )


def trend(shares: Sequence[Share]) -> str:
    """Whether ConViT's lead over DeiT shrinks with the images, beside the paper's."""
    first, last = shares[0], shares[-1]
    few, many = lead(first), lead(last)
    change = many.mean() - few.mean()
    if min(len(few), len(many)) < 2:
        verdict = "is from one seed at one of them, and can't be judged"
    elif abs(change) <= (np.ptp(few) + np.ptp(many)) / 2:
        verdict = "changes by less than the seeds' spread"
    else:
        verdict = "shrinks, as published" if change < 0 else "grows, unlike the published one"
    printed_few, printed_many = (PUBLISHED[share][1] - PUBLISHED[share][0] for share in (5, 100))
    return (
        f"With {first.percent:g} % of CIFAR-10's images ConViT is {with_reach(few, '+')} points "
        f"from DeiT, with {last.percent:g} % {with_reach(many, '+')}: its lead {verdict} (on "
        f"ImageNet-1k {printed_few:+.1f} points with 5 %, {printed_many:+.1f} with all)."
    )


def winner(share: Share) -> str:
    """Who is first at a share, and whether the seeds agree."""
    best, second = sorted(MINIS, key=lambda name: -mean(share.top1(name)))[:2]
    one, other = share.top1(best), share.top1(second)
    clear = min(one.values()) > max(other.values())
    return (
        f"At {share.percent:g} % {best} is first with {mean_and_reach(one)} %, {second} follows "
        f"with {mean_and_reach(other)} %{'' if clear else ', within the reach of the seeds'}."
    )


def closing(shares: Sequence[Share]) -> str:
    """What twenty times the images are worth to each."""
    gains = ", ".join(
        f"{name} {mean(shares[-1].top1(name)) - mean(shares[0].top1(name)):+.1f}" for name in MINIS
    )
    return (
        f"From {shares[0].images:,} to {shares[-1].images:,} images, in equally many steps, top-1 "
        f"moves by (points): {gains}."
    )


def lead(share: Share) -> np.ndarray:
    """ConViT's top-1 minus DeiT's of the same seed, for every seed."""
    convit, deit = share.top1(CONVIT), share.top1(DEIT)
    return np.array([convit[seed] - deit[seed] for seed in convit.keys() & deit.keys()])


def mean(top1: dict[int, float]) -> float:
    return float(np.mean([*top1.values()]))


def mean_and_reach(top1: dict[int, float]) -> str:
    return with_reach(np.array([*top1.values()]))


def with_reach(values: np.ndarray, sign: str = "") -> str:
    """The mean, and half the distance from the lowest to the highest where there are several."""
    reach = f" ± {np.ptp(values) / 2:.1f}" if len(values) > 1 else ""
    return f"{values.mean():{sign}.1f}{reach}"


def seed_counts(shares: Sequence[Share]) -> set[int]:
    """How many seeds the trainings have, which differ while a run is under way."""
    return {len(share.top1(name)) for share in shares for name in MINIS}


def last_network(shares: Sequence[Share]) -> Record:
    return next(record for record in shares[-1].records if record["model"] in MINIS)


if __name__ == "__main__":
    main()
