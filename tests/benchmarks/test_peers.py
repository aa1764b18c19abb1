"""The side-by-side benchmark: its order, how it goes on, and a real process of it."""

import itertools
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import pytest

from benchmarks import peers
from benchmarks.contenders import KERAS_WAYS, OURS, Contender
from keras_vitcnn.training.records import read_lines

GROUP = peers.Group(model="ResNet-50", mode="inference", batch_size=1, image_size=32)
A, B, C = (Contender(library=name, backend="torch", way="eager") for name in "ABC")
READY = {"step_seconds": 1.0, "params": 3, "build_seconds": 1.0, "first_seconds": 2.0}


class Fake:
    """Answers without computing; `asked` has what was asked of whom, in order."""

    asked: list[str]
    answers: dict[str, dict[str, Any]]  # to what isn't the usual
    stop_at: int | None  # request that is interrupted

    def __init__(self, backend: str) -> None:
        self.library = ""

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self.library = request.get("library", self.library)
        what = "prepare" if "prepare" in request else "measure"
        if len(Fake.asked) == Fake.stop_at:
            raise KeyboardInterrupt
        Fake.asked.append(f"{what} {self.library}")
        usual = READY if what == "prepare" else {"seconds": [0.5] * request["steps"]}
        known = Fake.answers
        return known.get(f"prepare {request.get('way')}", known.get(Fake.asked[-1], usual))

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    Fake.asked, Fake.answers, Fake.stop_at = [], {}, None
    if "real" not in request.node.name:
        monkeypatch.setattr(peers, "Worker", Fake)
    yield


def go_on(results: Path, *everybody: Contender) -> str:
    """Measure what is missing; who was asked to measure, in order."""
    run = peers.Run(results, rounds=2, seconds=3.0)
    Fake.asked = []
    rounds = run.missing(GROUP, list(everybody))
    if rounds:
        run.steps(GROUP, list(everybody), rounds)
    return "".join(what[-1] for what in Fake.asked if what.startswith("measure"))


@pytest.mark.backend_independent
def test_slices_take_turns(tmp_path: Path) -> None:
    results = tmp_path / "peers.jsonl"
    assert go_on(results, A, B, C) == "ABCABC"
    assert go_on(results, A, B, C) == "", "all is measured"
    rounds = [line for line in read_lines(results) if "round" in line]
    assert [len(line["seconds"]) for line in rounds] == [3] * 6, "3 s at 1 s a step"


@pytest.mark.backend_independent
def test_a_stopped_run_goes_on_with_the_round_that_is_not_complete(tmp_path: Path) -> None:
    Fake.stop_at = 3 + 3 + 1  # three prepared, a round, and one slice of the second
    with pytest.raises(KeyboardInterrupt):
        go_on(tmp_path / "peers.jsonl", A, B, C)
    Fake.stop_at = None
    assert go_on(tmp_path / "peers.jsonl", A, B, C) == "ABC"
    assert go_on(tmp_path / "peers.jsonl", A, B, C) == ""


@pytest.mark.backend_independent
def test_who_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    results = tmp_path / "peers.jsonl"
    Fake.answers = {
        "prepare A": {"absent": "A is not installed"},
        "measure B": {"failure": "its process ended with -9"},
    }
    assert go_on(results, A, B, C) == "BCC"
    assert go_on(results, A, B, C) == ""
    reasons = {line["library"]: line for line in read_lines(results) if "round" not in line}
    assert reasons["A"]["absent"] == "A is not installed"
    assert reasons["B"]["failure"] == "its process ended with -9"


@pytest.mark.backend_independent
def test_what_was_timed_while_others_computed_is_timed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([0.0, 1e6, *[1e6] * 4])  # nothing is lost from the second attempt on
    monkeypatch.setattr(peers, "stolen", lambda: next(losses))
    run = peers.Run(tmp_path / "peers.jsonl", rounds=1, seconds=3.0)
    run.steps(GROUP, [A, B], [0])
    assert Fake.asked[2:] == ["measure A", "measure A", "measure B"]
    rounds = [line for line in read_lines(run.results) if "round" in line]
    assert [line["stolen"] for line in rounds] == [0, 0], "the first attempt is not kept"


