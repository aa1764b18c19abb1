"""What was measured along a road beside what was published: table, figures, JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from keras_vitcnn.ablation import Cost, Road, as_printed
from keras_vitcnn.files import write_atomically
from keras_vitcnn.training import ablation_plots, plots
from keras_vitcnn.training.ablation_plots import Point, Rate, Series
from keras_vitcnn.training.directions import AGREES, DISAGREES, Line, lines
from keras_vitcnn.training.records import Findings, Record, RunFolder
from keras_vitcnn.training.render import Document, Figure, Table
from keras_vitcnn.training.report import machines, publish

HEADER = (
    "Step",
    "Published top-1 (%)",
    "Published change",
    "GFLOPs printed",
    "GMACs counted",
    "Recipe",
    "Measured top-1 (%)",
    "Measured change",
    "Direction",
    "MACs as trained (M)",
)
READING = (
    "Published top-1: {published}. Measured top-1: after the last epoch, on the validation "
    "images, mean ± sample standard deviation over the seeds{best}. A change is that from the last "
    "adopted step before in points, the last printed one for a printed figure, measured over the "
    "seeds that both have; a step in brackets was tried by the paper, not adopted. A measured "
    "change counts as a direction if it is larger than the sum of both standard deviations. GMACs "
    "are the multiply-adds of the published network at 224 pixels, counted here; MACs as trained "
    "are those of the network that was trained."
)


def write(folder: RunFolder, road: Road, published: Sequence[Cost]) -> Findings:
    """Write `report.md`, `report.html`, `road.json` and the figures from a folder's records."""
    settings = folder.settings()
    records = folder.records(folder.results)
    table_lines = lines(road, records)
    figures: list[Figure] = []
    drawn = {"road": ablation_plots.draw_road(_columns(road, published, table_lines, settings))}
    rates = _rates(road, records)
    if any(len({point.rate for point in points}) > 1 for points in rates.values()):
        drawn["learning_rates"] = ablation_plots.draw_rates(rates)
    for name, figure in drawn.items():
        write_atomically(folder.path / f"{name}.png", plots.png(figure))
        write_atomically(folder.path / f"{name}.svg", plots.svg(figure))
        caption = ablation_plots.CAPTIONS[name]
        figures.append(Figure(name, caption, plots.inline_svg(figure, caption)))
    table = Table(_rows(published, table_lines, records), HEADER)
    swept = len({record.get("rate_factor") for record in records}) > 1
    reading = READING.format(
        published=f"{road.top1} ({road.source})",
        best=", at the best of the learning rates" if swept else "",
    )
    document = Document(
        title=f"{road.title} on {settings['about']['data']}",
        answer=headline(road, table_lines, settings),
        sections={
            "Steps": [*figures, table, reading, *_misprints(road)],
            "How it was trained": [_conditions(settings), *_adaptations(records)],
            "Machine": [machines(records)] if records else ["Nothing has finished yet."],
        },
    )
    content = _plain(road, published, table_lines, settings)
    write_atomically(folder.path / "road.json", json.dumps(content, indent=2) + "\n")
    return publish(folder.path, document, records, table)


def headline(road: Road, rows: Sequence[Line], settings: Record) -> list[str]:
    """How many steps went as published, and at what scale that was seen."""
    about = settings["about"]
    scale = (
        f"{about['train_images']:,} images of {settings['image_size']} pixels, widths times "
        f"{settings['width_multiplier']:g}, {_budget(settings)}, "
        f"{len(settings['seeds'])} seed{'s' if len(settings['seeds']) > 1 else ''}"
    )
    sentences = []
    for recipe in dict.fromkeys(row.recipe for row in rows if not row.step.recipe):
        judged = [row.direction for row in rows if row.recipe == recipe and row.direction]
        under = f" under {recipe}" if recipe else ""
        if not judged:
            sentences.append(f"{road.title}{under}: no step can be judged yet.")
            continue
        count = {kind: sum(one.startswith(kind) for one in judged) for kind in (AGREES, DISAGREES)}
        open_ones = len(judged) - sum(count.values())
        sentences.append(
            f"{road.title}{under}: of {len(judged)} steps with a published direction, "
            f"{count[AGREES]} went the same way here, {count[DISAGREES]} the opposite way, and "
            f"{open_ones} moved less than the seeds spread."
        )
    if len(settings["seeds"]) == 1:
        sentences.append("From one seed the spread between trainings is unknown.")
    sentences.append(
        f"This is not the paper’s scale: {scale}, where the paper has ImageNet-1k at 224 pixels."
    )
    return sentences


def _rows(
    published: Sequence[Cost], rows: Sequence[Line], records: Sequence[Record]
) -> list[list[str]]:
    macs = {record["step"]: record["macs"] for record in records}
    counted = {cost.step.name: cost.complexity for cost in published}
    failed = {(r["step"], r["recipe"]) for r in records if "failure" in r}
    road = [cost.step for cost in published]
    cells = []
    for row in rows:
        step, printed = row.step, row.step.published
        gflops = as_printed(road, step, "gflops")
        measured = str(row.best) if row.best else ""
        if (step.name, row.recipe) in failed:
            measured += " (some failed)" if measured else "failed"
        cells.append(
            [
                step.name if step.adopted else f"({step.name})",
                as_printed(road, step, "top1"),
                number(row.published_change, 2, sign="+"),
                f"{gflops} (misprint)" if printed and printed.misprint else gflops,
                number(counted[step.name].macs / 1e9, 3),
                row.recipe,
                measured,
                number(row.change, 1, sign="+"),
                row.direction,
                number(macs[step.name] / 1e6, 1) if step.name in macs else "",
            ]
        )
    return cells


