"""A road between two designs: steps in order, each a named change of the step it departs from."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Self

from keras_vitcnn.config import check_choice

# Figures as papers print them; tests hold them against the facts that they were copied from.
PUBLISHED = Path(__file__).with_name("published.json")


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a paper prints of a step."""

    source: str
    top1: float | None = None  # percent; `Road.top1` says of which training
    top1_std: float | None = None  # over the paper's seeds, points
    gflops: float | None = None  # multiply-adds of one image of 224 x 224 pixels, in 1e9
    misprint: str = ""  # why the printed `gflops` can't be right
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One change on a road."""

    name: str
    change: Mapping[str, Any] = field(hash=False)  # fields that it sets; none: training alone
    config: Any
    published: Published | None = None
    text: str = ""  # what changes, in words
    adopted: bool = True  # whether the next steps depart from here
    before: Any = None  # config of the adopted step that this one departs from; None: the start
    recipe: str | None = None  # its own, whatever the rest of the road is trained with


class Road(tuple[Step, ...]):
    """The steps from one published design to another, in the order of their paper.

    A tuple of `Step`; what was tried and not kept is in it too, marked `adopted=False`, and the
    step behind departs from the last adopted one.

    Attributes:
        name: of the road, as `road` takes it.
        title: for headings.
        source: of the published figures.
        top1: of which training the published top-1 are.
    """

    name: str
    title: str
    source: str
    top1: str

    def __new__(
        cls,
        steps: Iterable[Step],
        name: str = "",
        title: str = "",
        source: str = "",
        top1: str = "",
    ) -> Self:
        road = super().__new__(cls, steps)
        road.name, road.title, road.source, road.top1 = name, title, source, top1
        return road

    def step(self, name: str) -> Step:
        """The step of a name; `ValueError` with all names otherwise."""
        check_choice("step", name, tuple(step.name for step in self))
        return next(step for step in self if step.name == name)

    def base(self, step: Step) -> Step | None:
        """The step that a change of accuracy is held against, `None` for the start.

        The last adopted one; for a step with a published top-1 the last adopted one that has one
        too, so that published and measured change are between the same two networks.
        """
        printed = _has_top1(step)
        earlier = reversed(self[: self.index(step)])
        return next((one for one in earlier if one.adopted and _has_top1(one) >= printed), None)


def _has_top1(step: Step) -> bool:
    return step.published is not None and step.published.top1 is not None


# (name, what changes in words, fields that change, more of `Step`)
Row = tuple[str, str, dict[str, Any], dict[str, Any]]


def row(name: str, text: str, change: dict[str, Any] | None = None, **more: Any) -> Row:
    return name, text, change or {}, more


def walk(name: str, title: str, start: Any, rows: Iterable[Row]) -> Road:
    """Lay a road: every row changes the config of the last adopted one, beginning at `start`."""
    figures = _figures()[name]
    published = {
        step: Published(source=figures["source"], **printed)
        for step, printed in figures["steps"].items()
    }
    steps: list[Step] = []
    here = None
    for step, text, change, more in rows:
        config = start if here is None else replace(here, **change)
        steps.append(
            Step(
                name=step,
                change=change,
                config=config,
                published=published.pop(step, None),
                text=text,
                before=here,
                **more,
            )
        )
        if steps[-1].adopted:
            here = config
    assert not published, f"figures of no step: {list(published)}"
    return Road(steps, name=name, title=title, source=figures["source"], top1=figures["top1"])


@cache
def _figures() -> dict[str, Any]:
    return json.loads(PUBLISHED.read_text("utf-8"))


def changed(before: Any, after: Any) -> dict[str, tuple[Any, Any]]:
    """The fields in which two configs of one type differ: name -> (value before, value after)."""
    pairs = {
        one.name: (getattr(before, one.name), getattr(after, one.name)) for one in fields(after)
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def diff(step: Step) -> str:
    """A step's change as text: what it is in words, then a line per field, `name: old -> new`.

    Args:
        step: of a road.
    """
    lines = [f"{step.name}: {step.text}"]
    if step.before is None:
        lines.append("  the start of the road")
    else:
        changes = changed(step.before, step.config)
        width = max(map(len, changes), default=0)
        lines += [f"  {name:{width}}  {old!r} -> {new!r}" for name, (old, new) in changes.items()]
        if not changes:
            lines.append("  the same network")
    if not step.adopted:
        lines.append("  tried, not adopted")
    return "\n".join(lines)


def nearest(name: str, names: Iterable[str]) -> str:
    """The known name most like another, for an error's hint."""
    known = list(names)
    return (difflib.get_close_matches(str(name), known, n=1, cutoff=0.0) or known)[0]
