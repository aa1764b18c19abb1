"""Two networks on CIFAR-10 under an old and a new recipe, written to docs/results/recipes.md.

    TFDS_DATA_DIR=... python scripts/recipe_comparison.py [--epochs 20] [--seeds 2]

The same small ResNet and ConvNeXt are trained under ResNet's recipe of 90 epochs and ConvNeXt's of
300, both scaled down, and ConvNeXt once more in mixed_bfloat16. A stopped run goes on where it was;
with the same arguments it ends with the same figures on the same machine.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_vitcnn import training
from keras_vitcnn.files import write_atomically
from keras_vitcnn.training.records import Findings, Record
from keras_vitcnn.training.render import Document, Table, markdown

ROOT = Path(__file__).resolve().parent.parent
RESNET, CONVNEXT = "ResNet18", "ConvNeXtAtto"
WIDTHS = {
    RESNET: 0.25,
    CONVNEXT: 0.5,
}  # of their channels, so that both have under a million weights
BATCH = 128
# What a recipe of hundreds of epochs on ImageNet can't keep in a few thousand steps: averages that
# are longer than the training, and a learning rate for batches of 4,096 images, divided by 32.
CHANGES = {
    "resnet-90": {},
    "convnext-300": {"ema": None, "learning_rate": 1e-3, "reference_batch_size": BATCH},
}
RUNS = {  # its name: recipe, dtype, models
    "resnet-90": ("resnet-90", "float32", (RESNET, CONVNEXT)),
    "convnext-300": ("convnext-300", "float32", (RESNET, CONVNEXT)),
    "convnext-300, bfloat16": ("convnext-300", "mixed_bfloat16", (CONVNEXT,)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--limit-train", type=int, default=10_000)
    parser.add_argument("--limit-val", type=int, default=5_000)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/recipes")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/recipes")
    options = parser.parse_args()
    found = {}
    for name, (recipe, dtype, models) in RUNS.items():
        for model in models:
            found[name, model] = training.compare(
                (model,),
                "tfds:cifar10",
                options.runs / name / model,
                seeds=range(options.seeds),
                recipe=replace(training.recipe(recipe), **CHANGES[recipe]),
                dtype=dtype,
                epochs=options.epochs,
                batch_size=BATCH,
                width_multiplier=WIDTHS[model],
                limit_train=options.limit_train,
                limit_val=options.limit_val,
                show_progress=True,
            )
    options.out.mkdir(parents=True, exist_ok=True)
    for (name, model), one in found.items():
        kept = options.out / f"{name.replace(', ', '-')}-{model.lower()}.jsonl"
        shutil.copy(one.out / "results.jsonl", kept)
    write_atomically(options.out.with_suffix(".md"), markdown(page(found, options)))


def page(found: dict[tuple[str, str], Findings], options: argparse.Namespace) -> Document:
    """The table, what it says, and how it came about."""
    top1 = {
        (run, model): np.array([100 * r["top1"] for r in one.records if r["model"] == model])
        for (run, model), one in found.items()
    }
    rows = [
        [model, run, mean_and_range(values), " / ".join(f"{value:.1f}" for value in values)]
        for (run, model), values in sorted(top1.items(), key=lambda item: item[0][::-1])
    ]
    answer = [
        gain(model, top1["resnet-90", model], top1["convnext-300", model]) for model in WIDTHS
    ]
    half, full = top1["convnext-300, bfloat16", CONVNEXT], top1["convnext-300", CONVNEXT]
    answer.append(
        f"In mixed_bfloat16 {CONVNEXT} ends at {half.mean():.1f} %, in float32 at "
        f"{full.mean():.1f} %: {'within' if overlap(half, full) else 'outside'} the spread of the "
        "seeds."
    )
    record: Record = found["resnet-90", RESNET].records[0]
    changed = [
        f"{name}, {', '.join(f'{field} = {value}' for field, value in changes.items())}"
        for name, changes in CHANGES.items()
        if changes
    ]
    widths = ", ".join(f"{model} at {width:g} of its width" for model, width in WIDTHS.items())
    scale = (
        f"CIFAR-10, {options.limit_train:,} images for training and {options.limit_val:,} for "
        f"validation, 32 pixels; {options.epochs} epochs in batches of {BATCH}; {widths}; "
        f"{options.seeds} seeds, which decide weights, order and augmentation. Warm-ups and "
        f"milestones keep their fraction of the epochs. Changed: {'; '.join(changed)}."
    )
    machine = ", ".join(f"{key} {value}" for key, value in record["machine"].items())
    return Document(
        title="What a recipe is worth",
        answer=answer,
        sections={
            "Results": [Table(rows, ["Model", "Run", "Top-1 (%), mean and reach", "Seeds"])],
            "How it was trained": [scale],
            "Again": [
                f"`python scripts/recipe_comparison.py --epochs {options.epochs} "
                f"--seeds {options.seeds} --limit-train {options.limit_train} "
                f"--limit-val {options.limit_val}` on: {machine}."
            ],
        },
    )


def gain(model: str, old: np.ndarray, new: np.ndarray) -> str:
    """One sentence about a model under both recipes."""
    difference = new.mean() - old.mean()
    verdict = "less than the seeds' spread" if overlap(old, new) else "more than the seeds' spread"
    return (
        f"{model}: {old.mean():.1f} % under resnet-90, {new.mean():.1f} % under convnext-300, "
        f"{difference:+.1f} points, {verdict}."
    )


def mean_and_range(values: np.ndarray) -> str:
    return f"{values.mean():.1f} ± {np.ptp(values) / 2:.1f}"


def overlap(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(one.min() <= other.max() and other.min() <= one.max())


if __name__ == "__main__":
    main()
