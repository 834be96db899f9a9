"""A checkpoint directory in the Hugging Face layout: safetensors on disk, checked against config.json."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from scaling.config.model import ModelConfig, network
from scaling.hf.architecture import Placed, pieces, place, to_ours
from scaling.hf.settings import architecture_named, model_from, scales_outputs
from scaling.hf.weight_files import CONFIG, GENERATION, Weights, read_json
from scaling.runtime.errors import BadInputError
from scaling.train.stored_arrays import Index, StreamedArray

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
        where = directory / CONFIG
        self.directory, self.settings = directory, read_json(where)
        self.arch = architecture_named(self.settings.get("model_type"), f"{where}: model_type")
        self._weights = Weights(directory)
        self._at = self._named()
        tied = self._is_tied()
        self.model: ModelConfig = model_from(self.arch, self.settings, self._at, tied, str(where), name)
        self._placed = self._place()
        self._check_copies(tied)

    @property
    def ends(self) -> list[int]:
        """The ids that end generated text, as transformers reads them; several in many chat models."""
        generation = self.directory / GENERATION
        settings = read_json(generation) if generation.is_file() else {}
        held = settings.get("eos_token_id", self.settings.get("eos_token_id"))
        ids = held if isinstance(held, list) else [held]
        size = network(self.model).vocab_size
        return [i for i in ids if isinstance(i, int) and not isinstance(i, bool) and 0 <= i < size]

    def arrays(self, dtype: np.dtype) -> dict[str, StreamedArray]:
        """All tensors of the model by our names, as `dtype`; they are read when they are written."""
        return {
            tensor.name: StreamedArray(
                tensor.shape, dtype, partial(self._parts, placed, k, dtype), placed.stacked
            )
            for placed in self._placed
            for k, tensor in enumerate(placed.tensors)
        }

    def _parts(self, placed: Placed, k: int, dtype: np.dtype) -> Iterator[tuple[Index, np.ndarray]]:
        """The parts of tensor k of a rule."""
        for piece in pieces(placed):
            theirs = self._weights.read(self._at[piece.name], piece.rows)
            yield piece.index, to_ours(placed, theirs)[k].astype(dtype, copy=False)

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
        return self._weights.equal(a, b)

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
