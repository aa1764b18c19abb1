"""A process that prepares models of one library on one backend and times their steps on request.

Started by peers.py as `python -m benchmarks.worker` with KERAS_BACKEND set. Reads a request a line
from stdin, writes an answer a line to stdout:

    {"prepare": way, ...} -> {"build_seconds", "first_seconds", "step_seconds", "params", "machine"}
                             or {"absent": why} or {"failure": why}
    {"measure": way, "steps": n} -> {"seconds": [of each of n steps]} or {"failure": why}
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders import APPLICATIONS, ARCHITECTURES, HUB, KIMM, OPENVINO, OURS, TIMM

ROOT = Path(__file__).resolve().parent.parent
Step = Callable[[], Any]
PACKAGES = {HUB: "keras-hub", KIMM: "kimm", TIMM: "timm", OPENVINO: "openvino"}
JIT_COMPILE = {"graph": False, "xla": True, "jit": "auto", "eager": "auto", "cores": False}


class Absent(Exception):
    """A contender that this machine does not have."""


def keras_model(library: str, name: str, side: int) -> Any:
    """The model of a Keras library with random weights."""
    architecture = ARCHITECTURES[name]
    shape = (side, side, 3)
    if library == OURS:
        import keras_vitcnn as kv

        return kv.create_model(architecture.ours, input_shape=shape)
    if library == APPLICATIONS:
        import keras

        build = getattr(keras.applications, architecture.applications)
        return build(weights=None, input_shape=shape)
    if library == KIMM:
        import kimm

        return getattr(kimm.models, architecture.kimm)(weights=None, input_shape=shape)
    return architecture.hub(side)


def keras_step(request: dict[str, Any]) -> tuple[Step, int, float]:
    """A step of a Keras model, its parameters, and the seconds that building it took."""
    from keras_vitcnn.speed import steps
    from keras_vitcnn.training.distribution import devices

    used = devices("cores" if request["way"] == "cores" else "")
    if request["way"] == "predictor":
        import keras_vitcnn as kv

        if not hasattr(kv, "predictor"):
            raise Absent("this version has no kv.predictor")
    start = time.perf_counter()
    model = keras_model(request["library"], request["model"], request["image_size"])
    built = time.perf_counter() - start
    batch = request["batch_size"]
    if request["way"] == "predictor":
        images = steps.images(model, batch)
        predict = kv.predictor(model, batch_size=batch)
        return lambda: predict(images), model.count_params(), built
    prepare = steps.training if request["mode"] == "training" else steps.inference
    jit_compile = JIT_COMPILE[request["way"]]
    step = prepare(model, batch, jit_compile)
    used.prepare(model)
    return step, model.count_params(), built


def timm_model(name: str, side: int) -> Any:
    from tests.reference import import_timm

    timm = import_timm()
    architecture = ARCHITECTURES[name].timm
    published = timm.get_pretrained_cfg(architecture)
    fixed = published.fixed_input_size and published.input_size[-1] != side
    return timm.create_model(architecture, **({"img_size": side} if fixed else {}))


def timm_step(request: dict[str, Any]) -> tuple[Step, int, float]:
    import torch

    if request["way"] == "torch.compile" and not shutil.which(os.environ.get("CXX", "g++")):
        raise Absent("torch.compile needs a C++ compiler, which this machine lacks")
    start = time.perf_counter()
    model = timm_model(request["model"], request["image_size"])
    built = time.perf_counter() - start
    params = sum(weight.numel() for weight in model.parameters())
    images = torch.from_numpy(timm_images(request))
    if request["way"] == "channels last":
        model = model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    run = torch.compile(model) if request["way"] == "torch.compile" else model
    if request["mode"] == "inference":
        model.eval()

        def step() -> Any:
            with torch.inference_mode():
                return run(images).numpy()

        return step, params, built
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    labels = torch.arange(len(images)) % 1000

    def training_step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(run(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return training_step, params, built


def openvino_step(request: dict[str, Any]) -> tuple[Step, int, float]:
    import openvino
    import torch

    start = time.perf_counter()
    model = timm_model(request["model"], request["image_size"]).eval()
    params = sum(weight.numel() for weight in model.parameters())
    images = timm_images(request)
    converted = openvino.convert_model(
        model, example_input=torch.from_numpy(images), input=[images.shape]
    )
    built = time.perf_counter() - start
    options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(converted, "CPU", options)
    return lambda: compiled(images)[0], params, built


def timm_images(request: dict[str, Any]) -> np.ndarray:
    """Channels first, normalised: these models don't do it."""
    shape = (request["batch_size"], 3, request["image_size"], request["image_size"])
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


STEPS = {TIMM: timm_step, OPENVINO: openvino_step}


def prepare(request: dict[str, Any]) -> tuple[Step, dict[str, Any]]:
    """A warm step and what is known of it.

    Raises:
        Absent: if a package is not installed.
    """
    library = request["library"]
    package = PACKAGES.get(library)
    if package:
        try:
            importlib.import_module(package.replace("-", "_"))
        except ModuleNotFoundError as error:
            raise Absent(f"{error.name} is not installed") from error
        except RuntimeError:
            if library != TIMM:  # tests.reference mends what timm may stumble over
                raise
    from keras_vitcnn.training import keep_memory, measure

    if request["mode"] == "training":
        keep_memory()  # for everybody: as our command line trains
    make = STEPS.get(library, keras_step)
    measure.machine()  # what a first use of the backend costs belongs to nobody
    start = time.perf_counter()
    step, params, built = make(request)
    step()
    first = time.perf_counter() - start - built
    step()
    answer = {
        "build_seconds": built,
        "first_seconds": first,
        "step_seconds": measure.seconds(step),
        "params": params,
        "machine": measure.machine()
        | {"threads": os.environ.get("OMP_NUM_THREADS", "all"), "commit": commit()}
        | ({package: importlib.metadata.version(package)} if package else {}),
    }
    return step, answer


def commit() -> str:
    """Which state of this library was measured."""
    library = ["--", "keras_vitcnn"]
    last = _git("log", "-1", "--format=%h", *library)
    changed = "-dirty" if _git("status", "--porcelain", *library) else ""
    return last + changed if last else "unknown"


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def measured(step: Step, count: int) -> dict[str, Any]:
    """Seconds of each of `count` steps behind one that wakes the memory up."""
    from keras_vitcnn.training import measure

    step()
    return {"seconds": [measure.seconds(step) for _ in range(count)]}


def main() -> None:
    from keras_vitcnn.system import trim_memory

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not get between the answers
    ready: dict[str, Step] = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "measure" in request:
                answer = measured(ready[request["measure"]], request["steps"])
            else:
                ready[request["way"]], answer = prepare(request)
        except Absent as reason:
            answer = {"absent": str(reason)}
        except Exception as error:
            traceback.print_exc()
            text = " ".join(str(error).split())
            answer = {"failure": f"{type(error).__name__}: {text[:200]}"}
        trim_memory()  # the others need it now
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
