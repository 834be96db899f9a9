"""safetensors on disk: one file or shards behind an index, opened by name, written whole."""

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from scaling.runtime.errors import BadInputError

_ONE, _INDEX, _CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
_KINDS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        BadInputError: no such file, or not a JSON object.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInputError(f"{path}: no such file") from error
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{path}: not JSON ({str(error)[:120]})") from error
    if not isinstance(tree, dict):
        raise BadInputError(f"{path}: expected a mapping, found a {type(tree).__name__}")
    return tree


class Weights:
    """The tensors of a checkpoint directory by name, read from disk when asked for."""

    def __init__(self, directory: Path) -> None:
        """Open every file.

        Raises:
            BadInputError: no safetensors, an index that leaves the directory, a damaged file.
        """
        self._files: dict[str, Any] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._kinds: dict[str, str] = {}
        self._paths: dict[str, Path] = {}
        if (directory / _ONE).is_file():
            self._open(directory / _ONE, None)
        elif (directory / _INDEX).is_file():
            for file, names in _shards(directory / _INDEX).items():
                self._open(directory / file, names)
        elif list(directory.glob("*.bin")) or list(directory.glob("*.pt")):
            raise BadInputError(
                f"{directory}: pickled weights are not read, since a pickle runs code; convert them to "
                f"safetensors ({_ONE}) first"
            )
        else:
            raise BadInputError(f"{directory}: no {_ONE} and no {_INDEX}")

    def _open(self, path: Path, names: list[str] | None) -> None:
        if not path.is_file():
            raise BadInputError(f"{path}: no such file, though {_INDEX} names it")
        try:
            file = safe_open(path, framework="numpy")
            held = list(file.keys())
            for name in held if names is None else names:
                if name not in held:
                    raise BadInputError(f"{path}: holds no {name}, though {_INDEX} says so")
                part = file.get_slice(name)
                self._files[name], self._paths[name] = file, path
                self._shapes[name], self._kinds[name] = tuple(part.get_shape()), part.get_dtype()
        except (SafetensorError, OSError) as error:
            raise BadInputError(f"{path}: not a whole safetensors file ({str(error)[:160]})") from error

    @property
    def names(self) -> list[str]:
        """Of all tensors."""
        return list(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of one tensor."""
        return self._shapes[name]

    def check_kind(self, name: str) -> None:
        """Refuse a tensor that holds no floats.

        Raises:
            BadInputError: names the tensor, its type and what is read.
        """
        if self._kinds[name] not in _KINDS:
            known = ", ".join(_KINDS)
            raise BadInputError(f"{self._paths[name]}: {name} has type {self._kinds[name]}; read are {known}")

    def read(self, name: str) -> np.ndarray:
        """One tensor in its own type.

        Raises:
            BadInputError: not float32, float16 or bfloat16, or damaged.
        """
        self.check_kind(name)
        try:
            return self._files[name].get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise BadInputError(f"{self._paths[name]}: {name} cannot be read ({str(error)[:160]})") from error


def _shards(index: Path) -> dict[str, list[str]]:
    """File names in an index, each with its tensors; they stay inside the index's directory."""
    files = read_json(index).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise BadInputError(f"{index}: weight_map is no mapping from tensors to files")
    shards: dict[str, list[str]] = {}
    for name, file in files.items():
        path = PurePosixPath(file) if isinstance(file, str) else None
        if path is None or path.is_absolute() or ".." in path.parts or "\\" in file or "\0" in file:
            raise BadInputError(f"{index}: weight_map.{name}={file!r} is not a file in this directory")
        shards.setdefault(file, []).append(name)
    return shards


def write(
    directory: Path, settings: Mapping[str, Any], tensors: Mapping[str, np.ndarray], shard_bytes: int
) -> list[Path]:
    """Write config.json and the tensors into a directory, in shards of at most `shard_bytes` each.

    A tensor larger than that has a shard of its own. Returns the files of weights.
    """
    (directory / _CONFIG).write_text(json.dumps(settings, indent=2) + "\n")
    shards: list[dict[str, np.ndarray]] = [{}]
    size = 0
    for name, array in tensors.items():
        if shards[-1] and size + array.nbytes > shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = array
        size += array.nbytes
    format_tag = {"format": "pt"}  # transformers asks for it; the bytes are the same
    if len(shards) == 1:
        save_file(shards[0], directory / _ONE, metadata=format_tag)
        return [directory / _ONE]
    paths: list[Path] = []
    weight_map: dict[str, str] = {}
    for i, shard in enumerate(shards, 1):
        path = directory / f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, path, metadata=format_tag)
        paths.append(path)
        weight_map |= dict.fromkeys(shard, path.name)
    total = sum(array.nbytes for array in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (directory / _INDEX).write_text(json.dumps(index, indent=2) + "\n")
    return paths
