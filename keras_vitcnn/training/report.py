"""`report.md`, `report.html` and the plots, from the records of a comparison."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from keras_vitcnn.files import write_atomically
from keras_vitcnn.training import plots
from keras_vitcnn.training.recipes import Recipe
from keras_vitcnn.training.records import Findings, Record, RunFolder
from keras_vitcnn.training.render import Document, Figure, Table, markdown, page

HEADER = (
    "Model",
    "Top-1 (%)",
    "Parameters (M)",
    "MACs (M)",
    "Epochs",
    "Training (images/s)",
    "Inference (images/s)",
    "Peak memory (MB)",
    "Time (min:s)",
)
CAPTIONS = {
    "accuracy_over_epochs": "Accuracy over epochs",
    "accuracy_over_time": "Accuracy over training time",
    "accuracy_over_macs": "Accuracy over multiply-adds",
}
READING = (
    "Top-1 is that of the last epoch on the validation images, mean ± sample standard deviation "
    "over the seeds; curves show the mean and a band from the lowest to the highest seed. "
    "MACs are the multiply-adds of one image. Training speed counts whole steps without "
    "compilation; inference speed is compiled, warm, from memory, the median of five passes. "
    "Peak memory is {memory}. Time is that of training and evaluation without compilation."
)


@dataclass(frozen=True)
class Summary:
    """The finished trainings of one model."""

    name: str
    records: list[Record]

    @property
    def top1(self) -> float:
        """Mean over the seeds, percent."""
        return 100 * statistics.mean(record["top1"] for record in self.records)

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation over the seeds, points; `None` for one seed."""
        top1 = [100 * record["top1"] for record in self.records]
        return statistics.stdev(top1) if len(top1) > 1 else None

    def mean(self, key: str) -> float | None:
        values = [record[key] for record in self.records if record.get(key) is not None]
        return statistics.mean(values) if values else None

    def __str__(self) -> str:
        spread = "" if self.deviation is None else f" ± {self.deviation:.1f}"
        return f"{self.top1:.1f}{spread}"


def write(folder: RunFolder) -> Findings:
    """Write `report.md`, `report.html` and the plots into a comparison's folder."""
    settings = folder.settings()
    records = folder.records(folder.results)
    summaries = summarise(records)
    baseline = next(iter(summarise(folder.records(folder.baseline))), None)
    figures: list[Figure] = []
    if summaries:
        order = settings["models"]  # a model keeps its colour when another overtakes it
        series = [_series(one) for one in sorted(summaries, key=lambda s: order.index(s.name))]
        drawn = plots.draw(series, baseline.top1 if baseline else None)
        for name, figure in drawn.items():
            write_atomically(folder.path / f"{name}.png", plots.png(figure))
            write_atomically(folder.path / f"{name}.svg", plots.svg(figure))
            caption = CAPTIONS[name]
            figures.append(Figure(name, caption, plots.inline_svg(figure, caption)))
    about = settings["about"]
    table = results_table(summaries, baseline, records)
    document = Document(
        title=f"{_listed(settings['models'])} on {about['data']}",
        answer=headline(summaries, baseline, about["val_images"]),
        sections={
            "Results": [table, *figures, _reading(records)],
            "What was compared": [_conditions(settings, records), *_adaptations(records)],
            "Machine": [machines(records)],
        },
    )
    return publish(folder.path, document, records, table)


def publish(out: Path, document: Document, records: list[Record], table: Table) -> Findings:
    """Write a document as `report.md` and `report.html` beside its figures."""
    write_atomically(out / "report.md", markdown(document))
    target = out / "report.html"
    write_atomically(target, page(document))
    return Findings(
        out=out, records=records, report=target, answer=list(document.answer), table=table
    )


def summarise(records: Iterable[Record]) -> list[Summary]:
    """The models of which a seed finished, best first."""
    by_model: dict[str, list[Record]] = {}
    for record in records:
        if "failure" not in record:
            by_model.setdefault(record["model"], []).append(record)
    summaries = [Summary(name, group) for name, group in by_model.items()]
    return sorted(summaries, key=lambda one: -one.top1)


def headline(summaries: list[Summary], baseline: Summary | None, val_images: int) -> list[str]:
    """The answer in a few sentences, with what can't be concluded from the numbers."""
    if not summaries:
        return ["No model finished."]
    best, *others = summaries
    sentences = [f"{best.name} reached the highest top-1, {best} %."]
    if others:
        sentences.append(_lead(best, others[0]))
    share = best.top1 / 100
    error = 100 * (share * (1 - share) / val_images) ** 0.5
    sentences.append(
        f"The choice of {val_images:,} validation images alone is worth ± {error:.1f} points "
        "(one standard error)."
    )
    if baseline:
        ahead = best.top1 - baseline.top1
        than = f"{ahead:.1f} points less" if ahead > 0 else "no less: more training is needed"
        sentences.append(f"A linear model on the pixels reaches {baseline} %, {than}.")
    return sentences


