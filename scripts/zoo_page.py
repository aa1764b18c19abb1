"""Write the pages of the zoo: docs/zoo.md, docs/zoo-weights.md, docs/zoo-accuracy.md.

Costs are counted by the library itself, without allocating a weight; published weights come from
its registry, accuracies from facts/zoo.json beside this file. docs/zoo.json holds the points of the
chart. Nothing there is written by hand.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path

import keras_vitcnn as kv
from keras_vitcnn.models import trunk
from keras_vitcnn.models.published import Published
from keras_vitcnn.models.registry import VARIANTS, Variant, published_for

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"
FACTS = json.loads((HERE / "facts" / "zoo.json").read_text())
FIGURES = ("px", "Parameters", "Weights", "Classes")
# timm's tags name what a model learned from before; these words, images beyond ImageNet-1k's.
MORE_IMAGES = re.compile(r"in12k|in21k|in22k|jft|ig1b|yfcc|laion|swag|seer|goog_distilled")
WITHOUT_LABELS = ("dino", "fcmae", "mae")  # of ImageNet-1k's images

NOTE = "<!-- Written by scripts/zoo_page.py (make zoo): change that file, not this one. -->"
WIDE = "---\nhide: [toc]  # room for the table\n---\n\n"
ZOO = f"""{WIDE}# The model zoo

{NOTE}

<div class="zoo-chart" markdown>

