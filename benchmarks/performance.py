"""docs/performance.md from the lines of results that peers.py writes: no figure is written here."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.contenders import (
    APPLICATIONS,
    ARCHITECTURES,
    BACKENDS,
    INFERENCE,
    OPENVINO,
    OTHER_KERAS,
    OURS,
    START,
    TIMM,
    TRAINING,
    Contender,
)

Line = Mapping[str, Any]
UNMEASURED = "not measured"
INTRODUCTION = """# Performance

<!-- Written by benchmarks/peers.py (python -m benchmarks.peers): change that, not this page. -->

The models of this library beside the same architectures elsewhere, with random weights, in float32.
Every library ran on every backend in a process of its own; all of them were compiled first and then
timed in turns, round after round, so that what else happened on the machine struck all of them.
What was timed while a hypervisor gave more than 5 % of the processors to others was timed again.
A ratio is the median of the rounds' ratios; images per second are the batch size by the median time
of a step, of which the table has the median over the rounds, and the lowest and the highest round
in brackets. Where a library can be run in several ways, the ratios take its fastest; so they do
with ours. A step of training is a forward and a backward pass and an update by AdamW; everybody's
process keeps the memory that a step frees then (`kv.training.keep_memory()`), as our command line
does, and nobody's in inference. Ratios hold for the processor that they were measured on: [the
notes](speed-notes.md) have those of another one, and what kept memory does to predictions.
"""


@dataclass(frozen=True, kw_only=True)
class Series:
    """What is known of one contender: its rounds, or why there are none."""

    contender: Contender
    batch_size: int
    rounds: dict[int, list[float]] = field(default_factory=dict)  # number -> seconds of the steps
    prepared: Line = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """Why it did not take part, "" if it did."""
        return self.prepared.get("absent") or self.prepared.get("failure") or ""

    def rates(self) -> dict[int, float]:
        """Images per second (or first batches, by all that came before them) of every round."""
        return {
            number: self.batch_size / statistics.median(seconds)
            for number, seconds in self.rounds.items()
        }

    @property
    def rate(self) -> float:
        """Median over the rounds."""
        return statistics.median(self.rates().values())


@dataclass(frozen=True, kw_only=True)
class Target:
    """Our fastest way against somebody's fastest, as a ratio of speeds."""

    model: str
    mode: str
    at_least: float
    rivals: tuple[str, ...]  # libraries
    backend: str | None = None  # both of us on this one, else each on the best
    way: str | None = None  # of the rival

    def __str__(self) -> str:
        rivals = ", ".join(self.rivals) if len(self.rivals) == 1 else "other Keras libraries"
        how = f" ({self.way})" if self.way else ""
        where = f"on {self.backend}" if self.backend else "our best backend"
        return f"{self.model}, {self.mode}, {where}, against {rivals}{how}"


def _targets() -> list[Target]:
    def against_applications(mode: str, ratios: Iterable[float]) -> list[Target]:
        return [
            Target(
                model="ConvNeXt-T",
                mode=mode,
                at_least=ratio,
                rivals=(APPLICATIONS,),
                backend=backend,
            )
            for backend, ratio in zip(BACKENDS, ratios, strict=True)
        ]

    convnext = {"model": "ConvNeXt-T", "mode": INFERENCE}
    timm = {"rivals": (TIMM,)}
    found = [
        *against_applications(INFERENCE, (5, 4, 1.2)),
        Target(**convnext, at_least=1.5, **timm, way="torch.compile"),
        Target(**convnext, at_least=1.0, rivals=(OPENVINO,)),
        *against_applications(TRAINING, (5, 6, 1.2)),
        Target(model="ConvNeXt-T", mode=TRAINING, at_least=1.8, **timm),
        Target(
            model="EfficientNet-B0",
            mode=INFERENCE,
            at_least=5,
            rivals=(APPLICATIONS,),
            backend="jax",
        ),
    ]
    for name, architecture in ARCHITECTURES.items():
        if name == "ConvNeXt-T":
            continue
        rivals = tuple(library for library in OTHER_KERAS if architecture.has(library))
        if rivals:
            found += [
                Target(model=name, mode=INFERENCE, at_least=1, rivals=rivals, backend=backend)
                for backend in BACKENDS
            ]
        found.append(Target(model=name, mode=INFERENCE, at_least=1.3, **timm))
    return [*found, *against_applications(START, (1, 1, 1))]


TARGETS = _targets()


def series(lines: Iterable[Line], **group: Any) -> dict[str, Series]:
    """The contenders of one group (`model`, `mode`, ...) by their names, from all lines."""
    found: dict[str, Series] = {}
    for line in lines:
        if any(line[name] != value for name, value in group.items()):
            continue
        contender = Contender(library=line["library"], backend=line["backend"], way=line["way"])
        before = found.get(str(contender))
        rounds = dict(before.rounds) if before else {}
        if "round" in line:
            rounds[line["round"]] = line["seconds"]
        prepared = line if "prepared" in line else before.prepared if before else {}
        found[str(contender)] = Series(
            contender=contender, batch_size=line["batch_size"], rounds=rounds, prepared=prepared
        )
    return found


