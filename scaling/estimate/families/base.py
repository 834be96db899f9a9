"""What the estimator needs of a model family: parameter tensors, FLOPs and the activations it keeps.

A family is one subclass of `Family`, in a file of its own, and one entry in `scaling.estimate.families`.
"""

import abc
import dataclasses
import math
from collections.abc import Iterator
from typing import Generic, Literal, TypeVar

from scaling.config.baselines import BaselineConfig
from scaling.config.mesh import logits_chunk
from scaling.config.model import TransformerConfig
from scaling.estimate.layout import Layout

AttentionConvention = Literal["causal", "full"]
Side = Literal["source", "target"]
Config = TypeVar("Config", bound=TransformerConfig | BaselineConfig)


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One parameter tensor. Tensors of stacked layers have `layers` as their first axis.

    `used` is the share of it that one token multiplies with: less than 1 for experts.
    """

    component: str
    name: str
    shape: tuple[int, ...]
    axes: tuple[str | None, ...]
    used: float = 1.0

    @property
    def size(self) -> int:
        """Number of parameters."""
        return math.prod(self.shape)

    @property
    def is_matrix(self) -> bool:
        """Whether it multiplies the width: weights and embeddings, not biases or norm scales."""
        return len(self.axes) - self.is_stacked >= 2 and "embed" in self.axes

    @property
    def is_stacked(self) -> bool:
        """Whether it holds the parameters of several layers."""
        return self.axes[0] == "layers"

    @property
    def is_expert(self) -> bool:
        """Whether expert parallelism splits it: experts and their router."""
        return "expert" in self.axes


@dataclasses.dataclass(frozen=True)
class ForwardFlops:
    """FLOPs of the forward pass over one sequence.

    `linear` is the layers' linear maps, `pairs` attention scores and weighted values, `head` everything
    outside the layers.
    """

    linear: float
    pairs: float
    head: float

    @property
    def total(self) -> float:
        """The sum of the three."""
        return self.linear + self.pairs + self.head


@dataclasses.dataclass(frozen=True)
class AttentionCost:
    """What equal attention layers cost in one train step, for one sequence."""

    flops: float  # scores and weighted values as executed: forward, backward, recomputed
    head: int  # width of a head
    keys: int  # keys that a query sees at most
    unfused_bytes: float  # that score matrices move through memory; 0 with a fused kernel


@dataclasses.dataclass(frozen=True)
class LayerActivations:
    """Bytes per token on one device that one layer gives its backward pass, and what that pass adds."""

    residual: float  # the hidden state that enters the layer: kept under every policy
    matmul_outputs: float  # kept under `dots`
    inputs: float  # inputs of norms, linear maps and activation functions: kept under `none`
    attention: float  # queries, keys, values, outputs and log-sums of attention: kept under `none`
    gradients: float  # gradients of the layer's own arrays, during its backward pass
    dropped: float = 0.0  # of `attention`: the probabilities after dropout, which follow from those before

    def kept(self, remat: str) -> float:
        """Bytes per token that outlive the layer's forward pass under a rematerialisation policy."""
        if remat == "full":
            return self.residual
        if remat == "dots":
            return self.residual + self.matmul_outputs
        return self.residual + self.inputs + self.attention

    @property
    def working(self) -> float:
        """Bytes per token that exist while the layer's backward pass runs."""
        return self.inputs + self.attention + self.gradients


@dataclasses.dataclass(frozen=True)
class LayerGroup:
    """Equal layers of one side of a model, and what each of them keeps.

    `slots` is the number of expert slots per token where the layers are mixtures of experts.
    """

    layers: int
    side: Side
    activations: LayerActivations
    slots: float | None = None


