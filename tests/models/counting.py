"""Count what models cost without allocating a weight.

That takes a process of its own, which this file is too: variables made in a stateless scope stay
uninitialised for good.
"""

import json
import os
import pickle
import subprocess
import sys
from math import prod
from pathlib import Path
from typing import Any


def costs(entries: list[tuple[Any, int, int]]) -> list[dict]:
    """Cost of every (config, height, width), each a dict of integers."""
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, __file__],
        input=pickle.dumps(entries),
        capture_output=True,
        env=os.environ | {"PYTHONPATH": root},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout.splitlines()[-1])


def _cost(config: Any, height: int, width: int) -> dict:
    import keras

    import keras_vitcnn as kv
    from keras_vitcnn.layers import (
        GatedPositionalSelfAttention,
        MultiHeadSelfAttention,
        WindowAttention,
    )

    model = kv.build(config, input_shape=(height, width, 3))
    total = kv.complexity(model)
    outputs = macs = pooled = 0
    for layer in model.layers:
        if isinstance(layer, (MultiHeadSelfAttention, GatedPositionalSelfAttention)):
            *sets, tokens, channels = layer.output.shape
            count = prod(sets[1:])
            outputs += count * (layer.num_heads * tokens**2 + tokens * channels)
            macs += count * 2 * tokens**2 * channels
        if isinstance(layer, WindowAttention):
            _, rows, columns, channels = layer.output.shape
            area = prod(layer.window)
            outputs += rows * columns * (layer.num_heads * area + channels)
            macs += 2 * rows * columns * area * channels
        if isinstance(layer, keras.layers.MaxPooling2D):
            pooled += prod(layer.output.shape[1:])
    return {
        "params": total.params,
        "macs": total.macs,
        "activations": total.activations,
        "bias_adds": total.bias_adds,
        "non_trainable": sum(prod(v.shape) for v in model.non_trainable_weights),
        "product_outputs": outputs,  # of q k^T and of attention times values
        "product_macs": macs,
        "pooled_outputs": pooled,
    }


if __name__ == "__main__":
    import keras

    with keras.StatelessScope(initialize_variables=False):
        counted = [_cost(*entry) for entry in pickle.load(sys.stdin.buffer)]
    print(json.dumps(counted))
