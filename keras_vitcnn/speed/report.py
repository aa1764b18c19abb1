"""`report.md` and the plot of a benchmark, from its records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from keras_vitcnn.files import write_atomically
from keras_vitcnn.speed.points import Point
from keras_vitcnn.training import plots
from keras_vitcnn.training.records import Findings, Record
from keras_vitcnn.training.render import Block, Document, Figure, Table, markdown

POINT, PEAK = "point", "matmul"  # kinds of records
HEADER = (
    "Model",
    "Mode",
    "Batch",
    "Image (px)",
    "Dtype",
    "Backend",
    "Images/s",
    "Latency p50 / p90 / p99 (ms)",
    "Peak memory (MB)",
    "GMACs/s",
    "Of the matmul peak",
    "First step (s)",
)
PASSES = {"inference": 1, "training": 3}  # the backward pass is two products for every one
READING = (
    "Every row is a process of its own. Images/s: batch size by the median time of a warm step, in "
    "brackets by its third and its first quartile; the batch lies on the device. Latency is that "
    "of one step. Peak memory is the device's, on a CPU that of the whole process with its "
    "libraries. Multiply-adds of a training step are counted as three times those of inference. "
    "The matmul peak is the fastest product of two square matrices of the compute dtype here. The "
    "first step includes tracing and compiling."
)


def title(job: Record) -> str:
    """What a job measures, in a line."""
    if job["kind"] == PEAK:
        return f"matrix product, {job['dtype']}"
    return str(Point(**{name: job[name] for name in Point.__dataclass_fields__}))


def outcome(record: Record) -> str:
    """What came out, in a line."""
    if "failure" in record:
        return f"FAILED, {record['failure']}"
    if record["kind"] == PEAK:
        return f"{record['macs_per_second'] / 1e9:,.1f} GMACs/s"
    return f"{speed(record):,.1f} images/s"


def speed(record: Record, quantile: float = 0.5) -> float:
    """Images per second at a quantile of the step's time."""
    return record["batch_size"] / float(np.quantile(record["step_seconds"], quantile))


def macs_per_second(record: Record) -> float:
    return speed(record) * record["macs"] * PASSES[record["mode"]]


def write(folder: Path, records: list[Record]) -> Findings:
    """Write `report.md`, `speed.png` and `speed.svg`."""
    peaks = {
        (record["backend"], record["dtype"]): record["macs_per_second"]
        for record in records
        if record["kind"] == PEAK and "failure" not in record
    }
    points = [record for record in records if record["kind"] == POINT]
    finished = [record for record in points if "failure" not in record]
    table = Table([_row(record, peaks) for record in points], HEADER)
    blocks: list[Block] = [table]
    if finished:
        figure = draw(finished)
        write_atomically(folder / "speed.png", plots.png(figure))
        write_atomically(folder / "speed.svg", plots.svg(figure))
        blocks.append(Figure("speed", "Images per second", ""))
    found = [
        [f"{backend}, {dtype}", f"{peak / 1e9:,.1f} GMACs/s"]
        for (backend, dtype), peak in peaks.items()
    ]
    document = Document(
        title="Speed of models",
        answer=_answer(finished),
        sections={
            "Results": [*blocks, READING],
            "Matrix products": [Table(found) if found else "Not measured."],
            "Machine": [_machines(records)],
        },
    )
    path = folder / "report.md"
    write_atomically(path, markdown(document))
    return Findings(
        out=folder, records=records, report=path, answer=list(document.answer), table=table
    )


def _answer(finished: list[Record]) -> list[str]:
    if not finished:
        return ["No point was measured."]
    best = max(finished, key=speed)
    return [f"The fastest: {title(best)}, on {best['backend']}: {speed(best):,.1f} images/s."]


def _row(record: Record, peaks: dict[tuple[str, str], float]) -> list[str]:
    names = ("model", "mode", "batch_size", "image_size", "dtype", "backend")
    row = [str(record[name]) for name in names]
    if "failure" in record:
        return [*row, f"failed: {record['failure']}", *[""] * (len(HEADER) - len(row) - 1)]
    if record["jit"] != "auto":
        row[names.index("backend")] += f", jit {record['jit']}"
    times = [1e3 * float(np.quantile(record["step_seconds"], q)) for q in (0.5, 0.9, 0.99)]
    memory = record["peak_memory"]
    peak = peaks.get((record["backend"], record["dtype"]))
    achieved = macs_per_second(record)
    return [
        *row,
        f"{speed(record):,.1f} ({speed(record, 0.75):,.1f} to {speed(record, 0.25):,.1f})",
        " / ".join(f"{time:,.1f}" for time in times),
        "n/a" if memory is None else f"{memory / 1e6:,.0f}",
        f"{achieved / 1e9:,.1f}",
        "n/a" if peak is None else f"{achieved / peak:.0%}",
        f"{record['first_step_seconds']:.1f}",
    ]


def _machines(records: list[Record]) -> Table:
    """The versions and the processor of every backend that took part."""
    machines = dict.fromkeys(
        (record["backend"], ", ".join(f"{key} {value}" for key, value in machine.items()))
        for record in records
        if (machine := record.get("machine"))
    )
    return Table(list(machines))


def draw(finished: list[Record]) -> Any:
    """A bar per point, from the first to the third quartile a whisker; the figure."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    labels = _labels(finished)
    medians = [speed(record) for record in finished]
    spread = [
        [median - speed(record, 0.75) for median, record in zip(medians, finished, strict=True)],
        [speed(record, 0.25) - median for median, record in zip(medians, finished, strict=True)],
    ]
    order = list(dict.fromkeys(record["model"] for record in finished))
    colours = [
        plots.COLOURS[order.index(record["model"]) % len(plots.COLOURS)] for record in finished
    ]
    with matplotlib.rc_context(plots.STYLE | {"axes.grid.axis": "x"}):
        figure = Canvas(figsize=(8, 1.2 + 0.36 * len(finished)), layout="constrained")
        axes = figure.add_subplot()
        places = np.arange(len(finished))
        axes.barh(places, medians, xerr=spread, color=colours, ecolor=plots.INK, capsize=3)
        axes.set_yticks(places, labels)
        axes.invert_yaxis()
        axes.set_xlabel("images per second")
    return figure


def _labels(finished: list[Record]) -> list[str]:
    """A name per bar: its model, and of the rest what is not the same for all."""
    units = {"mode": "{}", "batch_size": "batch {}", "image_size": "{} px", "dtype": "{}"}
    units |= {"backend": "{}", "jit": "jit {}"}
    vary = [name for name in units if len({record[name] for record in finished}) > 1]
    return [
        ", ".join([record["model"], *(units[name].format(record[name]) for name in vary)])
        for record in finished
    ]
