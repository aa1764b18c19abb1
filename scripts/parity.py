"""Compare every published variant with timm from the same checkpoint, and write docs/parity.md.

    python scripts/parity.py [--models 'ConvNeXt*'] [--again]     (or: make parity)

One checkpoint a variant: its default published one where the hub can be reached, otherwise one that
timm writes from random weights. timm computes the logits of one image, then a process per backend
does. What was measured stays in runs/parity.json, so that a stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

BACKENDS = ("tensorflow", "jax", "torch")
RESULTS = ROOT / "runs/parity.json"
PAGE = ROOT / "docs/parity.md"
LOADED = "ConvNeXtBase"  # the model whose loading is timed
MUCH = 2e9  # bytes that a process may keep between two models
TOLERANCE = 1e-4  # of max(1, max |logit|)


class Worker:
    """A process of one backend: takes a job a line, answers with a line."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.start()

    def start(self) -> None:
        env = os.environ | {"KERAS_BACKEND": self.backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, __file__, "--worker"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, text=True)

    def rest(self) -> None:
        """Start anew if much memory is still held: three giants at once don't fit everywhere."""
        if memory("VmRSS", self.process.pid) > MUCH:
            self.close()
            self.start()

    def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError(f"The process ended with {self.process.wait()} at {job}")

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def work() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        answer = measure_load(job) if job["what"] == "load" else compare(job)
        print(json.dumps(answer), flush=True)


def compare(job: dict[str, Any]) -> dict[str, Any]:
    """Our logits of timm's image against timm's, and the checkpoint given back."""
    import keras
    import numpy as np
    from safetensors import safe_open

    import keras_vitcnn as kv

    folder = Path(job["folder"])
    model = kv.create_model(
        job["variant"],
        weights=folder,
        classes=job["classes"],
        include_preprocessing=False,
        classifier_activation=None,
    )
    # Weights are arguments of what Keras compiles; as constants of it JAX would copy them.
    ours = keras.ops.convert_to_numpy(model.predict_on_batch(np.load(folder / "image.npy")))
    theirs = np.load(folder / "logits.npy")
    back = kv.to_timm(model)
    with safe_open(folder / "model.safetensors", "numpy") as file:
        same = all(np.array_equal(back[name], file.get_tensor(name)) for name in back)
    result = {
        "difference": float(np.abs(ours - theirs).max()),
        "scale": float(max(1, np.abs(theirs).max())),
        "bits": same,
    }
    del model, back
    keras.backend.clear_session()
    gc.collect()
    return result