def number(value: float | None, digits: int, sign: str = "") -> str:
    """A figure with so many decimals, "" where there is none."""
    return "" if value is None else f"{value:{sign}.{digits}f}"


def _misprints(road: Road) -> list[str]:
    return [
        f"GFLOPs printed at “{step.name}”, {step.published.gflops}: {step.published.misprint}."
        for step in road
        if step.published and step.published.misprint
    ]


def _columns(
    road: Road, published: Sequence[Cost], rows: Sequence[Line], settings: Record
) -> ablation_plots.RoadFigure:
    def points(recipe: str) -> list[Point | None]:
        found = {row.step.name: row.best for row in rows if row.recipe in (recipe, row.step.recipe)}
        return [
            Point([100 * r["top1"] for r in one.records]) if one else None
            for one in (found.get(step.name) for step in road)
        ]

    macs = {row.step.name: row.best.mean("macs") for row in rows if row.best}
    return ablation_plots.RoadFigure(
        names=[step.name for step in road],
        adopted=[step.adopted for step in road],
        published=[
            Point([step.published.top1], step.published.top1_std)
            if step.published and step.published.top1 is not None
            else None
            for step in road
        ],
        gmacs=[cost.complexity.macs / 1e9 for cost in published],
        printed=[step.published.gflops if step.published else None for step in road],
        measured=[
            Series(recipe, points(recipe))
            for recipe in dict.fromkeys(row.recipe for row in rows if not row.step.recipe)
        ],
        macs=[macs.get(step.name) for step in road],
        data=settings["about"]["data"],
        scale=f"widths x {settings['width_multiplier']:g}, {settings['image_size']} px, "
        f"{_budget(settings)}",
    )


def _rates(road: Road, records: Sequence[Record]) -> dict[str, list[Rate]]:
    """Every training by its recipe, for the figure over learning rates."""
    found: dict[str, list[Rate]] = {}
    for step in road:
        for record in records:
            if record["step"] == step.name and not step.recipe:
                top1 = None if "failure" in record else 100 * record["top1"]
                rate = Rate(step=step.name, rate=record["learning_rate"], top1=top1)
                found.setdefault(record["recipe"], []).append(rate)
    return found


def _budget(settings: Record) -> str:
    epochs, minutes = settings["epochs"], settings["minutes_per_model"]
    budget = "" if epochs is None else f"{epochs} epoch{'s' if epochs > 1 else ''}"
    if minutes is None:
        return budget
    return f"{f'at most {budget} and ' if budget else ''}{minutes:g} minutes per training"


def _conditions(settings: Record) -> Table:
    described = {name: value for name, value in settings.items() if name.startswith("recipe ")}
    rows = [
        ("Data", settings["about"]["description"]),
        ("Budget", f"{_budget(settings)}, batches of {settings['batch_size']}"),
        ("Seeds", ", ".join(map(str, settings["seeds"]))),
        *(
            (
                name.capitalize(),
                ", ".join(f"{k} {json.dumps(v)}" for k, v in values.items() if k != "name"),
            )
            for name, values in described.items()
        ),
        ("Numbers", f"{settings['dtype']}, drop path rate {settings['drop_path_rate']:g}"),
        ("Width multiplier", f"{settings['width_multiplier']:g}"),
    ]
    return Table(rows)


def _adaptations(records: Sequence[Record]) -> list[str | Table]:
    notes = {record["step"]: record["adaptation"] for record in records if record["adaptation"]}
    same = {r["model"]: f"the same training as {r['same_as']}" for r in records if "same_as" in r}
    found: list[str | Table] = []
    if notes:
        found += ["Changed for the image size:", Table(list(notes.items()))]
    if same:
        found += ["One network and recipe at this scale:", Table(list(same.items()))]
    return found


def _plain(
    road: Road, published: Sequence[Cost], rows: Sequence[Line], settings: Record
) -> dict[str, Any]:
    """Everything of the table as JSON."""
    counted = {cost.step.name: cost.complexity for cost in published}
    return {
        "road": road.name,
        "title": road.title,
        "source": road.source,
        "published_top1": road.top1,
        "settings": settings,
        "steps": [
            {
                "name": step.name,
                "text": step.text,
                "change": dict(step.change),
                "adopted": step.adopted,
                "published": asdict(step.published) if step.published else None,
                "counted_at_224": asdict(counted[step.name]),
                "measured": [
                    {
                        "recipe": row.recipe,
                        "training": row.best.name,
                        "top1": {record["seed"]: record["top1"] for record in row.best.records},
                        "mean_percent": row.best.top1,
                        "standard_deviation": row.best.deviation,
                        "learning_rate": row.best.mean("learning_rate"),
                        "change": row.change,
                        "spread": row.spread,
                        "published_change": row.published_change,
                        "direction": row.direction,
                        "params": row.best.mean("params"),
                        "macs": row.best.mean("macs"),
                    }
                    for row in rows
                    if row.step is step and row.best
                ],
            }
            for step in road
        ],
    }
