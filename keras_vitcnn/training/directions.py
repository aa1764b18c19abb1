"""Which way each step of a road went: measured beside published."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from keras_vitcnn.ablation import Road, Step
from keras_vitcnn.training.records import Record
from keras_vitcnn.training.report import Summary, summarise

AGREES, DISAGREES, UNDECIDED = "as published", "opposite", "within the seeds’ spread"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A step under one recipe: a row of the table."""

    step: Step
    recipe: str
    best: Summary | None  # at the best learning rate; None before anything finished
    published_change: float | None = None  # points, from the step that it departs from
    change: float | None = None
    spread: float | None = None  # of that change, points; None for one seed

    @property
    def direction(self) -> str:
        """How the measured change stands to the published one, "" where one is missing."""
        if self.change is None or not self.published_change:
            return ""
        same = (self.change > 0) == (self.published_change > 0)
        if self.spread is None:
            return f"{AGREES if same else DISAGREES}, one seed"
        if abs(self.change) <= self.spread:
            return UNDECIDED
        return AGREES if same else DISAGREES


def lines(road: Road, records: Sequence[Record]) -> list[Line]:
    """Every step under every recipe of the records, in the road's order."""
    found = list(dict.fromkeys(r["recipe"] for r in records if not _own(road, r["step"])))
    best = {
        (step.name, recipe): _best([r for r in records if _is(r, step, recipe)])
        for step in road
        for recipe in [*found, step.recipe]
        if recipe
    }
    rows = []
    for recipe in found or [""]:
        for step in road:
            one = step.recipe or recipe
            here, base = best.get((step.name, one)), road.base(step)
            there = best.get((base.name, base.recipe or recipe)) if base else None
            rows.append(
                Line(
                    step=step,
                    recipe=one,
                    best=here,
                    published_change=_published_change(step, base),
                    **_change(here, there),
                )
            )
    # A step with a recipe of its own is one line, however many recipes the others have.
    return list({(row.step.name, row.recipe): row for row in reversed(rows)}.values())[::-1]


def _own(road: Road, step: str) -> bool:
    return road.step(step).recipe is not None


def _is(record: Record, step: Step, recipe: str | None) -> bool:
    return record["step"] == step.name and record["recipe"] == recipe


def _best(records: list[Record]) -> Summary | None:
    """The learning rate with the highest mean top-1; the best-covered ones count first."""
    summaries = summarise(records)
    return max(summaries, key=lambda one: (len(one.records), one.top1), default=None)


def _published_change(step: Step, base: Step | None) -> float | None:
    if base is None:
        return None
    here, there = (one.published.top1 if one.published else None for one in (step, base))
    return None if here is None or there is None else round(here - there, 2)


def _change(here: Summary | None, there: Summary | None) -> dict[str, float | None]:
    """Mean change over the seeds that both have, and its spread."""
    if here is None or there is None:
        return {}
    before = {record["seed"]: record["top1"] for record in there.records}
    differences = [
        100 * (record["top1"] - before[record["seed"]])
        for record in here.records
        if record["seed"] in before
    ]
    if not differences:
        return {}
    spreads = here.deviation, there.deviation
    spread = None if None in spreads else sum(s for s in spreads if s is not None)
    return {"change": statistics.mean(differences), "spread": spread}
