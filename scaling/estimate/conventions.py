"""How papers count: published conventions as the formulas that their papers state, and Megatron-LM's step.

The conventions differ on purpose from `scaling.estimate.counts`, which counts every matrix product of the
real architecture: a figure from a paper is only comparable with a figure counted the paper's way.
`docs/published.md` compares these with what the papers print.

Megatron-LM is another trainer, with pipeline stages, sequence parallelism and attention that forms its
matrices, in the same arithmetic (Korthikanti et al. 2022, arXiv:2205.05198). Its measured iterations and
memory are what the estimates are tested against.
"""

import dataclasses
import math
from typing import Literal

from scaling.config.model import DecoderConfig
from scaling.estimate.counts import count_parameters, forward_flops
from scaling.estimate.estimate import PF_DAY
from scaling.estimate.families.base import AttentionCost, LayerActivations
from scaling.estimate.layout import Layout
from scaling.estimate.work import Traffic, Work

Recompute = Literal["none", "selective", "full"]
# bf16 weight, fp32 gradient, fp32 master weight, two fp32 moments
MEGATRON_BYTES_PER_PARAMETER = 2 + 4 + 4 + 8


def pf_days(flops: float) -> float:
    """FLOPs as days of a petaflop per second (Kaplan et al. 2020, arXiv:2001.08361)."""
    return flops / PF_DAY


def brown_table_d1(params: float, tokens: float, active: float = 1.0) -> float:
    """Training FLOPs of Brown et al. 2020 (arXiv:2005.14165), Table D.1: attention scores count nothing.

    Six per parameter and token: a multiply and an add, three times for forward and backward. `active` is the
    share of the parameters that a token passes through: half in an encoder-decoder.
    """
    return 6.0 * active * params * tokens


def kaplan_table_1(model: DecoderConfig, length: int) -> float:
    """Training FLOPs per token of Kaplan et al. 2020 (arXiv:2001.08361), Table 1 and section 2.1.

    6N + 6 n_layer n_ctx d_attn, N without embeddings, biases and norms. The table counts the scores of a
    full window and not their product with the values. That is as much as both of them over half a window:
    except for the head, it is what this project calls `causal`.
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
    """The terms of appendix F: the embedding counts as a matmul, attention is full, softmax counts 3."""
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
    them, width by heads, in every layer. That alone leaves 25 of the fifty sizes below the printed ones, by
    0.2% at most. Eight widths per layer and one number per vocabulary entry bring all fifty to the printed
    digit: as much as biases of the feed-forward (5 widths), of attention's output (1), of the two position
    terms (2) and of the logits. The paper does not say which biases its models have; this is inferred.
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


@dataclasses.dataclass(frozen=True)
class MegatronMemory:
    """Bytes on one device of the first pipeline stage."""

    parameters_and_optimizer: float
    activations: float


def _megatron_layer(model: DecoderConfig, layout: Layout) -> LayerActivations:
    """Bytes per token of one layer: equations 1 to 4 of the paper, which sum to 34 h + 5 a s."""
    h, t = model.d_model, layout.tensor
    unsplit = t if layout.sequence_parallel else 1
    return LayerActivations(
        residual=2 * h / unsplit,
        matmul_outputs=0.0,
        # Norm inputs, inputs of the first linear maps, masks of two dropouts; then what `tensor` splits.
        inputs=(2 + 2 + 2 + 2) * h / unsplit + (8 + 16) * h / t,
        attention=5 * model.n_heads * layout.length / t,  # softmax, its dropout's mask and result
        gradients=0.0,
    )


def megatron_memory(model: DecoderConfig, layout: Layout, recompute: Recompute) -> MegatronMemory:
    """What the first pipeline stage holds: with 1F1B it keeps as many microbatches as there are stages."""
    layer = _megatron_layer(model, layout)
    kept = {
        "none": layer.residual + layer.inputs + layer.attention,
        "selective": layer.residual + layer.inputs,
        "full": layer.residual,
    }[recompute]
    held = 1.0
    if layout.interleave > 1:
        held += (layout.stages - 1) / (layout.stages * layout.interleave)
    in_layers = count_parameters(model).by_component
    shard = (in_layers["attention"] + in_layers["feed_forward"]) / (layout.tensor * layout.stages)
    return MegatronMemory(
        parameters_and_optimizer=MEGATRON_BYTES_PER_PARAMETER * shard,
        activations=layout.tokens_on_a_device * model.n_layers * kept * held,
    )


def megatron_work(model: DecoderConfig, layout: Layout, recompute: Recompute) -> Work:
    """One iteration: full attention, its matrices through memory, and what is recomputed."""
    flops = forward_flops(model, layout.length, "full")
    again = {"none": 0.0, "selective": flops.pairs, "full": flops.linear + flops.pairs}[recompute]
    layer = _megatron_layer(model, layout)
    tokens, layers = layout.tokens_on_a_device, model.n_layers / layout.stages
    # Forward: scores written, softmax read and written, dropout read and written, product read: 4 passes of
    # what is kept; backward as many; linear maps as elsewhere.
    linear = {"none": 5, "selective": 5, "full": 7}[recompute] * (layer.inputs + layer.residual)
    matrices = {"none": 4, "selective": 6, "full": 6}[recompute] * layer.attention
    shard = count_parameters(model).total / (layout.tensor * layout.stages)
    # An all-reduce, or the all-gather and reduce-scatter of sequence parallelism, moves the same bytes.
    sums = 6 if recompute == "full" else 4
    size = 2 * tokens * model.d_model
    hops = 2 * layout.interleave * layout.passes if layout.stages > 1 else 0
    pairs = layout.rows * (3 * flops.pairs + (0.0 if recompute == "none" else flops.pairs))
    attention = AttentionCost(
        flops=pairs,
        head=model.d_head,
        keys=layout.length,
        unfused_bytes=layout.devices * layout.passes * layers * tokens * matrices,
    )
    return Work(
        model_flops=3 * layout.rows * flops.total,
        matmul_flops=layout.rows * (3 * flops.total + again) - pairs,
        attention=(attention,),
        elementwise_bytes=layout.passes * layers * tokens * linear,
        weight_bytes=layout.passes * (4 if recompute == "full" else 3) * 2 * shard,
        logit_bytes=4.0 * layout.rows * layout.length * model.vocab_size / layout.devices,
        update_bytes=shard * (4 + 4 + 2 + 2 * 12),
        layer_passes=layout.passes * layers,
        width=math.inf,
        shard_width=math.inf,
        exposed=(
            Traffic("tensor", "all_reduce", size, layout.passes * layers * sums),
            Traffic("stages", "all_gather", size / layout.tensor, hops),
        ),
        overlapped=(Traffic("data", "all_reduce", 4 * shard),),
    )