@pytest.mark.backend_independent
def test_where_it_is_never_quiet_the_least_disturbed_slice_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = itertools.accumulate(1e6 if n != 2 * 3 + 1 else 1.0 for n in itertools.count())
    monkeypatch.setattr(peers, "stolen", lambda: next(lost))
    attempts = itertools.count()
    answer = peers.undisturbed(lambda: {"seconds": [next(attempts)]})
    assert next(attempts) == peers.ATTEMPTS
    assert answer["seconds"] == [3]
    assert answer["stolen"] > peers.MOST_STOLEN


@pytest.mark.backend_independent
def test_a_way_far_behind_another_of_its_library_is_not_timed(tmp_path: Path) -> None:
    results = tmp_path / "peers.jsonl"
    slow = Contender(**vars(A) | {"way": "xla"})
    Fake.answers = {"prepare xla": READY | {"step_seconds": 9.0}}
    assert go_on(results, A, slow, B) == "ABAB"
    *_, said = (line for line in read_lines(results) if line["way"] == "xla")
    assert said["absent"] == "9.0 s a step where its eager takes 1.0"
    assert go_on(results, A, slow, B) == ""


@pytest.mark.backend_independent
def test_starts_take_turns_in_fresh_processes(tmp_path: Path) -> None:
    run = peers.Run(tmp_path / "peers.jsonl", rounds=2, seconds=3.0)
    Fake.answers = {"prepare B": {"failure": "no"}}
    run.starts(GROUP, [A, B, C], range(2))
    assert Fake.asked == ["prepare A", "prepare B", "prepare C", "prepare A", "prepare C"]
    rounds = [line for line in read_lines(run.results) if "round" in line]
    assert [line["seconds"] for line in rounds] == [[3.0]] * 4, "building and the first call"


@pytest.mark.backend_independent
def test_again_forgets_only_what_is_asked(tmp_path: Path) -> None:
    results = tmp_path / "peers.jsonl"
    go_on(results, A)
    other = peers.Group(**vars(GROUP) | {"model": "ViT-S"})
    peers.Run(results, rounds=1, seconds=1.0).steps(other, [A], [0])
    peers.forget(results, [GROUP])
    assert {line["model"] for line in read_lines(results)} == {"ViT-S"}


@pytest.mark.backend_independent
def test_the_page_is_written_from_the_results(tmp_path: Path) -> None:
    options = ["--results", str(tmp_path / "r.jsonl"), "--page", str(tmp_path / "page.md")]
    with pytest.raises(SystemExit):
        peers.main([*options, "--page-only"])
    assert not (tmp_path / "page.md").exists()
    Fake.answers = {"prepare timm": {"absent": "timm is not installed"}}
    asked = ["--models", "ViT-S", "--libraries", OURS, "timm", "--rounds", "2", "--seconds", "2"]
    assert peers.main([*options, *asked]) == 0
    page = (tmp_path / "page.md").read_text()
    assert "| timm | torch | eager | timm is not installed |" in page
    assert "| keras_vitcnn | jax | jit | 16.00 (16.00 to 16.00) | 2 | 3 | 1.0 + 2.0 |" in page


@pytest.mark.slow
def test_a_real_process_prepares_and_measures() -> None:
    backend = keras.backend.backend()
    who = Contender(library=OURS, backend=backend, way=KERAS_WAYS[backend][0])
    worker = peers.Worker(backend)
    try:
        ready = worker.ask(peers._request(GROUP, who))
        assert ready["params"] == 25_557_032 + 2 * 26_560, "timm's and the moving statistics"
        measured = worker.ask({"measure": who.way, "steps": 2})
        assert len(measured["seconds"]) == 2
        assert min(measured["seconds"]) > 0
        failed = worker.ask({"measure": "in no way", "steps": 1})
        assert failed == {"failure": "KeyError: 'in no way'"}
        worker.process.kill()
        dead = worker.ask({"measure": who.way, "steps": 1})
        assert dead["failure"].startswith("its process ended with -9")
    finally:
        worker.close()


def test_a_real_process_that_says_nothing_is_ended() -> None:
    worker = peers.Worker(keras.backend.backend(), longest=0.2)
    try:
        worker.process.send_signal(signal.SIGSTOP)
        assert worker.ask({"measure": "in no way", "steps": 1}) == {"failure": "no answer in 0.2 s"}
        assert worker.process.poll() is not None
    finally:
        worker.close()
