"""Who feeds whom in a functional model, read from the config that Keras saves it with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

OUTPUT = ""  # the consumer of a model's outputs; no layer has an empty name


class Graph:
    """Edges between the layers of a functional model, by name; norms can be taken out."""

    def __init__(self, model: keras.Model) -> None:
        config = model.get_config()
        self._calls: dict[str, list[Any]] = {
            x["name"]: x["inbound_nodes"] for x in config["layers"]
        }
        self.sources = {name: list(_tensors(calls)) for name, calls in self._calls.items()}
        self.consumers: dict[str, list[str]] = {name: [] for name in self._calls}
        for name, sources in self.sources.items():
            for source in sources:
                self.consumers[source].append(name)
        for name in keras.tree.flatten(config["output_layers"]):
            if isinstance(name, str):  # beside the numbers of the call and of its output
                self.consumers[name].append(OUTPUT)

    def is_simple(self, name: str) -> bool:
        """Whether a layer is called once, on one tensor and without options."""
        calls = self._calls.get(name, [])
        return (
            len(calls) == 1
            and len(calls[0]["args"]) == len(self.sources[name]) == 1
            and not any(calls[0]["kwargs"].values())
        )

    def remove(self, name: str) -> None:
        """Connect what feeds a simple layer with what it feeds."""
        (source,), consumers = self.sources.pop(name), self.consumers.pop(name)
        self.consumers[source].remove(name)
        self.consumers[source] += consumers
        for consumer in consumers:
            if consumer != OUTPUT:
                self.sources[consumer] = [
                    source if x == name else x for x in self.sources[consumer]
                ]


def _tensors(part: Any) -> Iterator[str]:
    """The layers that the tensors in a part of a saved call come from."""
    if isinstance(part, dict):
        if part.get("class_name") == "__keras_tensor__":
            yield part["config"]["keras_history"][0]
            return
        part = list(part.values())
    if isinstance(part, list | tuple):
        for entry in part:
            yield from _tensors(entry)
