"""How papers count: each published convention as the formula that its paper states.

They differ from `scaling.estimate.flops`, which counts every matmul of the real architecture, on purpose: a
figure from a paper is only comparable with a figure counted its way. `docs/published.md` holds these against
what the papers print.
"""

import dataclasses

from scaling.config.model import DecoderConfig
from scaling.estimate.estimate import PF_DAY
from scaling.estimate.parameters import count_parameters


def pf_days(flops: float) -> float:
    """FLOPs as days of a petaflop per second (Kaplan et al. 2020, arXiv:2001.08361)."""
    return flops / PF_DAY


def brown_table_d1(params: float, tokens: float, active: float = 1.0) -> float:
    """Training FLOPs of Brown et al. 2020 (arXiv:2005.14165), Table D.1: attention scores count nothing.

    Six a parameter and token: a multiply and an add, three times for forward and backward. `active` is the
    share of the parameters that a token passes through: half in an encoder-decoder.
    """
    return 6.0 * active * params * tokens


def kaplan_table_1(model: DecoderConfig, length: int) -> float:
    """Training FLOPs a token of Kaplan et al. 2020 (arXiv:2001.08361), Table 1 and section 2.1.

    6N + 6 n_layer n_ctx d_attn, N without embeddings, biases and norms. The table counts the scores of a
    whole window and not their product with the values. That is as much as both of them over half a window:
    but for the head, it is what this lab calls `causal`.
    """
    attention = model.n_heads * model.d_head
    matrices = 2 * model.d_model * model.n_layers * (2 * attention + model.d_ff)
    return 6.0 * matrices + 6.0 * model.n_layers * length * attention


@dataclasses.dataclass(frozen=True)
class HoffmannFlops:
    """Forward FLOPs of one sequence, by the terms of Hoffmann et al. 2022 (arXiv:2203.15556), appendix F."""

    embeddings: float
    layers: float
    logits: float

    @property
    def train(self) -> float:
        """Forward and backward, the backward pass counted twice the forward."""
        return 3.0 * (self.embeddings + self.layers + self.logits)

    @property
    def train_layers(self) -> float:
        """The same without embeddings and logits, which is what the paper's Table A4 compares."""
        return 3.0 * self.layers


def hoffmann_appendix_f(model: DecoderConfig, length: int) -> HoffmannFlops:
    """The terms of appendix F: the embedding counts as a matmul, attention is whole, softmax counts 3."""
    d, heads = model.d_model, model.n_heads * model.d_head
    vocabulary = 2.0 * length * model.vocab_size * d
    projections = 2 * 3 * length * d * heads
    scores = 2 * length * length * heads
    softmax = 3 * model.n_heads * length * length
    values = 2 * length * length * heads
    output = 2 * length * heads * d
    dense = 2 * length * (d * model.d_ff + d * model.d_ff)
    layer = projections + scores + softmax + values + output + dense
    return HoffmannFlops(vocabulary, float(model.n_layers * layer), vocabulary)


def hoffmann_parameters(model: DecoderConfig) -> int:
    """A size as Table A9 of Hoffmann et al. 2022 prints it, for a model of `configs/models/chinchilla.yaml`.

    The paper's models have Transformer-XL's relative positions: no table of positions, and a projection of
    them, width by heads, in every layer. That alone leaves 25 of the fifty sizes short of print, by 0.2% at
    most. Eight widths a layer and one number for each piece of the vocabulary bring all fifty to the printed
    digit: as much as biases of the feed-forward (5 widths), of attention's output (1), of the two position
    terms (2) and of the logits. Which biases the paper's models have it does not say; this is inferred.
    """
    counts = count_parameters(model)
    positions = model.d_model * model.n_heads * model.d_head
    layers = model.n_layers * (positions + 8 * model.d_model)
    return counts.total - counts.by_component["position_embedding"] + layers + model.vocab_size


def vaswani_table_2(hours: float, gpus: int = 8, sustained: float = 9.5e12) -> float:
    """Training FLOPs of Vaswani et al. 2017 (arXiv:1706.03762), Table 2: capacity, not work.

    Hours by GPUs by the single-precision rate that footnote 5 takes a P100 to sustain.
    """
    return hours * 3600.0 * gpus * sustained