def measure_load(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds and bytes of memory that loading a local file takes, in a built model."""
    import keras_vitcnn as kv

    path = Path(job["folder"]) / "model.safetensors"
    times, peaks = [], []
    for _ in range(3):
        model = kv.create_model(job["variant"])
        before = memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        start = time.perf_counter()
        kv.load_weights(model, path)
        times.append(time.perf_counter() - start)
        peaks.append(memory("VmHWM") - before)
        del model
        gc.collect()
    size = path.stat().st_size
    return {"seconds": times, "memory": [peak / size for peak in peaks], "bytes": size}


def memory(what: str, process: int | str = "self") -> int:
    """Bytes, from Linux' account of a process."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(what + ":"))


def reference(row: Any, folder: Path, online: bool) -> str:
    """Write a checkpoint with an image and timm's logits of it; say which checkpoint it is."""
    import numpy as np
    import torch

    from tests.models.test_timm_parity import randomize
    from tests.reference import import_timm

    timm = import_timm()
    from timm.models import save_for_hf

    model = timm.create_model(row.name, pretrained=False, num_classes=row.classes or 1000).eval()
    origin = f"`{row.name}`"
    if not (online and row.classes and download(row, folder)):
        randomize(model)
        save_for_hf(model, folder, safe_serialization=True)
        origin = f"random, `{row.timm}`"
    else:
        timm.models.load_checkpoint(model, str(folder / "model.safetensors"))
    size = row.preprocessing.image_size
    image = np.random.default_rng(1).standard_normal((1, *size, 3)).astype("float32")
    with torch.inference_mode():
        logits = model(torch.from_numpy(image.transpose(0, 3, 1, 2))).numpy()
    np.save(folder / "image.npy", image)
    np.save(folder / "logits.npy", logits)
    return origin


def download(row: Any, folder: Path) -> bool:
    """Whether the published checkpoint could be had; it then lies in the folder."""
    from keras_vitcnn.weights import DownloadError
    from keras_vitcnn.weights.hub import fetch_checkpoint

    try:
        path, config = fetch_checkpoint(row.hub)
    except DownloadError as error:
        print(error)
        return False
    (folder / "model.safetensors").symlink_to(path)
    (folder / "config.json").write_text(json.dumps(config))
    return True


def page(results: dict[str, Any]) -> str:
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("keras", "tensorflow-cpu", "jax", "torch", "timm")
        if installed(name)
    )
    rows = results["variants"]
    random = sum(row["origin"].startswith("random") for row in rows.values())
    lines = [
        "# Parity with timm",
        "",
        "Written by `make parity`; each row is one checkpoint, loaded by timm and by this library,",
        "and the logits of the same random image, of the checkpoint's own size, in float32.",
        "The numbers are max |Δlogit|, to be read against max(1, max |logit|), of which "
        f"{TOLERANCE:g}",
        "is allowed. *Bits back*: `kv.to_timm` returns the checkpoint bit for bit on all backends.",
        "",
        f"{len(rows)} variants, of which {random} with a checkpoint that timm wrote from random "
        "weights",
        "(every tensor random, batch statistics included), because the hub could not be reached "
        "from the",
        f"machine that wrote this page. Versions: {versions}.",
        "",
        "| model | checkpoint | image | max(1, max \\|logit\\|) | TensorFlow | JAX | PyTorch "
        "| bits back |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        numbers = " | ".join(f"{row[backend]['difference']:.1e}" for backend in BACKENDS)
        bits = "yes" if all(row[backend]["bits"] for backend in BACKENDS) else "**no**"
        scale = row[BACKENDS[0]]["scale"]
        lines.append(
            f"| {name} | {row['origin']} | {row['size']} | {scale:.1f} | {numbers} | {bits} |"
        )
    worst = max(
        (row[b]["difference"] / row[b]["scale"], name, b)
        for name, row in rows.items()
        for b in BACKENDS
    )
    lines += ["", f"Largest relative difference: {worst[0]:.1e} ({worst[1]}, {worst[2]}).", ""]
    if "load" in results:
        size = results["load"][BACKENDS[0]]["bytes"] / 1e6
        lines += [
            "## Loading a local file",
            "",
            f"`kv.load_weights(model, path)` of {LOADED} from a `.safetensors` of {size:.0f} MB:",
            "the median of three, on a machine with "
            f"{os.cpu_count()} CPU cores; memory is the growth of the process's peak",
            "(resident set, mapped file included) relative to the file's size.",
            "",
            "| backend | seconds | memory / file size |",
            "|---|---|---|",
        ]
        for backend, found in results["load"].items():
            seconds, extra = (sorted(found[key])[1] for key in ("seconds", "memory"))
            lines.append(f"| {backend} | {seconds:.2f} | {extra:.2f} |")
        lines.append("")
    return "\n".join(lines)


def installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="*", help="shell pattern of constructor names")
    parser.add_argument("--again", action="store_true", help="measure what was measured before")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work()
        return 0

    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras_vitcnn as kv

    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"variants": {}}
    RESULTS.parent.mkdir(exist_ok=True)
    workers = {backend: Worker(backend) for backend in BACKENDS}
    online = True
    for name, rows in kv.list_weights(args.models).items():
        if name in results["variants"] and not args.again:
            continue
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            origin = reference(rows[0], Path(folder), online)
            # A hub that can't be reached once is not asked fifty times.
            online = online and not (rows[0].classes and origin.startswith("random"))
            size = "x".join(str(side) for side in rows[0].preprocessing.image_size)
            found: dict[str, Any] = {"origin": origin, "size": size}
            classes = rows[0].classes or 1000
            job = {"what": "compare", "variant": name, "folder": folder, "classes": classes}
            for backend, worker in workers.items():
                found[backend] = worker.ask(job)
                worker.rest()
            if name == LOADED:
                job["what"] = "load"
                results["load"] = {b: fresh_answer(b, job) for b in BACKENDS}
        results["variants"][name] = found
        RESULTS.write_text(json.dumps(results, indent=1))
        numbers = "  ".join(f"{b} {found[b]['difference']:.1e}" for b in BACKENDS)
        print(f"{name}: {numbers}  ({time.monotonic() - start:.0f} s)", flush=True)
    for worker in workers.values():
        worker.close()
    order = list(kv.list_weights())
    results["variants"] = {
        name: results["variants"][name] for name in order if name in results["variants"]
    }
    PAGE.write_text(page(results))
    print(f"wrote {PAGE.relative_to(ROOT)}")
    wrong = [
        name
        for name, row in results["variants"].items()
        if any(
            row[b]["difference"] > TOLERANCE * row[b]["scale"] or not row[b]["bits"]
            for b in BACKENDS
        )
    ]
    print("not within tolerance: " + ", ".join(wrong) if wrong else "all within tolerance")
    return 1 if wrong else 0


def fresh_answer(backend: str, job: dict[str, Any]) -> dict[str, Any]:
    worker = Worker(backend)
    try:
        return worker.ask(job)
    finally:
        worker.close()


if __name__ == "__main__":
    sys.exit(main())
