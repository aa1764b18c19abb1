"""Write the tables that come from timm: published checkpoints, and ImageNet's class names.

    python scripts/timm_tables.py [--top1 results-imagenet.csv]

Top-1 accuracies are timm's own measurements (results/results-imagenet.csv of its repository, or a
JSON of such records); without --top1 the table keeps those that it has. Run it again whenever a
model is added or timm is updated; a test compares the tables with what this writes.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

Top1 = dict[str, dict[int, float]]  # timm's name of a checkpoint -> image size -> per cent

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = ROOT / "keras_vitcnn/models/published.json"
CLASSES = ROOT / "keras_vitcnn/data/imagenet_classes.txt"


def published(top1: Top1) -> str:
    """The table of checkpoints, one a line, timm's default of each architecture first."""
    from keras_vitcnn.models.registry import VARIANTS
    from tests.reference import import_timm

    timm = import_timm()

    names = [name for row in VARIANTS.values() for name in row.timm]
    rows = {name: rows_of(name, top1) for name in names}
    blocks = [
        f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(row) for row in found) + "\n]"
        for name, found in rows.items()
        if found
    ]
    made_with = json.dumps(f"timm {timm.__version__}")
    return f'{{"made_with": {made_with},\n"checkpoints": {{\n' + ",\n".join(blocks) + "\n}}\n"


def rows_of(name: str, top1: Top1) -> list[dict[str, Any]]:
    from timm.models import get_arch_pretrained_cfgs, get_pretrained_cfg

    default = get_pretrained_cfg(name)
    found = sorted(get_arch_pretrained_cfgs(name).values(), key=lambda c: c.tag != default.tag)
    return [
        row_of(name, cfg, top1)
        for cfg in found
        # Others hold their weights in files of other libraries, under other names.
        if (cfg.hf_hub_id or "").startswith("timm/") and not cfg.hf_hub_filename
    ]


def row_of(name: str, cfg: Any, top1: Top1) -> dict[str, Any]:
    full = f"{name}.{cfg.tag}"
    row = {
        "tag": cfg.tag,
        "hub": cfg.hf_hub_id if cfg.hf_hub_id != "timm/" else f"timm/{full}",
        "classes": cfg.num_classes,
        "image_size": list(cfg.input_size[1:]),
        "crop_pct": cfg.crop_pct,
        "crop_mode": cfg.crop_mode,
        "interpolation": cfg.interpolation,
        "mean": list(cfg.mean),
        "std": list(cfg.std),
    }
    if measured := top1.get(full):
        # At the checkpoint's own size, or else at the larger one that timm prefers for testing.
        size = cfg.input_size[1] if cfg.input_size[1] in measured else max(measured)
        row["top1"], row["top1_size"] = measured[size], size
    return row


def known_top1() -> Top1:
    if not PUBLISHED.exists():
        return {}
    found = json.loads(PUBLISHED.read_text())["checkpoints"]
    return {
        f"{name}.{row['tag']}": {row["top1_size"]: row["top1"]}
        for name, rows in found.items()
        for row in rows
        if "top1" in row
    }


def read_top1(path: Path) -> Top1:
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    else:
        rows = [
            {**record, "model": record["timm_pretrained"], "img_size": record["image_size"]}
            for record in json.loads(path.read_text())["records"]
            if record.get("timm_pretrained") and record["source"].endswith("results-imagenet.csv")
        ]
    found: Top1 = {}
    for row in rows:
        found.setdefault(row["model"], {})[int(row["img_size"])] = float(row["top1"])
    return found


def class_names() -> str:
    """ImageNet-1k's classes in their order: WordNet id, tab, names."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return "".join(f"{n}\t{info.label_name_to_description(n)}\n" for n in info.label_names())


def tables(top1: Top1) -> dict[Path, str]:
    return {PUBLISHED: published(top1), CLASSES: class_names()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--top1", type=Path)
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    for path, text in tables(read_top1(args.top1) if args.top1 else known_top1()).items():
        path.write_text(text)
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
