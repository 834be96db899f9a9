"""A checkpoint directory in the Hugging Face layout: safetensors on disk, checked against config.json."""

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from scaling.config.model import ModelConfig
from scaling.hf.architecture import (
    Arrays,
    Placed,
    place,
    to_ours,
)
from scaling.hf.settings import architecture_named, model_from, scales_outputs
from scaling.runtime.errors import BadInputError

_SHOWN = 3  # names in a message
# TensorFlow's names of the parts of a LayerNorm, which the first converted checkpoints keep.
_OLD_NORM = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


class Checkpoint:
    """A checkpoint directory: config.json and tensors under the names of the architecture.

    Raises:
        BadInputError: a missing or damaged file, an architecture or setting without a counterpart here, or
            tensors that are missing, unknown, of another shape or not of floats.
    """

    def __init__(self, directory: Path, name: str) -> None:
        if not directory.is_dir():
            raise BadInputError(f"{directory}: no such directory; give one that holds config.json")
        where = directory / "config.json"
        self.directory, self.settings = directory, read_json(where)
        self.arch = architecture_named(self.settings.get("model_type"), f"{where}: model_type")
        self._weights = Weights(directory)
        self._at = self._named()
        tied = self._is_tied()
        self.model: ModelConfig = model_from(self.arch, self.settings, self._at, tied, str(where), name)
        self._placed = self._place()
        self._check_copies(tied)

    def tensors(self, dtype: Any) -> Arrays:
        """All tensors of the model by our names, as `dtype`."""
        out: Arrays = {}
        for placed in self._placed:
            parts = to_ours(placed, self._read)
            out |= {name: array.astype(dtype, copy=False) for name, array in parts.items()}
        return out

    def _read(self, name: str) -> np.ndarray:
        return self._weights.read(self._at[name])

    def _named(self) -> dict[str, str]:
        """Names in the architecture to names in the files; a bare model gets the prefix."""
        prefix = self.arch.prefix
        names = self._weights.names
        bare = bool(prefix) and not any(name.startswith(prefix) for name in names)
        heads = {rule.theirs for rule in self.arch.rules if not rule.theirs.startswith(prefix)}
        heads |= {copy.theirs for copy in self.arch.copies}
        at: dict[str, str] = {}
        for name in names:
            known = name if name in heads or not bare else prefix + name
            for old, new in _OLD_NORM.items():
                known = known.removesuffix(old) + new if known.endswith(old) else known
            if not any(re.fullmatch(pattern, known) for pattern in self.arch.unused):
                at[known] = name
        for copy in self.arch.copies:  # tied tensors may be saved under either name
            if copy.of not in at and copy.theirs in at:
                at[copy.of] = at[copy.theirs]
        return at

    def _is_tied(self) -> bool:
        """Whether the head is the embedding, by a setting, by the tensors, or by both."""
        head, embedding = self.arch.head, self.arch.embedding
        if "mlm_head" in self.arch.heads and self.arch.heads["mlm_head"] not in self._at:
            return True
        default = self.arch.defaults.get("tie_word_embeddings", True)
        tied = self.settings.get("tie_word_embeddings", default)
        if self.arch.scaled_head:
            tied = scales_outputs(self.settings)
            if not tied and head not in self._at and embedding in self._at:
                self._at[head] = self._at[embedding]  # tied and not scaled: an untied head
        if head not in self._at:
            return bool(tied)
        return bool(tied) and (embedding not in self._at or self._equal(head, embedding))

    def _equal(self, one: str, other: str) -> bool:
        a, b = self._at[one], self._at[other]
        if a == b:
            return True
        return self._weights.shape(a) == self._weights.shape(b) and np.array_equal(
            self._weights.read(a), self._weights.read(b)
        )

    def _place(self) -> list[Placed]:
        """Where the tensors of the model are, after checks of every name, shape and type."""
        where, model = self.directory, self.model
        for field in ("n_layers", "n_decoder_layers"):
            layers = getattr(model, field, None) or 0
            if layers > len(self._at) and not getattr(model, "share_layers", False):
                raise BadInputError(f"{where}: {field}={layers} in config.json, but {len(self._at)} tensors")
        placed, unplaced = place(self.arch, model)
        wanted = {name: one.shape for one in placed for name in one.names}
        missing = unplaced + [name for name in wanted if name not in self._at]
        if missing:
            raise BadInputError(f"{where}: {_some('tensor', missing)} missing")
        copies = {copy.theirs for copy in self.arch.copies} | {copy.of for copy in self.arch.copies}
        extra = [name for name in self._at if name not in wanted and name not in copies]
        if extra:
            raise BadInputError(
                f"{where}: {_some('tensor', extra)} not known in a {self.arch.model_type} as "
                f"config.json describes it"
            )
        wrong = [name for name, shape in wanted.items() if self._weights.shape(self._at[name]) != shape]
        if wrong:
            shapes = [
                f"{name} {list(self._weights.shape(self._at[name]))} instead of {list(wanted[name])}"
                for name in wrong
            ]
            raise BadInputError(f"{where}: {_some('shape', shapes)} not as config.json says")
        for name in wanted:
            self._weights.check_kind(self._at[name])
        return placed

    def _check_copies(self, tied: bool) -> None:
        for copy in self.arch.copies:
            if copy.theirs == self.arch.head and not tied:
                continue
            if copy.theirs in self._at and not self._equal(copy.theirs, copy.of):
                raise BadInputError(
                    f"{self.directory}: {copy.theirs} should equal {copy.of}, but has other values"
                )