[The chart's points as JSON](zoo.json)

</div>

Each point is a published checkpoint: its top-1 on ImageNet-1k's validation set as timm measured it,
over what one image of that measurement costs. Figures of different training regimes say little
about architectures. The same as tables: [published weights](zoo-weights.md) and
[accuracies in print](zoo-accuracy.md).

## Models

Parameters are exact. Multiply-adds (the papers' "FLOPs") and activations, the numbers that
convolutions, linear maps and products of attention put out, are those of one image of the size in
the table. Top-1 is that of `weights="imagenet"`, the default checkpoint. *Between* are
Transformers with convolutions inside: in the stem, in a backbone, in the blocks, or as the start of
their attention.
"""
WEIGHTS = f"""{WIDE}# Published weights

{NOTE}

What `weights=` may name, the model's default first; [how](weights.md). Top-1 on ImageNet-1k's
validation set is timm's own measurement, where it prints one, at the given image size, and the
multiply-adds are those of that size. *More* images than ImageNet-1k's were seen by the model
before, or by the teacher it was distilled from.
"""
ACCURACY = f"""# Accuracies in print

{NOTE}

Top-1 on ImageNet-1k's validation set as the named source prints it: figures of different training
regimes say little about architectures.
"""
WITHOUT_CONSTRUCTOR = """## Published, without a constructor

The RegNetY and RegNetZ rows of "Early Convolutions Help Transformers See Better" (arXiv:2106.14881)
are not the public models of the same names: those networks and their image sizes were found by
"Fast and Accurate Model Scaling" (arXiv:2103.06877), and their configurations were not published.
Here are the printed figures, for comparison.
"""


def table(header: list[str], rows: list[list[str]]) -> str:
    # Columns of figures have their unit in brackets, or a size in pixels.
    sides = ["--:" if name.endswith(")") or name in FIGURES else ":--" for name in header]
    lines = [header, sides, *rows]
    markdown = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    # The site's tables.js sorts and filters what is in such a division; it is plain without.
    return f'<div class="data-table" markdown>\n\n{linked(markdown)}\n\n</div>\n'


def linked(text: str) -> str:
    return re.sub(r"arXiv[: ](\d{4}\.\d{5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


@cache
def cost(name: str, size: int) -> kv.Complexity:
    return kv.complexity(VARIANTS[name].config, (size, size, 3))


def design(row: Variant) -> str:
    """`ConvNet`, `Transformer`, or `between`."""
    config = row.config
    if isinstance(config, kv.SwinConfig):
        return "Transformer"
    if isinstance(config, kv.TransformerConfig):
        convolves = config.stem_widths or config.backbone or config.local_blocks
        return "between" if convolves else "Transformer"
    return "between" if isinstance(config, kv.MobileViTConfig) else "ConvNet"


def images(checkpoint: Published) -> str:
    tag = checkpoint.tag
    alone = ("in1k" in tag and not MORE_IMAGES.search(tag)) or tag in WITHOUT_LABELS
    return "ImageNet-1k" if alone else "more"


def model_row(row: Variant) -> list[str]:
    size = trunk.default_size(row.config)
    costs = cost(row.name, size)
    checkpoints = published_for(row)
    return [
        f"`{row.name}`",
        design(row),
        str(size),
        f"{costs.params:,}",
        f"{costs.macs / 1e9:.3f}",
        f"{costs.activations / 1e6:.2f}",
        percent(checkpoints[0].top1) if checkpoints else "",
        str(len(checkpoints)),
        row.source,
    ]


def weights_rows(row: Variant) -> Iterator[list[str]]:
    for checkpoint in published_for(row):
        size = checkpoint.top1_size
        yield [
            f"`{row.name}`",
            f"`{checkpoint.tag}`",
            images(checkpoint),
            str(checkpoint.classes or "none"),
            percent(checkpoint.top1),
            number(size),
            f"{cost(row.name, size).macs / 1e9:.3f}" if size else "",
        ]


def accuracy_rows(row: Variant) -> list[list[str]]:
    return [
        [
            f"`{row.name}`",
            number(fact["top1"]),
            number(fact["image_size"]),
            fact["regime"] or "",
            fact["source"],
        ]
        for name in dict.fromkeys((row.alias, *row.timm))
        for fact in FACTS["accuracy"]
        if fact["name"] == name
    ]


def points(row: Variant) -> Iterator[dict]:
    """What the chart draws: a checkpoint that timm has measured, at the size of the measurement."""
    for checkpoint in published_for(row):
        if checkpoint.top1 is None or checkpoint.top1_size is None:
            continue
        costs = cost(row.name, checkpoint.top1_size)
        yield {
            "model": row.name,
            "tag": checkpoint.tag,
            "design": design(row),
            "images": images(checkpoint),
            "px": checkpoint.top1_size,
            "top1": checkpoint.top1,
            "params": costs.params,
            "macs": costs.macs,
            "activations": costs.activations,
        }


def accuracy_page() -> str:
    page = [ACCURACY]
    for _, group in groupby(VARIANTS.values(), key=lambda row: row.source):
        rows = list(group)
        accuracies = [line for row in rows for line in accuracy_rows(row)]
        if accuracies:
            names = dict.fromkeys((rows[0].name, rows[-1].name))
            header = ["Model", "Top-1 (%)", "px", "Trained on and how", "Printed in"]
            page += [f"## {' to '.join(names)}\n", table(header, accuracies)]
    header = ["Model", "Parameters (M)", "MACs (G)", "Activations (M)", "Top-1 (%)", "Regime"]
    figures = ("params_millions", "gflops", "activations_millions", "top1")
    rows = [
        [fact["name"], *(number(fact[key]) for key in figures), fact["regime"]]
        for fact in FACTS["without_constructor"]
    ]
    return "\n".join([*page, linked(WITHOUT_CONSTRUCTOR), table(header, rows)])


def main() -> None:
    models = list(VARIANTS.values())
    header = ["Model", "Design", "px", "Parameters", "MACs (G)", "Activations (M)", "Top-1 (%)"]
    header += ["Weights", "Source"]
    (DOCS / "zoo.md").write_text("\n".join([ZOO, table(header, [model_row(m) for m in models])]))
    header = ["Model", "Tag", "Images", "Classes", "Top-1 (%)", "px", "MACs (G)"]
    rows = [line for row in models for line in weights_rows(row)]
    (DOCS / "zoo-weights.md").write_text("\n".join([WEIGHTS, table(header, rows)]))
    (DOCS / "zoo-accuracy.md").write_text(accuracy_page())
    drawn = ",\n".join(json.dumps(point) for row in models for point in points(row))
    (DOCS / "zoo.json").write_text(f"[\n{drawn}\n]\n")


if __name__ == "__main__":
    main()
