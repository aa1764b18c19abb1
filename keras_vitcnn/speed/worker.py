"""A process of its own for every measurement, so that none inherits memory or caches.

`python -m keras_vitcnn.speed.worker JOB` prints the answer to a job as the last line of stdout.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from typing import Any

from keras_vitcnn.speed.points import JIT, Point

WARM_UP_STEPS = 2  # behind the first; some backends compile twice


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
        lines = done.stderr.strip().splitlines()
        return {"failure": lines[-1] if lines else f"the process ended with {done.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])


def _measure(point: Point, seconds: float) -> dict[str, Any]:
    import keras

    from keras_vitcnn.analysis import complexity
    from keras_vitcnn.models import create_model
    from keras_vitcnn.speed import steps
    from keras_vitcnn.training import measure

    memory = measure.PeakMemory()
    start = time.perf_counter()
    side = point.image_size
    channels_first = keras.config.image_data_format() == "channels_first"
    shape = (3, side, side) if channels_first else (side, side, 3)
    model = create_model(point.model, input_shape=shape, dtype=point.dtype)
    built = time.perf_counter()
    prepare = getattr(steps, point.mode)
    step = prepare(model, point.batch_size, JIT[point.jit])
    step()
    compiled = time.perf_counter()
    for _ in range(WARM_UP_STEPS):
        step()
    times = steps.timed(step, seconds)
    peak = memory.read()
    cost = complexity(model)
    return {
        "build_seconds": built - start,
        "first_step_seconds": compiled - built,
        "step_seconds": times,
        "peak_memory": peak,
        "params": cost.params,
        "macs": cost.macs,
        "machine": measure.machine(),
    }


def _work(job: dict[str, Any]) -> dict[str, Any]:
    if "matmul" in job:
        from keras_vitcnn.speed.steps import matmul_peak as measured_here
        from keras_vitcnn.training.measure import machine

        return {"macs_per_second": measured_here(job["matmul"]), "machine": machine()}
    return _measure(Point(**job["point"]), job["seconds"])


if __name__ == "__main__":
    print(json.dumps(_work(json.loads(sys.argv[1]))))
