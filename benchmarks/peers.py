"""Measure these models beside those of other libraries, and write docs/performance.md.

    python -m benchmarks.peers                      (everything, or what is still missing of it)
    python -m benchmarks.peers --models ConvNeXt-T --modes inference --again

Every library has a process of its own on every backend. All of them build and compile first; then
they are timed in turns, the fastest first, round after round (A B C A B C ...), so that what else
happens on the machine strikes all of them; a slice during which a hypervisor gave processors to
others is timed again. Building and the first call are timed in fresh processes, in rounds too. Each
finished timing is a line in benchmarks/results/peers.jsonl; a stopped run goes on with the rounds
that are not complete. The page is written from that file alone (--page-only).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import performance
from benchmarks.contenders import ARCHITECTURES, INFERENCE, START, TRAINING, Contender, contenders
from keras_vitcnn.files import write_atomically
from keras_vitcnn.training.records import append_line, drop_half_line, read_lines

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks/results/peers.jsonl"
PAGE = ROOT / "docs/performance.md"
FEWEST, MOST = 3, 200  # steps of one slice
HOPELESS = 3.0  # times as slow as another way of the same library: not worth a slice in every round
MOST_STOLEN = 0.05  # of all processors' time during a slice that counts
ATTEMPTS = 20  # before the least disturbed slice counts all the same
GREETING = "I0000"  # TensorFlow's, at any log level
LONGEST = 900.0  # seconds of one answer: a compilation that takes longer is no way to run a model


@dataclass(frozen=True, kw_only=True)
class Group:
    """What is measured together."""

    model: str
    mode: str
    batch_size: int
    image_size: int

    def __str__(self) -> str:
        return f"{self.model} {self.mode}"


class Worker:
    """A process of worker.py; its death is an answer like any other failure, and so is silence."""

    def __init__(self, backend: str, longest: float = LONGEST) -> None:
        self.longest = longest
        keras_backend = "torch" if backend == "openvino" else backend
        env = os.environ | {"KERAS_BACKEND": keras_backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (open as long as the process)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            if not self._answers():
                self.process.kill()
                self.process.wait()
                return {"failure": f"no answer in {self.longest:g} s"}
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line:
            return json.loads(line)
        self.log.seek(0)
        lines = filter(None, self.log.read().splitlines())
        said = [line for line in lines if not line.startswith(GREETING)]
        last = f": {said[-1][:200]}" if said else ""
        code = self.process.wait()
        killed = ", killed, perhaps for want of memory" if code == -signal.SIGKILL else ""
        return {"failure": f"its process ended with {code}{killed}{last}"}

    def _answers(self) -> bool:
        """Wait for a line, which comes whole, or for the end of the process."""
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.process.stdout, selectors.EVENT_READ)
            return bool(waiting.select(self.longest))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.log):
            if stream:
                stream.close()


def stolen() -> float:
    """Seconds of processors that the hypervisor gave to others so far; 0 where nobody says."""
    try:
        total = Path("/proc/stat").read_text().splitlines()[0].split()
    except OSError:
        return 0.0
    return int(total[8]) / os.sysconf("SC_CLK_TCK")


def undisturbed(ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The answer, timed again while others have the processors, and which share they had."""
    answers = []
    for _ in range(ATTEMPTS):
        before, start = stolen(), time.perf_counter()
        answer = ask()
        share = (stolen() - before) / (time.perf_counter() - start) / (os.cpu_count() or 1)
        answers.append(answer | {"stolen": round(share, 3)})
        if share <= MOST_STOLEN or "failure" in answer:
            return answers[-1]
    return min(answers, key=lambda answer: answer["stolen"])


