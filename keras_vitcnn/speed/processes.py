"""A process of its own for every measurement, so that none inherits memory or caches."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import asdict
from typing import Any

from keras_vitcnn.speed.points import Point


def measured(point: Point, seconds: float) -> dict[str, Any]:
    """Measure a point in a fresh process; a `failure` says why that was not possible."""
    return _answer({"point": asdict(point), "seconds": seconds})


def matmul_peak(dtype: str) -> dict[str, Any]:
    """`steps.matmul_peak` of a fresh process, as `macs_per_second`, or a `failure`."""
    return _answer({"matmul": dtype})


def _answer(job: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "keras_vitcnn.speed.worker", json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return {"failure": f"the process was ended by {name}; out of memory, perhaps"}
    if done.returncode:
        return {"failure": _error(done.stderr) or f"the process ended with {done.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])


def _error(stderr: str) -> str:
    """The line of a traceback that names the exception: the last one that is not indented."""
    lines = [line for line in stderr.splitlines() if line.strip() and not line[0].isspace()]
    return next((line for line in reversed(lines) if "Error" in line), lines[-1] if lines else "")
