"""Run the checks of this repository one after another, go on after a failure, end with one table.

All of them, as `make test` does:   python scripts/check.py lint types tensorflow jax torch
One, with arguments for pytest:     python scripts/check.py jax -- -k convit
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

TOOLS = {
    "lint": [["ruff", "check", "--output-format=concise", "."], ["ruff", "format", "--check", "."]],
    "types": [["mypy"]],
}
BACKENDS = ("tensorflow", "jax", "torch")


class Outcome(NamedTuple):
    name: str
    ok: bool
    detail: str
    seconds: float


def run(module_and_args: Sequence[str], **env: str) -> bool:
    shown = [f"{name}={value}" for name, value in env.items()] + [*module_and_args]
    print(f"\n$ {shlex.join(shown)}", flush=True)
    command = [sys.executable, "-m", *module_and_args]
    return subprocess.run(command, env=os.environ | env, check=False).returncode == 0


def run_tools(name: str) -> tuple[bool, str]:
    return all([run(command) for command in TOOLS[name]]), ""


def run_tests(backend: str, jobs: int, pytest_args: Sequence[str]) -> tuple[bool, str]:
    # Each process gets its share of the cores: two that both take all of them slow each other down.
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    with tempfile.TemporaryDirectory() as folder:
        junit = Path(folder, "junit.xml")
        ok = run(
            ["pytest", "-q", f"-n{jobs}", "--dist=worksteal", f"--junitxml={junit}", *pytest_args],
            KERAS_BACKEND=backend,
            OMP_NUM_THREADS=threads,
            TF_NUM_INTRAOP_THREADS=threads,
            NPROC=threads,  # XLA's name for it
        )
        return ok, count_tests(junit)


def count_tests(junit: Path) -> str:
    if not junit.exists():
        return "no result"
    suites = ElementTree.parse(junit).getroot().iter("testsuite")
    total = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for suite in suites:
        for key in total:
            total[key] += int(suite.get(key, 0))
    bad = total["failures"] + total["errors"]
    passed = total["tests"] - bad - total["skipped"]
    return f"{passed} passed, {bad} failed, {total['skipped']} skipped"


def main() -> int:
    argv = sys.argv[1:]
    split = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checks", nargs="+", choices=[*TOOLS, *BACKENDS])
    parser.add_argument("--jobs", type=int, default=2, help="test processes at once (default: 2)")
    args = parser.parse_args(argv[:split])
    pytest_args = argv[split + 1 :]

    outcomes: list[Outcome] = []
    tested = False
    for name in args.checks:
        start = time.monotonic()
        if name in TOOLS:
            ok, detail = run_tools(name)
        else:
            once = ["-m", "not backend_independent"] if tested else []
            ok, detail = run_tests(name, args.jobs, [*once, *pytest_args])
            tested = True
        outcomes.append(Outcome(name, ok, detail, time.monotonic() - start))

    print()
    for name, ok, detail, seconds in outcomes:
        print(f"{'ok' if ok else 'FAILED':<8}{name:<12}{seconds / 60:5.1f} min  {detail}".rstrip())
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