def _some(kind: str, names: list[str]) -> str:
    """ "3 tensors (a, b, c) are", with at most a few names."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    shown = ", ".join(names[:_SHOWN]) + more
    return f"{len(names)} {kind}{'s' if len(names) > 1 else ''} ({shown}) {'are' if len(names) > 1 else 'is'}"


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
    """The tensors of a checkpoint directory by name, read from disk on access."""

    def __init__(self, directory: Path) -> None:
        """Open every file.

        Raises:
            BadInputError: no safetensors, an index that points outside the directory, a damaged file.
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
                f"{directory}: pickled weights are not read, because a pickle can run code; convert them to "
                f"safetensors ({_ONE}) first"
            )
        else:
            raise BadInputError(f"{directory}: no {_ONE} and no {_INDEX}")

    def _open(self, path: Path, names: list[str] | None) -> None:
        if not path.is_file():
            raise BadInputError(f"{path}: no such file, though {_INDEX} lists it")
        try:
            file = safe_open(path, framework="numpy")
            held = list(file.keys())
            for name in held if names is None else names:
                if name not in held:
                    raise BadInputError(f"{path}: has no {name}, though {_INDEX} lists it")
                part = file.get_slice(name)
                self._files[name], self._paths[name] = file, path
                self._shapes[name], self._kinds[name] = tuple(part.get_shape()), part.get_dtype()
        except (SafetensorError, OSError) as error:
            raise BadInputError(f"{path}: not a complete safetensors file ({str(error)[:160]})") from error

    @property
    def names(self) -> list[str]:
        """The names of all tensors."""
        return list(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return self._shapes[name]

    def check_kind(self, name: str) -> None:
        """Raises BadInputError for a tensor that is not of floats."""
        if self._kinds[name] not in _KINDS:
            known = ", ".join(_KINDS)
            raise BadInputError(
                f"{self._paths[name]}: {name} has type {self._kinds[name]}; supported: {known}"
            )

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


def write(
    directory: Path, settings: Mapping[str, Any], tensors: Mapping[str, np.ndarray], shard_bytes: int
) -> list[Path]:
    """Write config.json and the tensors into a directory, in shards of at most `shard_bytes` each.

    A larger tensor gets its own shard. Returns the files of weights.
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
    format_tag = {"format": "pt"}  # required by transformers; does not change the bytes
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
