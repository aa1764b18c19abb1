"""The pictures of a report: PNG and SVG files, and SVG that takes the colours of a page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

# Okabe and Ito's palette without black and yellow, which vanish on one of the two backgrounds.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osD^vP"
LINES = ("-", "--", ":", "-.")  # for the seventh model and later ones
INK = "#1a2230"
STYLE = {
    "font.size": 13,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "lines.linewidth": 2,
    "lines.markersize": 6,
}


@dataclass(frozen=True, eq=False)
class Curve:
    """One training; top-1 in percent."""

    epochs: np.ndarray
    minutes: np.ndarray
    top1: np.ndarray


@dataclass(frozen=True, eq=False)
class Series:
    """One model: a curve per seed, and its cost."""

    name: str
    curves: list[Curve]
    macs: int


def draw(series: list[Series], baseline: float | None) -> dict[str, Any]:
    """The figures by name.

    Args:
        series: at least one finished model.
        baseline: top-1 of the linear model in percent.
    """
    kinds: dict[str, Callable[[Any, list[Series]], None]] = {
        "accuracy_over_epochs": _over_epochs,
        "accuracy_over_time": _over_time,
        "accuracy_over_macs": _over_macs,
    }
    return {name: _figure(kind, series, baseline) for name, kind in kinds.items()}


def png(figure: Any) -> bytes:
    return _saved(figure, format="png", dpi=144, facecolor="white")


def svg(figure: Any) -> str:
    # Without a date, equal results give equal files.
    return _saved(figure, format="svg", facecolor="white", metadata={"Date": None}).decode()


def inline_svg(figure: Any, label: str) -> str:
    """An `<svg>` element for a page: transparent, of any width, ink in the text's colour."""
    data = _saved(figure, format="svg", transparent=True, metadata={"Date": None}).decode()
    element = data[data.index("<svg") :].replace(INK, "currentColor")
    element = re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", element, count=1)
    element = re.sub(r'(<svg [^>]*?)height="[^"]*"', r"\1", element, count=1)
    return element.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def _saved(figure: Any, **options: Any) -> bytes:
    import matplotlib

    buffer = io.BytesIO()
    # Text as outlines looks the same on every machine; the salt makes identifiers reproducible.
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "keras_vitcnn"}):
        figure.savefig(buffer, **options)
    return buffer.getvalue()


def _figure(
    kind: Callable[[Any, list[Series]], None], series: list[Series], baseline: float | None
) -> Any:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.6, 4.3), layout="constrained")
        axes = figure.add_subplot()
        kind(axes, series)
        if baseline is not None:
            axes.axhline(baseline, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
            axes.annotate(
                "linear model on the pixels",
                (1, baseline),
                xycoords=("axes fraction", "data"),
                xytext=(0, 3),
                textcoords="offset points",
                ha="right",
                fontsize=11,
            )
        axes.set_ylabel("validation top-1 (%)")
        figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=12)
    return figure


def _over_epochs(axes: Any, series: list[Series]) -> None:
    from matplotlib.ticker import MaxNLocator

    _curves(axes, series, lambda curve: curve.epochs)
    if max(curve.epochs[-1] for one in series for curve in one.curves) >= 2:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epochs")


def _over_time(axes: Any, series: list[Series]) -> None:
    _curves(axes, series, lambda curve: curve.minutes)
    axes.set_xlabel("training and evaluation time (minutes, compilation excluded)")


def _over_macs(axes: Any, series: list[Series]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for index, one in enumerate(series):
        final = np.array([curve.top1[-1] for curve in one.curves])
        spread = [[final.mean() - final.min()], [final.max() - final.mean()]]
        axes.errorbar(
            [one.macs / 1e6],
            [final.mean()],
            yerr=spread if len(final) > 1 else None,
            **{**_style(index), "linestyle": "none", "markersize": 9},
            capsize=4,
            label=one.name,
        )
    axes.set_xscale("log")
    low, high = min(s.macs for s in series) / 1e6, max(s.macs for s in series) / 1e6
    axes.set_xlim(low / 1.6, high * 1.6)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("multiply-adds per image (millions)")


def _curves(axes: Any, series: list[Series], x_of: Callable[[Curve], np.ndarray]) -> None:
    """The mean over the seeds, and a band from the lowest to the highest of them."""
    for index, one in enumerate(series):
        shortest = min(one.curves, key=lambda curve: len(curve.top1))
        places = np.linspace(0, 1, len(shortest.top1))
        # Under a time budget the seeds' evaluations need not lie at equal epochs.
        x, top1 = (
            np.array([np.interp(places, np.linspace(0, 1, len(row)), row) for row in rows])
            for rows in ([x_of(c) for c in one.curves], [c.top1 for c in one.curves])
        )
        style = _style(index)
        if len(places) > 25:
            style["marker"] = "none"
        axes.plot(x.mean(axis=0), top1.mean(axis=0), **style, label=one.name)
        if len(one.curves) > 1:
            low, high = top1.min(axis=0), top1.max(axis=0)
            axes.fill_between(
                x.mean(axis=0), low, high, color=style["color"], alpha=0.2, linewidth=0
            )
    axes.set_xlim(left=0)


def _style(index: int) -> dict[str, Any]:
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": LINES[index // len(COLOURS) % len(LINES)],
    }
