"""Write docs/zoo.md: what every model of the zoo costs, and what was published of its accuracy.

Costs are counted by the library itself, without allocating a weight; accuracies and tags of weights
come from facts/zoo.json beside this file. Nothing on the page is written by hand.
"""

import json
from itertools import groupby
from pathlib import Path

import keras_vitcnn as kv
from keras_vitcnn.models import trunk
from keras_vitcnn.models.published import Published
from keras_vitcnn.models.registry import VARIANTS, Variant, published_for

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "zoo.md"
FIGURES = ("px", "Parameters")
FACTS = json.loads((HERE / "facts" / "zoo.json").read_text())

INTRODUCTION = """# The model zoo

<!-- Written by scripts/zoo_page.py (make zoo): change that file, not this one. -->

Parameters are exact. Multiply-adds (the papers' "FLOPs") and activations, the numbers that
convolutions, linear maps and products of attention put out, are those of one image of the size in
the table. Top-1 is on ImageNet-1k's validation set as the named source prints it: figures of
different training regimes say little about architectures. Published weights are named by timm's
tags, with timm's own measurement of their top-1 and its image size, where timm prints one.
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
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def cost_row(row: Variant) -> list[str]:
    size = trunk.default_size(row.config)
    cost = kv.complexity(row.config, (size, size, 3))
    return [
        f"`{row.name}`",
        str(size),
        f"{cost.params:,}",
        f"{cost.macs / 1e9:.3f}",
        f"{cost.activations / 1e6:.2f}",
        ", ".join(dict.fromkeys(map(weights, published_for(row)))),
    ]


def weights(checkpoint: Published) -> str:
    if checkpoint.top1 is None:
        return f"`{checkpoint.tag}`"
    return f"`{checkpoint.tag}` {checkpoint.top1:.1f} % at {checkpoint.top1_size}"


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


def main() -> None:
    page = [INTRODUCTION]
    for source, group in groupby(VARIANTS.values(), key=lambda row: row.source):
        rows = list(group)
        names = dict.fromkeys((rows[0].name, rows[-1].name))
        page.append(f"## {' to '.join(names)}\n\nSource: {source}.\n")
        header = ["Model", "px", "Parameters", "MACs (G)", "Activations (M)", "Published weights"]
        page.append(table(header, [cost_row(row) for row in rows]))
        accuracies = [line for row in rows for line in accuracy_rows(row)]
        if accuracies:
            header = ["Model", "Top-1 (%)", "px", "Trained on and how", "Printed in"]
            page.append(table(header, accuracies))
    page.append(WITHOUT_CONSTRUCTOR)
    header = ["Model", "Parameters (M)", "MACs (G)", "Activations (M)", "Top-1 (%)", "Regime"]
    figures = ("params_millions", "gflops", "activations_millions", "top1")
    page.append(
        table(
            header,
            [
                [fact["name"], *(number(fact[key]) for key in figures), fact["regime"]]
                for fact in FACTS["without_constructor"]
            ],
        )
    )
    PAGE.write_text("\n".join(page))


if __name__ == "__main__":
    main()
