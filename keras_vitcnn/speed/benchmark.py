"""`benchmark`: every point of a grid in a fresh process, one folder of results, one report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras

from keras_vitcnn.extras import require
from keras_vitcnn.speed import processes, report
from keras_vitcnn.speed.points import Point, grid
from keras_vitcnn.training.progress import Reporter
from keras_vitcnn.training.records import Findings, Record, append_line, drop_half_line, read_lines

SECONDS = 5.0


def benchmark(
    models: Iterable[str],
    out: str | Path = "runs/benchmark",
    *,
    seconds: float = SECONDS,
    show_progress: bool = False,
    **axes: Any,
) -> Findings:
    """Measure speed, latency and memory of models on this machine with the backend in use.

    Everything is checked before the first measurement. Each finished point is one line of
    `results.jsonl`; called again with the same `out`, it goes on after the last one, tries again
    what failed, and may be given more points, and another backend.

    Args:
        models: names of constructors or timm's names.
        out: folder for `results.jsonl`, `report.md` and the plot.
        seconds: of timed steps per point; at least five steps are taken.
        show_progress: a bar on stderr.
        **axes: what to combine with the models: `modes` ("inference", "training"), `batch_sizes`,
            `image_sizes` (pixels), `dtypes`, each a sequence; and `jit` ("auto", "on", "off").

    Raises:
        ValueError: for anything that can't work.
        ImportError: with the command that installs what is missing.
    """
    points = grid(models, **axes)
    if not seconds > 0:
        raise ValueError(f"`seconds` must be positive. Received: seconds={seconds}")
    require("matplotlib", "plot")
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"`out` must be a folder. Received: out={str(folder)!r}")
    file = folder / "results.jsonl"
    done = {_key(line) for line in read_lines(file) if "failure" not in line}
    jobs = [_peak_job(dtype) for dtype in dict.fromkeys(point.dtype for point in points)]
    jobs += [_point_job(point) for point in points]
    missing = [job for job in jobs if _key(job) not in done]
    folder.mkdir(parents=True, exist_ok=True)
    drop_half_line(file)
    with Reporter(show_progress) as reporter:
        if len(missing) < len(jobs):
            reporter.say(f"measured already: {len(jobs) - len(missing)} of {len(jobs)}")
        task = reporter.bar("measuring", len(missing))
        for job in missing:
            title = report.title(job)
            reporter.bars.update(task, description=title)
            record = job | _measured(job, seconds)
            append_line(file, record)
            reporter.say(f"{title}: {report.outcome(record)}")
            reporter.bars.advance(task)
    records = list({_key(line): line for line in read_lines(file)}.values())
    return report.write(folder, records)


def _peak_job(dtype: str) -> Record:
    return {"kind": report.PEAK, "backend": keras.backend.backend(), "dtype": dtype}


def _point_job(point: Point) -> Record:
    return {"kind": report.POINT, "backend": keras.backend.backend(), **asdict(point)}


def _measured(job: Record, seconds: float) -> Record:
    if job["kind"] == report.PEAK:
        return processes.matmul_peak(job["dtype"])
    fields = {name: job[name] for name in Point.__dataclass_fields__}
    return processes.measured(Point(**fields), seconds)


def _key(line: Record) -> tuple[Any, ...]:
    names = ("kind", "backend", *Point.__dataclass_fields__)
    return tuple(line.get(name) for name in names)
