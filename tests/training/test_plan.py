"""Where evaluations lie, and how many steps fit into a time."""

import itertools

import pytest

from keras_vitcnn.training import Settings
from keras_vitcnn.training.runner import plan
from keras_vitcnn.training.settings import differences, flat

pytestmark = pytest.mark.backend_independent


def test_epochs_are_evaluated_one_by_one() -> None:
    assert plan(Settings(epochs=3), 10, 0.0, 0.0) == [0, 10, 20, 30]


def test_ten_epochs_unless_something_is_said() -> None:
    assert Settings().epochs == 10
    assert Settings(minutes_per_model=1).epochs is None


def test_steps_and_evaluations_fit_into_the_minutes() -> None:
    bounds = plan(Settings(minutes_per_model=1), 100, step_seconds=0.1, eval_seconds=2.0)
    rounds = len(bounds) - 1
    spent = 0.1 * bounds[-1] + 2.0 * rounds
    assert 50 < spent <= 60
    assert rounds == 5  # of 9.4 seconds of training each: not quite an epoch
    assert max(b - a for a, b in itertools.pairwise(bounds)) <= 100


def test_epochs_bound_the_minutes() -> None:
    assert plan(Settings(minutes_per_model=60, epochs=2), 100, 0.1, 2.0) == [0, 100, 200]


def test_a_slow_model_takes_a_step_at_least() -> None:
    assert plan(Settings(minutes_per_model=0.01), 100, 10.0, 20.0) == [0, 1]


def test_a_revised_plan_uses_what_is_left_of_the_minutes() -> None:
    settings = Settings(minutes_per_model=1)
    # Twice as fast as foretold: 100 steps and an evaluation took 7 of 60 seconds.
    bounds = plan(settings, 100, 0.05, 2.0, done=100, elapsed=7.0)
    spent = 7.0 + 0.05 * (bounds[-1] - 100) + 2.0 * (len(bounds) - 1)
    assert bounds[0] == 100
    assert 55 < spent <= 60
    # Slower: no time is left, and the learning rate falls in one last step.
    assert plan(settings, 100, 1.0, 2.0, done=50, elapsed=61.0) == [50, 51]
    # A number of epochs stays what it is.
    assert plan(Settings(epochs=3), 10, 0.5, 2.0, done=10, elapsed=99.0) == [10, 20, 30]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", -1),
        ("dtype", "float8"),
        ("drop_path_rate", 1.0),
        ("width_multiplier", 0.0),
        ("minutes_per_model", -2),
    ],
)
def test_bad_settings(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"Received: {field}={value!r}"):
        Settings(**{field: value})


def test_differences_name_both_values() -> None:
    old, new = flat(Settings(epochs=3)), flat(Settings(epochs=4, data="photos"))
    assert differences(old, new) == ['data: "digits" -> "photos"', "epochs: 3 -> 4"]
    assert differences(old, old) == []
