"""A checkpoint in the Hugging Face layout, checked name by name and read as our tensors."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from scaling.config.model import EncoderDecoderConfig, ModelConfig
from scaling.hf.files import Weights, read_json
from scaling.hf.layout import Arrays, Layout, Placed, place, to_ours
from scaling.hf.layouts import layout_named
from scaling.hf.settings import model_from, scales_outputs
from scaling.runtime.errors import BadInputError

_SHOWN = 3  # names in a message
# How TensorFlow called the parts of a LayerNorm, and the first conversions still do.
_OLD_NORM = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


class Checkpoint:
    """config.json and the tensors beside it, under the names of the layout's table.

    Raises:
        BadInputError: a file that is missing or damaged, an architecture or a setting that has no counterpart
            here, or tensors that are missing, left over, of another shape or of a type that holds no floats.
    """

    def __init__(self, directory: Path, name: str) -> None:
        if not directory.is_dir():
            raise BadInputError(f"{directory}: no such directory; give one that holds config.json")
        where = directory / "config.json"
        self.directory, self.settings = directory, read_json(where)
        self.layout: Layout = layout_named(self.settings.get("model_type"), f"{where}: model_type")
        self._weights = Weights(directory)
        self._at = self._named()
        tied = self._is_tied()
        self.model: ModelConfig = model_from(self.layout, self.settings, self._at, tied, str(where), name)
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
        """From the table's names to the file's: a bare model's get the prefix, buffers are left out."""
        layout, prefix = self.layout, self.layout.prefix
        names = self._weights.names
        bare = bool(prefix) and not any(name.startswith(prefix) for name in names)
        heads = {rule.theirs for rule in layout.rules if not rule.theirs.startswith(prefix)}
        heads |= {copy.theirs for copy in layout.copies}
        at: dict[str, str] = {}
        for name in names:
            known = name if name in heads or not bare else prefix + name
            for old, new in _OLD_NORM.items():
                known = known.removesuffix(old) + new if known.endswith(old) else known
            if not any(re.fullmatch(pattern, known) for pattern in layout.unused):
                at[known] = name
        for copy in layout.copies:  # a tied pair may be saved under either name
            if copy.of not in at and copy.theirs in at:
                at[copy.of] = at[copy.theirs]
        return at

    def _is_tied(self) -> bool:
        """Whether the head is the embedding; files say it by a setting, by a tensor, or by both."""
        layout, head, embedding = self.layout, self.layout.head, self.layout.embedding
        if "mlm_head" in layout.heads and layout.heads["mlm_head"] not in self._at:
            return True
        default = layout.defaults.get("tie_word_embeddings", True)
        says = self.settings.get("tie_word_embeddings", default)
        if layout.family is EncoderDecoderConfig:
            says = scales_outputs(self.settings)
            if not says and head not in self._at and embedding in self._at:
                self._at[head] = self._at[embedding]  # tied and not scaled: as a head of its own
        if head not in self._at:
            return bool(says)
        return bool(says) and (embedding not in self._at or self._equal(head, embedding))

    def _equal(self, one: str, other: str) -> bool:
        a, b = self._at[one], self._at[other]
        if a == b:
            return True
        return self._weights.shape(a) == self._weights.shape(b) and np.array_equal(
            self._weights.read(a), self._weights.read(b)
        )

    def _place(self) -> list[Placed]:
        """Where the model's tensors are, after every name, shape and type was checked."""
        where, model = self.directory, self.model
        for field in ("n_layers", "n_decoder_layers"):
            layers = getattr(model, field, None) or 0
            if layers > len(self._at) and not getattr(model, "share_layers", False):
                raise BadInputError(f"{where}: {field}={layers} in config.json, and {len(self._at)} tensors")
        placed, unplaced = place(self.layout, model)
        wanted = {name: one.shape for one in placed for name in one.names}
        missing = unplaced + [name for name in wanted if name not in self._at]
        if missing:
            raise BadInputError(f"{where}: {_some('tensor', missing)} missing")
        copies = {copy.theirs for copy in self.layout.copies} | {copy.of for copy in self.layout.copies}
        extra = [name for name in self._at if name not in wanted and name not in copies]
        if extra:
            raise BadInputError(
                f"{where}: {_some('tensor', extra)} not known in a {self.layout.model_type} as "
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
        for copy in self.layout.copies:
            if copy.theirs == self.layout.head and not tied:
                continue
            if copy.theirs in self._at and not self._equal(copy.theirs, copy.of):
                raise BadInputError(
                    f"{self.directory}: {copy.theirs} should repeat {copy.of}, and holds other numbers"
                )


def _some(kind: str, names: list[str]) -> str:
    """ "3 tensors (a, b, c) are", with at most a few names."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    shown = ", ".join(names[:_SHOWN]) + more
    return f"{len(names)} {kind}{'s' if len(names) > 1 else ''} ({shown}) {'are' if len(names) > 1 else 'is'}"
