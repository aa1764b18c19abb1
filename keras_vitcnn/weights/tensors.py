"""The tensors of a checkpoint, whatever holds them, each read only when it is needed."""

from __future__ import annotations

import hashlib
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_vitcnn.extras import require

TORCH_SUFFIXES = (".pth", ".pt", ".bin")
SUFFIXES = (".weights.h5", ".safetensors", *TORCH_SUFFIXES)

# Where training scripts put the weights among other things, the averaged ones first.
CONTAINERS = ("state_dict_ema", "model_ema", "state_dict", "model")
MAPPED_BYTES = 1 << 26
WRAPPERS = ("module.", "_orig_mod.")  # DistributedDataParallel's and torch.compile's


@dataclass(frozen=True)
class Tensor:
    """A tensor in PyTorch's layout that is read when asked for."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def tensors_in(source: str | Path | Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` or PyTorch file, or of a dict of arrays, by their names.

    Nothing but tensors is ever read from a file: a pickle that asks for more is refused.

    Raises:
        ValueError: for a file that is damaged, or that holds anything else.
        ImportError: with the command that installs what the format needs.
    """
    if isinstance(source, Mapping):
        return _state(source, "the dict")
    path = Path(source)
    check_named_hash(path)
    if path.suffix == ".safetensors":
        return _safetensors(path)
    return _state(_torch(path), f"{path.name!r}")


def check_named_hash(path: Path, digits_too: bool = False) -> None:
    """Raise `ValueError` where PyTorch's convention (`name-1a2b3c4d.pth`) shows damage.

    Args:
        digits_too: take a number for a hash too, which may also be a date or a step.
    """
    match = re.search(r"-([0-9a-f]{8,64})\.[a-z]+$", path.name)
    if match is None or (match[1].isdecimal() and not digits_too):
        return
    if not sha256(path).startswith(match[1]):
        raise ValueError(
            f"{path.name!r} is damaged: its SHA-256 does not begin with {match[1]}, as its name "
            f"says. Fetch it again. Received: {str(path)!r}"
        )


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Safetensors:
    """A memory-mapped file, mapped anew now and then: what was read counts as memory in use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._map()

    def _map(self) -> None:
        from safetensors import SafetensorError, safe_open

        try:
            self.file = safe_open(self.path, framework="numpy")
        except SafetensorError as error:
            raise ValueError(_damaged(self.path, error)) from error
        self.bytes_read = 0

    def tensor(self, name: str) -> Tensor:
        part = self.file.get_slice(name)
        dtype = part.get_dtype()
        return Tensor(tuple(part.get_shape()), lambda: self._read(name, dtype))

    def _read(self, name: str, dtype: str) -> np.ndarray:
        from safetensors import SafetensorError

        if self.bytes_read > MAPPED_BYTES:
            self._map()
        try:
            found = self.file.get_tensor(name)
        except (SafetensorError, TypeError, KeyError) as error:
            what = f"tensor {name!r} of type {dtype} can't be read: {error}"
            raise ValueError(_damaged(self.path, what)) from error
        self.bytes_read += found.nbytes
        return found


def _safetensors(path: Path) -> dict[str, Tensor]:
    require("safetensors", "weights")
    mapped = _Safetensors(path)
    names = mapped.file.keys()
    return _unwrapped({name: mapped.tensor(name) for name in names})


def _torch(path: Path) -> Any:
    require("torch", "torch")
    import torch

    with path.open("rb"):
        pass  # what can't be read raises here, so that it isn't called damaged below
    try:
        # Memory-mapping needs PyTorch's own format of today, a zip file.
        mapped = zipfile.is_zipfile(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path.name!r} holds more than tensors, or is damaged, and nothing of it was run: "
            f"{_first_line(error)} Received: {str(path)!r}"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ValueError(_damaged(path, error)) from error


def _damaged(path: Path, error: Any) -> str:
    return (
        f"{path.name!r} is damaged or not of the format that its name says: "
        f"{_first_line(error)}. Received: {str(path)!r}"
    )


def _first_line(error: Any) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")


def _state(state: Any, what: str) -> dict[str, Tensor]:
    """The tensors of a state dict, out of the containers that training scripts put around it."""
    inner = next((k for k in CONTAINERS if isinstance(_get(state, k), Mapping)), None)
    while inner is not None:
        state = state[inner]
        inner = next((k for k in CONTAINERS if isinstance(_get(state, k), Mapping)), None)
    if not isinstance(state, Mapping):
        raise ValueError(
            f"A checkpoint must map names to tensors. Received: {what}, a {type(state).__name__}"
        )
    strangers = [name for name, value in state.items() if not _is_tensor(value)]
    if strangers:
        value = state[strangers[0]]
        raise ValueError(
            f"A checkpoint must hold tensors only. Received: {what} with {strangers[0]!r}, "
            f"a {type(value).__name__}"
        )
    return _unwrapped({str(name): _tensor(value) for name, value in state.items()})


def _get(state: Any, name: str) -> Any:
    return state.get(name) if isinstance(state, Mapping) else None


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _tensor(value: Any) -> Tensor:
    return Tensor(tuple(int(side) for side in value.shape), lambda: _array(value))


def _array(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):  # PyTorch's, which NumPy only reads from the host, without tape
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() and value.itemsize < 4 else value
    return np.asarray(value)


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in WRAPPERS:
        if tensors and all(name.startswith(prefix) for name in tensors):
            return _unwrapped({k.removeprefix(prefix): v for k, v in tensors.items()})
    return tensors