class Family(abc.ABC, Generic[Config]):
    """The costs of one model, from its config alone. One subclass per model family.

    Lengths are positions of one sequence: `source` and `target`, equal for a model with one side. FLOPs are
    two per multiply-add.
    """

    def __init__(self, config: Config) -> None:
        self.config = config

    @abc.abstractmethod
    def tensors(self) -> Iterator[Tensor]:
        """Every parameter tensor. They equal the module's own tree, tensor by tensor."""

    @abc.abstractmethod
    def forward_flops(self, source: int, target: int, convention: AttentionConvention) -> ForwardFlops:
        """Model FLOPs of one sequence: every matrix product that the model defines, once."""

    def executed_flops(self, source: int, target: int, rows: int, context: int) -> float:
        """FLOPs that the train step executes for one of `rows` sequences on a device.

        Forward, backward and recomputed; here with nothing recomputed. With `context` devices per sequence,
        all are counted as the last one, which sees every key: the others wait for it.
        """
        flops = self.forward_flops(source, target, "causal")
        return 3 * (flops.linear + flops.pairs) + self.head_executed(source, target, rows)

    def attention_costs(self, source: int, target: int, context: int) -> list[AttentionCost]:
        """The attention layers whose FLOPs run at their own rate; a part of `executed_flops`."""
        return []

    @abc.abstractmethod
    def activations(self, layout: Layout, platform: str) -> list[LayerGroup]:
        """What the layers keep for the backward pass, source side first."""

    @property
    @abc.abstractmethod
    def head_width(self) -> int:
        """Width that the output head multiplies with."""

    @property
    def head_size(self) -> int:
        """Parameters of the matrix that gives the logits, tied or not; 0 where there is none."""
        return self.config.vocab_size * self.head_width

    def head_ways(self, tensor: int) -> tuple[int, int]:
        """Ways that `tensor` devices split the head's matrix and the logits: by vocabulary, if at all."""
        ways = tensor if self.config.vocab_size % tensor == 0 else 1
        return ways, ways

    @property
    def hidden_width(self) -> int:
        """Numbers per token that the devices of `tensor` sum and those of `stage` pass on.

        1 for the baselines, whose layers neither splits: only the latency of a collective counts there.
        """
        return 1

    @property
    def kv_width(self) -> int:
        """Numbers per token in the keys and values of one self-attention, which `context` exchanges."""
        return 0

    @property
    def predicted_side(self) -> Side:
        """The side whose positions are predicted."""
        return "target" if self.config.two_sided else "source"

    # What most families share

    def token_embedding(self, width: int, name: str = "token_embedding") -> Tensor:
        """A table of token embeddings."""
        return Tensor("token_embedding", name, (self.config.vocab_size, width), ("vocab", "embed"))

    def untied_head(self) -> Iterator[Tensor]:
        """The output head where it is not the embedding."""
        if not self.config.tie_embeddings:
            shape = (self.config.vocab_size, self.head_width)
            yield Tensor("head", "untied_head", shape, ("vocab", "embed"))

    def head_flops(self, source: int, target: int) -> float:
        """Model FLOPs of one sequence outside the layers: the logits of every predicted position."""
        return 2 * (target if self.config.two_sided else source) * self.head_size

    def head_executed(self, source: int, target: int, rows: int) -> float:
        """FLOPs that the train step executes for them."""
        return self.logits_executed(source, target, rows)

    def predicted_positions(self, source: int, target: int) -> int:
        """Positions of a sequence whose logits are computed."""
        return target if self.config.two_sided else source

    def logit_positions(self, source: int, target: int, rows: int) -> int:
        """Positions of one of `rows` sequences on a device whose logits are computed, in complete chunks."""
        positions = self.predicted_positions(source, target)
        chunk = logits_chunk(rows, positions, self.config.vocab_size)
        return chunk * -(-positions // chunk)

    def logits_executed(self, source: int, target: int, rows: int) -> float:
        """FLOPs of the three matrix products of one row's logits."""
        return 6 * self.logit_positions(source, target, rows) * self.head_width * self.config.vocab_size
