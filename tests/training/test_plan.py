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
