"""What loading a large local file costs."""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_vitcnn as kv
from tests.helpers import run_python

LOAD = """
    import gc, json, time
    from pathlib import Path
    import keras_vitcnn as kv

    def memory(what):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(what))

    model = kv.ConvNeXtBase()
    gc.collect()
    before = memory("VmRSS:")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    start = time.perf_counter()
    report = kv.load_weights(model, {path!r})
    seconds = time.perf_counter() - start
    print(json.dumps([len(report.loaded), memory("VmHWM:") - before, seconds]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux' account of the process")
def test_convnext_base_takes_little_more_memory_than_its_file(tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.numpy").save_file
    path = tmp_path / "base.safetensors"
    model = kv.ConvNeXtBase()
    save_file({k: np.ascontiguousarray(v) for k, v in kv.to_timm(model).items()}, path)
    expected = len(model.weights)
    del model
    keras.backend.clear_session(free_memory=True)
    loaded, memory, seconds = json.loads(run_python(LOAD.format(path=str(path))).splitlines()[-1])
    assert loaded == expected
    assert memory < 1.3 * path.stat().st_size
    assert seconds < 10  # about one on an idle machine (docs/parity.md); this one may be busy
