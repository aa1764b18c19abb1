"""The figures of a road: its steps downwards, and accuracy over learning rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_vitcnn.training.plots import COLOURS, INK, LINES, MARKERS, STYLE

CAPTIONS = {
    "road": "The road: accuracy (points) and multiply-adds (bars), published and measured",
    "learning_rates": "Accuracy over learning rates",
}
BAR = "#9aa7b8"


@dataclass(frozen=True)
class Point:
    """Top-1 of a step: of every seed, or as printed, with its printed standard deviation."""

    top1: list[float]
    std: float | None = None

    @property
    def mean(self) -> float:
        return sum(self.top1) / len(self.top1)


@dataclass(frozen=True)
class Series:
    """One recipe: a point per step, `None` where nothing finished."""

    name: str
    points: Sequence[Point | None]


@dataclass(frozen=True)
class Rate:
    """One training, by its learning rate; no top-1 where the loss exploded."""

    step: str
    rate: float
    top1: float | None


@dataclass(frozen=True, kw_only=True)
class RoadFigure:
    """What the figure of a road shows, an entry per step."""

    names: Sequence[str]
    adopted: Sequence[bool]
    published: Sequence[Point | None]
    gmacs: Sequence[float]  # counted, of the published network
    printed: Sequence[float | None]
    measured: Sequence[Series]
    macs: Sequence[float | None]  # of the network that was trained
    data: str
    scale: str


def draw_road(road: RoadFigure) -> Any:
    """Steps from top to bottom; left what was published, right what was measured."""
    import matplotlib
    from matplotlib.figure import Figure

    count = len(road.names)
    with matplotlib.rc_context(STYLE | {"font.size": 12}):
        figure = Figure(figsize=(11, 2.3 + 0.36 * count), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        _bars(left, road.gmacs, "multiply-adds at 224 px (G)", road.printed)
        _bars(right, [m and m / 1e6 for m in road.macs], "multiply-adds as trained (M)")
        _points(left, road, Series("published", road.published), 0, 0.0)
        for index, series in enumerate(road.measured):
            offset = 0.22 * (index - (len(road.measured) - 1) / 2)
            _points(right, road, series, index + 1, offset)
        left.set_yticks(range(count), _labels(road))
        left.set_ylim(count - 0.4, -0.6)
        left.set_xlabel("top-1 on ImageNet-1k, as published (%)")
        right.set_xlabel(f"top-1 on {road.data}, measured (%)\n{road.scale}")
        if any(road.printed):
            left.plot([], [], "|", color=INK, markersize=11, label="GFLOPs as printed")
        if not all(road.adopted):
            left.plot([], [], "o", color=INK, markerfacecolor="none", label="tried, not adopted")
        handles, labels = left.get_legend_handles_labels()
        more = right.get_legend_handles_labels()
        figure.legend(
            handles + more[0], labels + more[1], loc="outside upper center", ncols=5, frameon=False
        )
    return figure


def _labels(road: RoadFigure) -> list[str]:
    return [
        name if adopted else f"({name})"
        for name, adopted in zip(road.names, road.adopted, strict=True)
    ]


def _bars(
    axes: Any,
    values: Sequence[float | None],
    label: str,
    printed: Sequence[float | None] = (),
) -> None:
    """Bars behind an axes' points, on a scale of their own along its upper edge."""
    behind = axes.twiny()
    behind.set_zorder(axes.get_zorder() - 1)
    axes.patch.set_visible(False)
    behind.grid(False)
    behind.spines["top"].set_visible(True)
    widths = [value or 0.0 for value in values]
    behind.barh(range(len(widths)), widths, height=0.62, color=BAR, alpha=0.35, linewidth=0)
    marks = [(value, place) for place, value in enumerate(printed) if value]
    if marks:
        behind.plot(*zip(*marks, strict=True), "|", color=INK, markersize=11, markeredgewidth=1.3)
    behind.set_xlim(0, (max(widths) or 1) * 1.05)
    behind.set_xlabel(label)


def _points(axes: Any, road: RoadFigure, series: Series, index: int, offset: float) -> None:
    colour = COLOURS[index % len(COLOURS)]
    places = {
        place: point
        for place, point in enumerate(series.points)
        if point is not None and point.top1
    }
    kept = [place for place in places if road.adopted[place]]
    axes.plot(
        [places[place].mean for place in kept],
        [place + offset for place in kept],
        color=colour,
        linewidth=1.6,
        marker=MARKERS[index % len(MARKERS)],
        markersize=7,
        label=series.name,
    )
    for place, point in places.items():
        if not road.adopted[place]:
            axes.plot(
                [point.mean],
                [place + offset],
                color=colour,
                marker=MARKERS[index % len(MARKERS)],
                markersize=7,
                markerfacecolor="white",
                linestyle="none",
            )
        low, high = min(point.top1), max(point.top1)
        if point.std:
            low, high = point.mean - point.std, point.mean + point.std
        if high > low:
            axes.plot(
                [low, high], [place + offset] * 2, color=colour, linewidth=4, alpha=0.35, zorder=1.9
            )


def draw_rates(rates: Mapping[str, Sequence[Rate]]) -> Any:
    """A panel per recipe, a curve per step: mean over the seeds, band from lowest to highest."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.6 + 4.6 * len(rates), 4.4), layout="constrained")
        panels = figure.subplots(1, len(rates), sharey=True, squeeze=False)[0]
        for axes, (recipe, found) in zip(panels, rates.items(), strict=True):
            for index, step in enumerate(dict.fromkeys(one.step for one in found)):
                _curve(axes, [one for one in found if one.step == step], index)
            axes.set_xscale("log")
            rates_here = sorted({one.rate for one in found})
            axes.set_xticks(rates_here, [f"{rate:.2g}" for rate in rates_here])
            axes.minorticks_off()
            axes.set_xlabel(f"peak learning rate, {recipe}")
        panels[0].set_ylabel("validation top-1 (%)")
        found_in = [panel.get_legend_handles_labels() for panel in panels]
        handles = {label: handle for pair in found_in for handle, label in zip(*pair, strict=True)}
        figure.legend(
            handles.values(), handles.keys(), loc="outside upper center", ncols=3, frameon=False
        )
    return figure


def _curve(axes: Any, found: Sequence[Rate], index: int) -> None:
    style = {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": LINES[index // len(COLOURS) % len(LINES)],
    }
    by_rate: dict[float, list[float]] = {}
    for one in found:
        if one.top1 is not None:
            by_rate.setdefault(one.rate, []).append(one.top1)
    x = np.array(sorted(by_rate))
    axes.plot(x, [np.mean(by_rate[rate]) for rate in x], **style, label=found[0].step)
    low, high = ([end(by_rate[rate]) for rate in x] for end in (min, max))
    axes.fill_between(x, low, high, color=style["color"], alpha=0.2, linewidth=0)
    failed = [one.rate for one in found if one.top1 is None]
    if failed:
        axes.plot(
            failed,
            [0.02] * len(failed),
            "x",
            color=style["color"],
            markersize=9,
            transform=axes.get_xaxis_transform(),
            label="the loss exploded",
        )