def _lead(best: Summary, second: Summary) -> str:
    ahead = best.top1 - second.top1
    behind = f"{second.name} follows {ahead:.1f} points behind"
    if best.deviation is None or second.deviation is None:
        return f"{behind}; from one seed the spread between trainings is unknown."
    spread = best.deviation + second.deviation
    if ahead <= spread:
        return (
            f"{behind}, which is within the spread of the seeds (standard deviations of together "
            f"{spread:.1f} points): these trainings don't tell the two apart."
        )
    return (
        f"{behind}, more than the spread of the seeds (standard deviations of together "
        f"{spread:.1f} points)."
    )


def results_table(
    summaries: list[Summary], baseline: Summary | None, records: list[Record]
) -> Table:
    """One row per model, best first, then the linear model and what failed."""
    rows = [
        [
            one.name,
            str(one),
            _number(one.mean("params"), 1e6, 2),
            _number(one.mean("macs"), 1e6, 1),
            _number(one.mean("epochs"), digits=1).removesuffix(".0"),
            _number(one.mean("train_images_per_second")),
            _number(one.mean("inference_images_per_second")),
            _number(one.mean("peak_memory"), 1e6),
            "{}:{:02}".format(*divmod(round(one.mean("seconds") or 0), 60)),
        ]
        for one in [*summaries, *([baseline] if baseline else [])]
    ]
    for record in records:
        if "failure" in record:
            name = f"{record['model']}, seed {record['seed']}"
            rows.append([name, f"failed: {record['failure']}", *[""] * (len(HEADER) - 2)])
    return Table(rows, HEADER)


ALWAYS_TOLD = ("optimizer", "learning_rate", "weight_decay")


def _number(value: float | None, unit: float = 1.0, digits: int = 0) -> str:
    return "n/a" if value is None else f"{value / unit:,.{digits}f}"


def _conditions(settings: Record, records: list[Record]) -> Table:
    recipe = {k.partition(".")[2]: v for k, v in settings.items() if k.startswith("recipe.")}
    peak = next((f"{r['learning_rate']:g}" for r in records), "")
    minutes = settings["minutes_per_model"]
    epochs = settings["epochs"]
    budget = "" if epochs is None else f"{epochs} epochs"
    if minutes is not None:
        budget = (f"at most {budget} and " if budget else "") + f"{minutes:g} minutes per model"
    rows = [
        ("Data", settings["about"]["description"]),
        ("Budget", f"{budget}, batches of {settings['batch_size']}"),
        ("Seeds", ", ".join(map(str, settings["seeds"]))),
        (
            "Recipe",
            f"{settings['recipe']}: "
            + ", ".join(f"{n} {json.dumps(v)}" for n, v in recipe.items() if _tells(n, v))
            + f"; peak learning rate at this batch size {peak}",
        ),
        ("Augmentation", _augmentation(recipe, settings["flip"])),
        ("Numbers", f"{settings['dtype']}, drop path rate {settings['drop_path_rate']:g}"),
        ("Width multiplier", f"{settings['width_multiplier']:g}"),
    ]
    return Table(rows)


def _tells(name: str, value: Any) -> bool:
    """Whether a field of a recipe is worth a reader's time."""
    field = next((field for field in fields(Recipe) if field.name == name), None)
    if name in ("source", "epochs", "batch_size", "image_size", "drop_path_rate"):
        return False  # the settings say what was done
    return name in ALWAYS_TOLD or field is None or value not in (field.default, [])


def _augmentation(recipe: Record, flip: bool) -> str:
    crops = {"shift": "shifts", "resized": "random resized crops", "simple": "random crops"}
    parts = [crops[recipe.get("crop", "shift")], *(["mirror images"] if flip else [])]
    parts += [recipe["policy"]] if recipe.get("policy") else []
    named = {"color_jitter": "colour jitter", "erasing": "random erasing"}
    named |= {"mixup": "mixup", "cutmix": "cutmix"}
    return ", ".join([*parts, *(text for key, text in named.items() if recipe.get(key))])


def _adaptations(records: list[Record]) -> list[str | Table]:
    notes = {r["model"]: r["adaptation"] for r in records if r["adaptation"]}
    if not notes:
        return ["No model was changed for the image size."]
    return ["Changed for the image size:", Table(list(notes.items()))]


def _reading(records: list[Record]) -> str:
    on_device = any(r["machine"]["accelerator"] != "none" for r in records)
    memory = (
        "the device's"
        if on_device
        else "the whole process's: libraries, images, and what its allocator keeps of freed memory"
    )
    return READING.format(memory=memory)


def machines(records: list[Record]) -> Table:
    """Every machine that took part; figures of different machines don't compare."""
    distinct = dict.fromkeys(
        ", ".join(f"{key} {value}" for key, value in record["machine"].items())
        for record in records
    )
    names = [f"Machine {n}" for n in range(1, len(distinct) + 1)]
    return Table(list(zip(names if len(names) > 1 else ["All trainings"], distinct, strict=True)))


def _series(one: Summary) -> plots.Series:
    def column(record: Record, key: str) -> Any:
        return np.array([entry[key] for entry in record["history"]])

    curves = [
        plots.Curve(
            epochs=column(record, "epoch"),
            minutes=column(record, "seconds") / 60,
            top1=100 * column(record, "val_top1"),
        )
        for record in one.records
    ]
    return plots.Series(one.name, curves, one.records[0]["macs"])


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
