"""`ablate`: every step of a road trained on the same images, held against what was published."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from keras_vitcnn.ablation import Road, Step, costs, fit
from keras_vitcnn.ablation import road as road_of
from keras_vitcnn.extras import require
from keras_vitcnn.training import ablation_report, recipes
from keras_vitcnn.training.comparison import candidate, described, load_images, outcome, trained
from keras_vitcnn.training.progress import Reporter
from keras_vitcnn.training.recipes import Recipe
from keras_vitcnn.training.records import Findings, Record, RunFolder
from keras_vitcnn.training.settings import Settings, as_read


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A step and how it is trained."""

    step: Step
    base: Recipe
    rate_factor: float

    @property
    def recipe(self) -> Recipe:
        """The base with its learning rate multiplied."""
        return replace(self.base, learning_rate=self.base.learning_rate * self.rate_factor)

    @property
    def name(self) -> str:
        """Under which its records stand in `results.jsonl`."""
        times = "" if self.rate_factor == 1 else f", rate x {self.rate_factor:g}"
        return f"{self.step.name} ({self.base.name}{times})"


def ablate(
    road: str | Road,
    data: str | Path = "digits",
    out: str | Path = "runs/ablation",
    *,
    steps: Sequence[str] | None = None,
    seeds: Sequence[int] = (0,),
    recipe: str | Recipe | Sequence[str | Recipe] = "small-data",
    rate_factors: Sequence[float] = (1.0,),
    data_dir: str | Path | None = None,
    show_progress: bool = False,
    **settings: Any,
) -> Findings:
    """Train the steps of a road on the same images, and write its table and figure.

    Everything is checked before the first step and before anything is written. Each finished
    training is one line of `results.jsonl`, and the report is written anew behind it; called again
    with the same `out`, it goes on after the last one, and may be given more steps, more seeds and
    more factors.

    Args:
        road: its name, see `keras_vitcnn.ablation.roads`.
        data: as of `keras_vitcnn.data.load`.
        out: folder for `settings.json`, `results.jsonl`, `road.json`, `report.md`, `report.html`
            and the figures as SVG and PNG.
        steps: names of those to train; all by default.
        seeds: each step is trained once with each.
        recipe: names of recipes, or changed ones; each step is trained with each of them. A step
            that stands for a training recipe of its own (the first one of the roads to ConvNeXt)
            is trained with that.
        rate_factors: on the learning rate of the recipes; each step is trained with each.
        data_dir: of prepared tensorflow-datasets.
        show_progress: bars on stderr.
        **settings: the fields of `keras_vitcnn.training.Settings`, as of `compare`.

    Raises:
        ValueError: for anything that can't work, and for an `out` that holds a run with other
            settings, naming them.
        OSError: if data have to be downloaded and can't.
        ImportError: with the command that installs what is missing.
    """
    road = road_of(road) if isinstance(road, str) else road
    chosen = road if steps is None else [road.step(name) for name in dict.fromkeys(steps)]
    several = [recipe] if isinstance(recipe, (str, Recipe)) else recipe
    found_recipes = [recipes.recipe(one) for one in several]
    trials = _trials(chosen, found_recipes, rate_factors)
    seeds = list(dict.fromkeys(int(seed) for seed in seeds))
    for argument, value in (("steps, recipe, rate_factors", trials), ("seeds", seeds)):
        if not value:
            raise ValueError(f"`{argument}` must not be empty. Received: {argument}={value}")
    asked = Settings(data=str(data), recipe=found_recipes[0], **settings)
    require("matplotlib", "plot")
    folder = RunFolder(out)
    with Reporter(show_progress) as reporter:
        images, decided = load_images(asked, data_dir, reporter)
        scale = (images.image_size, decided.width_multiplier, decided.stem_stride)
        small = {step.name: fit(road, step, *scale)[0] for step in chosen}
        plain = _described(described(decided, images, list(trials), seeds), road, found_recipes)
        folder.check(plain)
        done = {(r["model"], r["seed"]): r for r in folder.records(folder.results)}
        missing = [(name, seed) for seed in seeds for name in trials if (name, seed) not in done]
        counted = {step.name: candidate(step.name, step.config, images, decided) for step in chosen}
        for addition in folder.open(plain):
            reporter.say(f"added to the run in {out}: {addition}")
        reporter.say(images.description)
        if len(missing) < len(trials) * len(seeds):
            reporter.say(f"done already: {len(trials) * len(seeds) - len(missing)} trainings")
        published = costs(road)
        written = ablation_report.write(folder, road, published)
        for number, (name, seed) in enumerate(missing, 1):
            trial = trials[name]
            title = f"{name}, seed {seed} ({number}/{len(missing)})"
            what: Record = {
                "model": name,
                "step": trial.step.name,
                "recipe": trial.base.name,
                "rate_factor": trial.rate_factor,
            }
            twin = _twin(trial, seed, trials, done, small)
            if twin:
                record = {**twin, **what, "same_as": twin["model"]}
            else:
                one = replace(counted[trial.step.name], name=name)
                its_own = replace(decided, recipe=trial.recipe)
                record = what | trained(one, seed, images, its_own, reporter, title)
            folder.append(folder.results, record)
            done[name, seed] = record
            reporter.say(f"{title}: {outcome(record)}")
            written = ablation_report.write(folder, road, published)
    return written


def _trials(
    steps: Iterable[Step], found: Sequence[Recipe], factors: Sequence[float]
) -> dict[str, Trial]:
    """Every step with every recipe and factor, by a name that later calls give again."""
    for factor in factors:
        if not factor > 0:
            raise ValueError(f"`rate_factors` must be positive. Received: rate_factors={factors}")
    if len({one.name for one in found}) < len(found):
        names = [one.name for one in found]
        raise ValueError(f"`recipe` must have different names. Received: recipe={names}")
    trials = {}
    for one in found:
        for factor in factors:
            for step in steps:
                own = recipes.recipe(step.recipe) if step.recipe else None
                trial = Trial(step=step, base=own or one, rate_factor=1.0 if own else factor)
                trials[trial.name] = trial
    return trials


def _twin(
    trial: Trial,
    seed: int,
    trials: Mapping[str, Trial],
    done: Mapping[tuple[str, int], Record],
    small: Mapping[str, Any],
) -> Record | None:
    """What is done already of the same network, recipe and seed: steps may be one at this width."""
    same = (
        other.name
        for other in trials.values()
        if small[other.step.name] == small[trial.step.name] and other.recipe == trial.recipe
    )
    return next((done[name, seed] for name in same if (name, seed) in done), None)


def _described(plain: Record, road: Road, found: Sequence[Recipe]) -> Record:
    """The settings of a run, with all of its recipes in place of the one of a comparison."""
    kept = {name: value for name, value in plain.items() if not name.startswith("recipe")}
    own = [recipes.recipe(step.recipe) for step in road if step.recipe]
    trained = {f"recipe {one.name}": asdict(one) for one in [*own, *found]}
    return as_read(kept | {"road": road.name} | trained)
