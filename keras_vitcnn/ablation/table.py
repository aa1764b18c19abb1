"""The costs of a road as a table: counted beside printed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from keras_vitcnn.ablation.costs import costs
from keras_vitcnn.ablation.road import Road, Step


@dataclass(frozen=True)
class CostTable:
    """Rows of text, a step each, and what is to be said of some of them."""

    header: tuple[str, ...]
    rows: list[list[str]]
    remarks: list[str]


def cost_table(
    road: Road,
    image_size: int | None = None,
    width_multiplier: float = 1.0,
    stem_stride: int | None = None,
) -> CostTable:
    """What every step of a road changes and costs, beside what its paper prints.

    Args:
        road, image_size, width_multiplier, stem_stride: as of `costs`.
    """
    small = image_size is not None or width_multiplier != 1 or stem_stride is not None
    unit, name, digits = (1e6, "MACs (M)", 1) if small else (1e9, "GMACs", 3)
    rows, remarks = [], []
    for cost in costs(road, image_size, width_multiplier, stem_stride):
        step, printed = cost.step, cost.step.published
        gflops = as_printed(road, step, "gflops")
        if printed and printed.misprint:
            gflops += "*"
            remarks.append(f"* {step.name}, printed {printed.gflops}: {printed.misprint}.")
        if printed and printed.remark:
            remarks.append(f"{step.name}: {printed.remark}.")
        rows.append(
            [
                step.name if step.adopted else f"({step.name})",
                f"{cost.complexity.params:,}",
                f"{cost.complexity.macs / unit:,.{digits}f}",
                gflops,
                as_printed(road, step, "top1"),
                step.text,
            ]
        )
    header = ("Step", "Parameters", name, "GFLOPs printed", "Top-1 printed (%)", "What changes")
    return CostTable(header, rows, remarks)


def as_printed(steps: Iterable[Step], step: Step, figure: str) -> str:
    """A published figure with as many decimals as its column has, "" where there is none.

    Args:
        steps: of the road.
        step: one of them.
        figure: `"top1"` or `"gflops"`.
    """

    def of(one: Step) -> float | None:
        return getattr(one.published, figure) if one.published else None

    value = of(step)
    decimals = max(
        (len(f"{v:.4g}".partition(".")[2]) for v in map(of, steps) if v is not None), default=0
    )
    return "" if value is None else f"{value:.{decimals}f}"
