"""Files of the Hugging Face hub through `huggingface_hub`: its cache, tokens, mirrors and rules."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from keras_vitcnn.extras import require
from keras_vitcnn.weights.tensors import sha256

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # of a timm repository, best first
CONFIG_FILE = "config.json"
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)


class DownloadError(OSError):
    """A file of the hub could not be had, or arrived damaged."""


def fetch_checkpoint(repository: str, revision: str | None = None) -> tuple[Path, dict]:
    """Fetch a timm repository's weights, or find them in the hub's cache.

    Args:
        repository: `"owner/name"`.
        revision: branch, tag or commit; the main branch by default.

    Returns:
        The path of the weights and the content of `config.json`, empty where there is none.

    Raises:
        DownloadError: for anything that keeps the file away, with what may help.
        ImportError: with the command that installs `huggingface_hub`.
    """
    require("huggingface_hub", "weights")
    config_path = _fetched(repository, CONFIG_FILE, revision)
    config = {} if config_path is None else read_config(config_path)
    for name in WEIGHT_FILES:
        path = _fetched(repository, name, revision)
        if path is not None:
            return path, config
    raise DownloadError(
        f"The repository {repository!r} of the hub has no weights under one of timm's names, "
        f"{', '.join(WEIGHT_FILES)}."
    )


def read_config(path: Path) -> dict:
    """A checkpoint's `config.json`, as timm writes it."""
    try:
        config = json.loads(path.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path.name!r} is not JSON: {error}. Received: {str(path)!r}") from error
    if not isinstance(config, dict):
        raise ValueError(
            f"{path.name!r} must hold a mapping. Received: {str(path)!r}, a {type(config).__name__}"
        )
    return config


def _fetched(repository: str, name: str, revision: str | None) -> Path | None:
    """The verified path of a file; `None` if the repository has no such file."""
    import huggingface_hub
    from huggingface_hub import errors

    try:
        found = huggingface_hub.hf_hub_download(
            repository, name, revision=revision, library_name="keras_vitcnn"
        )
    except errors.LocalEntryNotFoundError as error:
        known = huggingface_hub.try_to_load_from_cache(repository, name, revision=revision)
        if known is not None and not isinstance(known, str):
            return None  # the hub said once that there is no such file
        raise DownloadError(_message(repository, name, _unreachable(error))) from error
    except errors.EntryNotFoundError:
        return None
    except errors.HFValidationError as error:
        raise ValueError(
            f"A repository of the hub is named owner/name. Received: {repository!r}"
        ) from error
    except Exception as error:  # of the HTTP library, which is not the same in every version
        raise DownloadError(_message(repository, name, _reason(error))) from error
    path = Path(found)
    _verify(path, repository, name)
    return path


def _unreachable(error: Exception) -> str:
    """Why the hub could not be asked, where the file isn't in its cache either."""
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return (
            "HF_HUB_OFFLINE is set and the file is not in the cache. Fetch it once with a network, "
            "or give the path of a file"
        )
    return _reason(error.__cause__ or error)


def _reason(error: BaseException) -> str:
    from huggingface_hub import errors

    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return "its owner gives access on request only: ask for it there, then `hf auth login`"
    if isinstance(error, errors.RevisionNotFoundError):
        return "there is no such revision"
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 403):
        return (
            f"there is no such repository, or it is private (HTTP {status}): check its name, and "
            "log in with `hf auth login` or HF_TOKEN"
        )
    if status is not None:
        return f"the hub answered HTTP {status}; try again later"
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        return f"{error.strerror} ({_cache()}); HF_HOME names another folder for it"
    text = str(error).strip() or type(error).__name__
    return " ".join(text.split()).rstrip(".")


def _cache() -> str:
    from huggingface_hub import constants

    return str(constants.HF_HUB_CACHE)


def _message(repository: str, name: str, reason: str) -> str:
    from huggingface_hub import constants

    return (
        f"Could not fetch {name} of {repository!r} from {constants.ENDPOINT}, and nothing was "
        f"loaded: {reason}."
    )


def _verify(path: Path, repository: str, name: str) -> None:
    """Check a cached file against the hash that the hub named it by; delete it if it differs.

    The cache keeps a file under its SHA-256, or under git's SHA-1 where it is small.
    """
    if not path.is_symlink():
        return
    blob = path.parent / os.readlink(path)
    expected = blob.name
    if re.fullmatch(r"[0-9a-f]{64}", expected):
        actual = sha256(blob)
    elif re.fullmatch(r"[0-9a-f]{40}", expected):
        content = blob.read_bytes()
        actual = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    else:
        return
    if actual != expected:
        path.unlink()
        blob.unlink()
        raise DownloadError(
            f"{name} of {repository!r} is damaged: its hash is {actual[:12]}... and not "
            f"{expected[:12]}... It was deleted from the cache, and nothing was loaded: try again."
        )


def preprocessing_in(config: dict[str, Any]) -> dict[str, Any]:
    """What a timm `config.json` says about images, in the words of `Preprocessing`."""
    inner = config.get("pretrained_cfg")
    facts = dict(inner) if isinstance(inner, dict) else {}
    if isinstance(facts.get("input_size"), (list, tuple)):
        facts["image_size"] = tuple(facts["input_size"][-2:])
    names = config.get("label_names") or facts.get("label_names")
    told = config.get("label_descriptions") or facts.get("label_descriptions") or {}
    if names:
        facts["labels"] = tuple(str(told.get(name, name)) for name in names)
    return {key: value for key, value in facts.items() if value is not None}
