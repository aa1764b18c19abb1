"""Where the time of a predictor on PyTorch goes: its operations by kind, on one core.

    python -m benchmarks.operations ResNet50 RegNetY040 [--images 4] [--each]

Prints milliseconds, and multiply-adds per second of products and convolutions, as Markdown tables:
medians over the rounds, of a process that keeps its memory. Run it on a machine that does nothing
else, PyTorch's products there being oneDNN's (inference/torch_graph.py).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import defaultdict
from typing import Any

ROUNDS, WARM_UP = 9, 2
PRODUCTS, CONVOLUTIONS = "_linear_pointwise", "_convolution_pointwise"


def graph_of(name: str, images: int) -> tuple[Any, Any]:
    """The graph that a predictor runs for one part of a batch, and images for it."""
    import torch

    import keras_vitcnn as kv
    from keras_vitcnn.inference import torch_graph
    from keras_vitcnn.speed import steps

    model = kv.create_model(name)
    batch = torch.from_numpy(steps.images(model, images))
    fused = kv.predictor(model, images).model
    return torch_graph.traced(lambda images: fused(images, training=False), batch), batch


def measured(graph: Any, batch: Any) -> list[dict[str, Any]]:
    """What each operation takes: name, shapes, milliseconds, multiply-adds."""
    import torch

    times: dict[Any, list[float]] = defaultdict(list)
    results: dict[Any, Any] = {}

    class Timed(torch.fx.Interpreter):
        def run_node(self, node: Any) -> Any:
            start = time.perf_counter()
            result = super().run_node(node)
            times[node].append(time.perf_counter() - start)
            results[node] = result[0] if isinstance(result, tuple) else result
            return result

    with torch.inference_mode():
        for _ in range(ROUNDS):
            Timed(graph).run(batch)
    rows = []
    for node in graph.graph.nodes:
        if node.op == "call_function":
            second = node.args[1] if len(node.args) > 1 else None
            held = getattr(second, "op", "") == "get_attr"
            weights = [getattr(graph, second.target)] if held else []
            kind = getattr(node.target, "__name__", str(node.target)).removesuffix(".default")
            rows.append(
                {
                    "kind": kind,
                    "result": tuple(getattr(results[node], "shape", ())),
                    "weights": tuple(weights[0].shape) if weights else (),
                    "ms": 1e3 * statistics.median(times[node][WARM_UP:]),
                    "macs": _macs(kind, results[node], weights),
                }
            )
    return rows


def _macs(kind: str, result: Any, weights: list[Any]) -> int:
    if kind == PRODUCTS:
        return result.numel() * weights[0].shape[-1]
    if kind == CONVOLUTIONS:
        return result.numel() * weights[0].numel() // result.shape[1]
    return 0


def line(name: str, milliseconds: float, macs: int) -> str:
    speed = f"{macs / milliseconds / 1e6:.0f}" if macs else ""
    return f"| {name} | {milliseconds:.2f} | {speed} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--images", type=int, default=4, help="of a part of a batch")
    parser.add_argument("--each", action="store_true", help="every operation above 0.05 ms, too")
    args = parser.parse_args()
    os.environ["KERAS_BACKEND"] = "torch"
    import torch

    from keras_vitcnn.system import keep_memory

    keep_memory()
    torch.set_num_threads(1)
    for name in args.models:
        rows = measured(*graph_of(name, args.images))
        print(f"\n| {name}, {args.images} images | ms | GMAC/s |\n|---|---|---|")
        if args.each:
            for row in rows:
                if row["ms"] > 0.05:
                    shapes = " ".join(str(row[key]) for key in ("result", "weights") if row[key])
                    print(line(f"{row['kind']} {shapes}", row["ms"], row["macs"]))
        kinds: dict[str, list[Any]] = defaultdict(list)
        for row in rows:
            known = row["kind"] if row["macs"] or row["ms"] > 0.02 else "others"
            kinds[known].append(row)
        for kind, some in sorted(kinds.items(), key=lambda item: -sum(r["ms"] for r in item[1])):
            print(line(kind, sum(r["ms"] for r in some), sum(r["macs"] for r in some)))
        print(line("together", sum(r["ms"] for r in rows), 0), flush=True)


if __name__ == "__main__":
    main()
