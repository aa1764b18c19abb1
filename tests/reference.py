"""timm, which the tests and some scripts compare with."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

_kept_alive: list[Any] = []


def import_timm() -> ModuleType:
    """timm; a later `import timm` then works too.

    torchvision's binaries may not fit PyTorch's (the wheels of a CPU build do not): it then lacks
    operators, which none of timm's models calls, and which are declared here.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import timm
        except RuntimeError as error:
            if "torchvision::nms" not in str(error):
                raise
            timm = _with_declared_operators()
    return timm


def timm_logits(model: Any, files: Sequence[Path]) -> Any:
    """What a model of timm says of photos behind its own transform: (photos, classes)."""
    import torch
    from PIL import Image
    from timm.data import create_transform, resolve_model_data_config

    transform = create_transform(**resolve_model_data_config(model))
    images = torch.stack([transform(Image.open(file).convert("RGB")) for file in files])
    model.eval()
    with torch.inference_mode():
        return torch.cat([model(part) for part in images.split(50)]).numpy()


def load_in_order(model: Any, checkpoint: Path) -> None:
    """Give a model of timm an older port's weights: named otherwise, but in timm's order."""
    import torch

    def counted(key: str) -> bool:
        return key.endswith("num_batches_tracked")

    found = torch.load(checkpoint, weights_only=True)
    values = [value for key, value in found.items() if not counted(key)]
    keys = [key for key in model.state_dict() if not counted(key)]
    model.load_state_dict(dict(zip(keys, values, strict=True)), strict=False)


def _with_declared_operators() -> ModuleType:
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept_alive.append(library)
    for name in list(sys.modules):
        if name.split(".")[0] in ("timm", "torchvision"):
            del sys.modules[name]
    import timm

    return timm