class Run:
    """The rounds that the results lack, measured and written down one by one."""

    def __init__(self, results: Path, rounds: int, seconds: float) -> None:
        self.results = results
        self.rounds = rounds
        self.seconds = seconds

    def missing(self, group: Group, all_of_them: list[Contender]) -> list[int]:
        """The rounds in which somebody who can take part did not; all if somebody is new."""
        found = performance.series(read_lines(self.results), **vars(group))
        if any(str(one) not in found for one in all_of_them):
            return list(range(self.rounds))
        able = [found[str(one)] for one in all_of_them if not found[str(one)].reason]
        return [n for n in range(self.rounds) if any(n not in one.rounds for one in able)]

    def write(self, group: Group, contender: Contender, what: dict[str, Any]) -> None:
        append_line(self.results, {**vars(group), **vars(contender), **what})
        if "round" in what:
            slow = sorted(what["seconds"])[len(what["seconds"]) // 2]
            outcome = f"round {what['round'] + 1}: {slow:.3f} s"
        else:
            outcome = what.get("absent") or what.get("failure") or "ready"
        print(f"{time.strftime('%H:%M:%S')} {group}: {contender}: {outcome}", flush=True)

    def steps(self, group: Group, all_of_them: list[Contender], rounds: Iterable[int]) -> None:
        """Prepare everybody, then time slices of steps in turns."""
        workers: dict[tuple[str, str, bool], Worker] = {}
        took: dict[Contender, float] = {}
        try:
            for one in all_of_them:
                if one.process not in workers:
                    workers[one.process] = Worker(one.backend)
                answer = workers[one.process].ask(_request(group, one))
                self.write(group, one, {"prepared": True} | answer)
                if "step_seconds" in answer:
                    took[one] = answer["step_seconds"]
            for one, other in hopeless(took).items():
                seconds = took.pop(one)
                reason = f"{seconds:.1f} s a step where its {other.way} takes {took[other]:.1f}"
                self.write(group, one, {"prepared": True, "absent": reason})
            for number in rounds:
                # The fastest are nearest to each other, and so are the machine's moods.
                for one in sorted(took, key=lambda one: took[one]):
                    wanted = math.ceil(self.seconds / took[one])
                    ask = {"measure": one.way, "steps": min(max(wanted, FEWEST), MOST)}
                    answer = undisturbed(partial(workers[one.process].ask, ask))
                    if "failure" in answer:
                        del took[one]
                        self.write(group, one, {"prepared": True} | answer)
                    else:
                        self.write(group, one, {"round": number} | answer)
        finally:
            for worker in workers.values():
                worker.close()

    def starts(self, group: Group, all_of_them: list[Contender], rounds: Iterable[int]) -> None:
        """Build and call in a fresh process each, in turns."""
        failed: set[Contender] = set()
        for number in rounds:
            for one in all_of_them:
                if one in failed:
                    continue
                answer = undisturbed(partial(started, group, one))
                self.write(group, one, {"prepared": True} | answer)
                if "first_seconds" in answer:
                    seconds = [answer["build_seconds"] + answer["first_seconds"]]
                    self.write(group, one, {"round": number, "seconds": seconds})
                else:
                    failed.add(one)


def hopeless(took: dict[Contender, float]) -> dict[Contender, Contender]:
    """Who needs several times the seconds of another way of its process -> that one."""
    fastest: dict[tuple[str, str, bool], Contender] = {}
    for one in sorted(took, key=lambda one: took[one]):
        fastest.setdefault(one.process, one)
    return {
        one: fastest[one.process]
        for one, seconds in took.items()
        if seconds > HOPELESS * took[fastest[one.process]]
    }


def started(group: Group, contender: Contender) -> dict[str, Any]:
    """What a fresh process says when it has built a model and called it."""
    worker = Worker(contender.backend)
    try:
        return worker.ask(_request(group, contender))
    finally:
        worker.close()


def _request(group: Group, contender: Contender) -> dict[str, Any]:
    mode = INFERENCE if group.mode == START else group.mode
    return {"prepare": contender.way, **vars(group), **vars(contender), "mode": mode}


def groups(args: argparse.Namespace) -> list[Group]:
    """The asked ones in the order of the table of architectures."""
    return [
        Group(model=name, mode=mode, batch_size=args.batch_size, image_size=args.image_size)
        for name, architecture in ARCHITECTURES.items()
        for mode in architecture.modes
        if name in args.models and mode in args.modes
    ]


def forget(results: Path, asked: list[Group]) -> None:
    """Drop the results of these groups."""
    kept = [
        line
        for line in read_lines(results)
        if not any(vars(group).items() <= line.items() for group in asked)
    ]
    write_atomically(results, "".join(json.dumps(line) + "\n" for line in kept))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=(__doc__ or "").splitlines()[0]
    )
    modes = (INFERENCE, TRAINING, START)
    parser.add_argument("--models", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    parser.add_argument("--modes", nargs="+", choices=modes, default=modes)
    parser.add_argument("--libraries", nargs="+", help="only these (default: all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one timed slice, about")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--again", action="store_true", help="measure what was measured before")
    parser.add_argument("--page-only", action="store_true", help="measure nothing")
    args = parser.parse_args(arguments)
    args.results.parent.mkdir(parents=True, exist_ok=True)
    drop_half_line(args.results)
    if not args.page_only:
        measure(args)
    setting = {"batch_size": args.batch_size, "image_size": args.image_size}
    lines = [line for line in read_lines(args.results) if setting.items() <= line.items()]
    if not lines:
        parser.error(f"{args.results} holds no results of {setting}; run without --page-only")
    write_atomically(args.page, performance.page(lines))
    print(f"wrote {args.page}")
    return 0


def measure(args: argparse.Namespace) -> None:
    asked = groups(args)
    if args.again:
        forget(args.results, asked)
    run = Run(args.results, args.rounds, args.seconds)
    for group in asked:
        taking_part = [
            one
            for one in contenders(ARCHITECTURES[group.model], group.mode)
            if not args.libraries or one.library in args.libraries
        ]
        rounds = run.missing(group, taking_part)
        if rounds:
            timed = run.starts if group.mode == START else run.steps
            timed(group, taking_part, rounds)


if __name__ == "__main__":
    sys.exit(main())
