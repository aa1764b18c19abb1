"""What runs in the process of one measurement.

`python -m keras_vitcnn.speed.worker JOB` prints the answer to a job as the last line of stdout.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import keras

from keras_vitcnn.analysis import complexity
from keras_vitcnn.models import create_model
from keras_vitcnn.speed import steps
from keras_vitcnn.speed.points import JIT, Point
from keras_vitcnn.training import measure

WARM_UP_STEPS = 2  # behind the first; some backends compile twice


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """{"matmul": dtype} or {"point": fields, "seconds": ...} -> what `processes` returns."""
    if "matmul" in job:
        return {"macs_per_second": steps.matmul_peak(job["matmul"]), "machine": measure.machine()}
    return _point(Point(**job["point"]), job["seconds"])


def _point(point: Point, seconds: float) -> dict[str, Any]:
    memory = measure.PeakMemory()
    start = time.perf_counter()
    side = point.image_size
    channels_first = keras.config.image_data_format() == "channels_first"
    shape = (3, side, side) if channels_first else (side, side, 3)
    model = create_model(point.model, input_shape=shape, dtype=point.dtype)
    built = time.perf_counter()
    prepare = steps.training if point.mode == "training" else steps.inference
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


if __name__ == "__main__":
    print(json.dumps(answer(json.loads(sys.argv[1]))))
