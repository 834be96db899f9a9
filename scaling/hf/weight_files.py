"""safetensors files of a checkpoint directory, read and written a part of a tensor at a time.

The library checks the headers. The numbers are read from the file, not through its memory map, which would
keep every page that was read; and it writes no file without having all of its tensors in memory.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from scaling.runtime.errors import BadInputError
from scaling.train.stored_arrays import rows_per_part

ONE, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
GENERATION = "generation_config.json"
_KINDS = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
_LENGTH = 8  # bytes of the header's length, little-endian, at the start of a file


@dataclass(frozen=True)
class _Tensor:
    path: Path
    kind: str
    shape: tuple[int, ...]
    offset: int  # of its first byte in the file


class Weights:
    """The tensors of a checkpoint directory by name, read from disk on access."""

    def __init__(self, directory: Path) -> None:
        """Read the header of every file.

        Raises:
            BadInputError: no safetensors, an index that points outside the directory, a damaged file.
        """
        self._tensors: dict[str, _Tensor] = {}
        if (directory / ONE).is_file():
            self._open(directory / ONE, None)
        elif (directory / INDEX).is_file():
            for file, names in _shards(directory / INDEX).items():
                self._open(directory / file, names)
        elif list(directory.glob("*.bin")) or list(directory.glob("*.pt")):
            raise BadInputError(
                f"{directory}: pickled weights are not read, because a pickle can run code; convert them to "
                f"safetensors ({ONE}) first, as with transformers: "
                "AutoModel.from_pretrained(PATH).save_pretrained(PATH, safe_serialization=True)"
            )
        else:
            raise BadInputError(f"{directory}: no {ONE} and no {INDEX}")

    def _open(self, path: Path, names: list[str] | None) -> None:
        if not path.is_file():
            raise BadInputError(f"{path}: no such file, though {INDEX} lists it")
        try:
            with safe_open(path, framework="numpy"):  # checks sizes and offsets
                held = _header(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise BadInputError(f"{path}: not a complete safetensors file ({str(error)[:160]})") from error
        for name in held if names is None else names:
            if name not in held:
                raise BadInputError(f"{path}: has no {name}, though {INDEX} lists it")
            self._tensors[name] = held[name]

    @property
    def names(self) -> list[str]:
        """The names of all tensors."""
        return list(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return self._tensors[name].shape

    def check_kind(self, name: str) -> None:
        """Raises BadInputError for a tensor that is not of floats."""
        tensor = self._tensors[name]
        if tensor.kind not in _KINDS:
            known = ", ".join(_KINDS)
            raise BadInputError(f"{tensor.path}: {name} has type {tensor.kind}; supported: {known}")

    def read(self, name: str, rows: slice = slice(None)) -> np.ndarray:
        """One tensor, or some of its rows along axis 0, in its own type.

        Raises:
            BadInputError: not float32, float16 or bfloat16, or damaged.
        """
        self.check_kind(name)
        tensor = self._tensors[name]
        shape, offset = tensor.shape, tensor.offset
        kind = _KINDS[tensor.kind]
        if shape:
            start, stop, _ = rows.indices(shape[0])
            offset += start * int(np.prod(shape[1:], dtype=np.int64)) * kind.itemsize
            shape = (max(0, stop - start), *shape[1:])
        array = np.empty(shape, kind)
        try:
            with tensor.path.open("rb") as file:
                file.seek(offset)
                count = file.readinto(array.reshape(-1).view(np.uint8).data)
        except OSError as error:
            raise BadInputError(f"{tensor.path}: {name} cannot be read ({error.strerror})") from error
        if count != array.nbytes:
            raise BadInputError(f"{tensor.path}: {name} cannot be read (the file ends within it)")
        return array

    def equal(self, a: str, b: str) -> bool:
        """Whether two tensors have the same shape and values."""
        if self.shape(a) != self.shape(b):
            return False
        shape = self.shape(a) or (1,)
        step = rows_per_part(shape, np.dtype(np.float32))
        parts = (slice(start, start + step) for start in range(0, shape[0], step))
        return all(np.array_equal(self.read(a, part), self.read(b, part)) for part in parts)


def _header(path: Path) -> dict[str, _Tensor]:
    """The tensors of a file whose header the library has checked."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH), "little")
        tree = json.loads(file.read(length))
    tree.pop("__metadata__", None)
    return {
        name: _Tensor(path, one["dtype"], tuple(one["shape"]), _LENGTH + length + one["data_offsets"][0])
        for name, one in tree.items()
    }


def _shards(index: Path) -> dict[str, list[str]]:
    """The files in an index with their tensors; refuses files outside its directory."""
    files = read_json(index).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise BadInputError(f"{index}: weight_map is not a mapping from tensors to files")
    shards: dict[str, list[str]] = {}
    for name, file in files.items():
        path = PurePosixPath(file) if isinstance(file, str) else None
        if path is None or path.is_absolute() or ".." in path.parts or "\\" in file or "\0" in file:
            raise BadInputError(f"{index}: weight_map.{name}={file!r} is not a file in this directory")
        shards.setdefault(file, []).append(name)
    return shards


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


@dataclass(frozen=True)
class StreamedTensor:
    """A tensor that is made in parts while it is written: `parts` yields its rows in order."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    parts: Callable[[], Iterator[np.ndarray]]

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


def write(
    directory: Path, settings: Mapping[str, Any], tensors: Sequence[StreamedTensor], shard_bytes: int
) -> list[Path]:
    """Write config.json and the tensors into a directory, in shards of at most `shard_bytes` each.

    A larger tensor gets its own shard. Returns the files of weights.
    """
    (directory / CONFIG).write_text(json.dumps(settings, indent=2) + "\n")
    shards: list[list[StreamedTensor]] = [[]]
    size = 0
    for tensor in tensors:
        if shards[-1] and size + tensor.nbytes > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.nbytes
    if len(shards) == 1:
        _write_file(directory / ONE, shards[0])
        return [directory / ONE]
    paths: list[Path] = []
    weight_map: dict[str, str] = {}
    for i, shard in enumerate(shards, 1):
        path = directory / f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        _write_file(path, shard)
        paths.append(path)
        weight_map |= {tensor.name: path.name for tensor in shard}
    total = sum(tensor.nbytes for tensor in tensors)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (directory / INDEX).write_text(json.dumps(index, indent=2) + "\n")
    return paths


def _write_file(path: Path, tensors: Sequence[StreamedTensor]) -> None:
    """Write one safetensors file (https://huggingface.co/docs/safetensors, "Format")."""
    names = {kind: name for name, kind in _KINDS.items()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}  # transformers requires it
    end = 0
    for tensor in tensors:
        start, end = end, end + tensor.nbytes
        header[tensor.name] = {
            "dtype": names[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the numbers are aligned
    with path.open("wb") as file:
        file.write(len(text).to_bytes(_LENGTH, "little") + text)
        for tensor in tensors:
            _write_tensor(file, tensor)
        if file.tell() != _LENGTH + len(text) + end:
            raise ValueError(f"{path}: {file.tell()} bytes; its header says {_LENGTH + len(text) + end}")
        file.flush()
        os.fsync(file.fileno())


def _write_tensor(file: BinaryIO, tensor: StreamedTensor) -> None:
    for part in tensor.parts():
        whole = np.ascontiguousarray(part, tensor.dtype)
        file.write(whole.reshape(-1).view(np.uint8).data)