def best(candidates: Iterable[Series]) -> Series | None:
    """The fastest that took part."""
    able = [one for one in candidates if one.rounds and not one.reason]
    return max(able, key=lambda one: one.rate, default=None)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The two that a target compares, and by how much ours was faster in every round."""

    ours: Series
    theirs: Series
    ratios: list[float]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)


def compared(target: Target, lines: list[Line]) -> Comparison | None:
    """What was measured for a target; `None` if one side was not."""
    found = series(lines, model=target.model, mode=target.mode).values()
    here = [one for one in found if target.backend in (None, one.contender.backend)]
    ours = best(one for one in here if one.contender.library == OURS)
    theirs = best(
        one
        for one in here
        if one.contender.library in target.rivals and target.way in (None, one.contender.way)
    )
    if ours is None or theirs is None:
        return None
    mine, other = ours.rates(), theirs.rates()
    ratios = [mine[number] / other[number] for number in mine.keys() & other.keys()]
    return Comparison(ours=ours, theirs=theirs, ratios=ratios) if ratios else None


def page(lines: list[Line]) -> str:
    """The whole page."""
    parts = [INTRODUCTION, "## Goals\n", _goals(lines)]
    everywhere = _processors(lines)
    for name, architecture in ARCHITECTURES.items():
        for mode in architecture.modes:
            found = series(lines, model=name, mode=mode)
            if found:
                parts.append(f"## {name}: {TITLES[mode]}\n")
                here = _processors(lines, model=name, mode=mode)
                if here != everywhere:  # a ratio holds for its processor
                    parts.append(f"On {', '.join(here)}.\n")
                parts.append(_speeds(list(found.values()), mode))
    parts += ["## The machine\n", _settings(lines)]
    return "\n".join(parts)


TITLES = {
    INFERENCE: "inference",
    TRAINING: "a step of training",
    START: "building and the first call",
}


def _processors(lines: list[Line], **group: Any) -> list[str]:
    """On which a group (`model`, `mode`, ...) was measured; everything if none is named."""
    found = (
        line["machine"]["processor"]
        for line in lines
        if "machine" in line and group.items() <= line.items()
    )
    return list(dict.fromkeys(found))


def _settings(lines: list[Line]) -> str:
    sizes = dict.fromkeys(f"batch {line['batch_size']}, {line['image_size']} px" for line in lines)
    machines: dict[str, dict[str, None]] = {}
    for line in lines:
        for key, value in line.get("machine", {}).items():
            if key not in ("backend", "system"):
                machines.setdefault(key, {})[value] = None
    facts = "".join(f"- {key}: {', '.join(values)}\n" for key, values in machines.items())
    return f"Measured with {'; '.join(sizes)} on:\n\n{facts}"


def _goals(lines: list[Line]) -> str:
    rows = []
    for target in TARGETS:
        found = compared(target, lines)
        if found is None:
            rows.append([str(target), f"{target.at_least:g}", UNMEASURED, "", "", ""])
            continue
        spread = f"{min(found.ratios):.2f} to {max(found.ratios):.2f}"
        verdict = "met" if found.ratio >= target.at_least else "**not met**"
        names = [str(one.contender) for one in (found.ours, found.theirs)]
        rows.append(
            [str(target), f"{target.at_least:g}", f"{found.ratio:.2f} ({spread})", verdict, *names]
        )
    return _table(["How many times as fast", "Goal", "Measured", "", "Ours", "Theirs"], rows)


def _speeds(found: list[Series], mode: str) -> str:
    unit = "Seconds" if mode == START else "Images/s"
    able = [one for one in found if one.rounds and not one.reason]
    rows = []
    for one in sorted(able, key=lambda one: -one.rate):
        values = sorted(
            one.batch_size / rate if mode == START else rate for rate in one.rates().values()
        )
        # Seconds of an attempt, or images per second of a round.
        rows.append(
            [
                *_names(one),
                f"{statistics.median(values):.2f} ({values[0]:.2f} to {values[-1]:.2f})",
                str(len(values)),
                f"{one.prepared['params']:,}",
                f"{one.prepared['build_seconds']:.1f} + {one.prepared['first_seconds']:.1f}",
            ]
        )
    rows += [[*_names(one), one.reason, "", "", ""] for one in found if one.reason]
    header = ["Library", "Backend", "Way", unit, "Rounds", "Parameters", "Build + first call (s)"]
    return _table(header, rows)


def _names(one: Series) -> list[str]:
    return [one.contender.library, one.contender.backend, one.contender.way]


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    cells = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in cells) + "\n"
