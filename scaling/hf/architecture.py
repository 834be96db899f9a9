"""Tensors and settings of an architecture in a Hugging Face checkpoint: tables used in both directions."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from scaling.config.model import ModelConfig
from scaling.estimate.counts import tensors
from scaling.estimate.families.base import Tensor
from scaling.train.stored_arrays import rows_per_part

# Names of activations in transformers; the first of equivalent names is written.
ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}


@dataclasses.dataclass(frozen=True)
class Rule:
    """One tensor of theirs and our tensors that it concatenates along its output axis.

    `{i}` in `theirs` is the layer: ours are stacked over layers, theirs are not. `transposed`: theirs is
    (out, in), as in torch.nn.Linear. Theirs has heads and their width as one axis. `blank_rows` lead theirs
    and are dropped from ours. A rule with `gated` applies only to such feed-forward layers.
    """

    theirs: str
    ours: tuple[str, ...]
    transposed: bool = False
    blank_rows: int = 0
    gated: bool | None = None


def same(theirs: str, *ours: str, **options: Any) -> Rule:
    """Theirs is (in, out) like ours: vectors, embeddings, GPT's Conv1D."""
    return Rule(theirs, ours, **options)


def transposed(theirs: str, *ours: str, **options: Any) -> Rule:
    """Theirs is a torch.nn.Linear."""
    return Rule(theirs, ours, transposed=True, **options)


@dataclasses.dataclass(frozen=True)
class Copy:
    """A tensor of theirs that equals another; it is read only to check that.

    With `when_untied` it is written if the head is not tied, because theirs reads it then.
    """

    theirs: str
    of: str
    when_untied: bool = False


@dataclasses.dataclass(frozen=True)
class Architecture:
    """One `model_type` of config.json.

    - `prefix`: of all tensors except heads; omitted in a checkpoint of the bare model.
    - `rules`, `copies`: the tensors. `unused`: regular expressions of buffers without parameters.
    - `head`: the output head if it is not tied to the `embedding`. `scaled_head`: its input is scaled by
      d_model ** -0.5 unless config.json says otherwise (T5).
    - `heads`: our switches, each on if a checkpoint has the named tensor.
    - `classes`: the class named in config.json, by the switches that are on; `bare` is among them
      where one is the model without heads.
    - `numbers`: our field to their key. `defaults`: the values of missing keys.
    - `activations`: their name to ours and whether it is gated; the first of equivalent names is written.
    - `implied`: our settings that every such model has. `required`: their settings with the only value that
      has a counterpart here; `written`: further settings for config.json.
    - `windows`: which layers can attend to a sliding window: none, all or none (Mistral), or a choice for
      each layer (Qwen).
    """

    model_type: str
    family: type
    rules: tuple[Rule, ...]
    copies: tuple[Copy, ...]
    head: str
    embedding: str
    classes: Mapping[tuple[str, ...], str]
    numbers: Mapping[str, str]
    defaults: Mapping[str, Any]
    activation_key: str
    activations: Mapping[str, tuple[str, bool]]
    dropout_keys: tuple[str, ...]
    implied: Mapping[str, Any]
    required: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    written: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    prefix: str = ""
    bare: str | None = None
    unused: tuple[str, ...] = ()
    heads: Mapping[str, str] = dataclasses.field(default_factory=dict)
    position_rows: int = 0  # rows of their position table without a position of ours
    scaled_head: bool = False
    windows: Literal["none", "all", "layers"] = "none"


@dataclasses.dataclass(frozen=True)
class Placed:
    """A rule applied to a model: our tensors, and the names and shape of theirs."""

    rule: Rule
    tensors: tuple[Tensor, ...]
    names: tuple[str, ...]  # one per layer, or one
    shape: tuple[int, ...]

    @property
    def stacked(self) -> bool:
        """Whether ours have a leading axis of layers."""
        return _stacked(self.tensors[0])

    @property
    def by_rows(self) -> bool:
        """Whether rows of ours are rows of theirs, as of embeddings."""
        alone = len(self.tensors) == 1 and not self.stacked and not self.rule.transposed
        return alone and self.tensors[0].shape == _flat(self.tensors[0])


def place(arch: Architecture, model: ModelConfig) -> tuple[list[Placed], list[str]]:
    """Where every tensor of a model is in a checkpoint, and the names of tensors without a place."""
    known = {tensor.name: tensor for tensor in tensors(model)}
    placed: list[Placed] = []
    seen: set[str] = set()
    for rule in arch.rules:
        if rule.gated is not None and rule.gated != getattr(model, "gated", False):
            continue
        if not all(name in known for name in rule.ours):
            continue
        group = tuple(known[name] for name in rule.ours)
        seen.update(rule.ours)
        names: Iterable[str] = [rule.theirs]
        if _stacked(group[0]):
            names = [rule.theirs.format(i=i) for i in range(group[0].shape[0])]
        shapes = [_flat(tensor) for tensor in group]
        shape = (*shapes[0][:-1], sum(shape[-1] for shape in shapes))
        if rule.transposed:
            shape = shape[::-1]
        shape = (shape[0] + rule.blank_rows, *shape[1:])
        placed.append(Placed(rule, group, tuple(names), shape))
    return placed, [name for name in known if name not in seen]


@dataclasses.dataclass(frozen=True)
class Piece:
    """Rows of one tensor of theirs, and the index of the same numbers in ours."""

    name: str
    rows: slice
    index: tuple[int | slice, ...]


def pieces(placed: Placed) -> Iterator[Piece]:
    """The pieces in which tensors are converted: layers, or some rows of a table without layers."""
    blank = placed.rule.blank_rows
    if placed.stacked:
        for i, name in enumerate(placed.names):
            yield Piece(name, slice(None), (i,))
        return
    (name,) = placed.names
    if not placed.by_rows:
        yield Piece(name, slice(blank, None), ())
        return
    shape = placed.tensors[0].shape
    step = rows_per_part(shape, np.dtype(np.float32))
    for start in range(0, shape[0], step):
        stop = min(start + step, shape[0])
        yield Piece(name, slice(blank + start, blank + stop), (slice(start, stop),))


def to_ours(placed: Placed, theirs: np.ndarray) -> list[np.ndarray]:
    """A piece of each of our tensors, without an axis of layers, from a piece of theirs."""
    if placed.by_rows:
        return [theirs]
    widths = np.cumsum([_flat(tensor)[-1] for tensor in placed.tensors])[:-1]
    parts = np.split(theirs.T if placed.rule.transposed else theirs, widths, axis=-1)
    return [
        part.reshape(tensor.shape[placed.stacked :])
        for tensor, part in zip(placed.tensors, parts, strict=True)
    ]


def to_theirs(placed: Placed, ours: Sequence[np.ndarray]) -> np.ndarray:
    """A piece of theirs from a piece of each of our tensors, the inverse of `to_ours`."""
    if placed.by_rows:
        return ours[0]
    parts = [part.reshape(_flat(tensor)) for tensor, part in zip(placed.tensors, ours, strict=True)]
    array = np.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
    return array.T if placed.rule.transposed else array


def _stacked(tensor: Tensor) -> bool:
    return tensor.axes[0] == "layers"


def _flat(tensor: Tensor) -> tuple[int, ...]:
    """The shape of one layer of a tensor, with heads and their width as one axis."""
    shape: list[int] = []
    for axis, size in zip(tensor.axes, tensor.shape, strict=True):
        if axis == "head":
            shape[-1] *= size
        elif axis != "layers":
            shape.append(size)
    return tuple(shape)
