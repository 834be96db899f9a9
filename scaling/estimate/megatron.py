"""Megatron-LM's step as Korthikanti et al. 2022 (arXiv:2205.05198) describe it, told in this lab's terms.

Its measured iterations and memory are what the estimates are held against: another trainer, with pipeline
stages, sequence parallelism and attention that forms its matrices, in the same arithmetic.
"""

import dataclasses
from typing import Literal

from scaling.config.model import DecoderConfig
from scaling.estimate.activations import LayerArrays
from scaling.estimate.flops import forward_flops
from scaling.estimate.layout import Layout
from scaling.estimate.parameters import count_parameters
from scaling.estimate.work import Traffic, Work

Recompute = Literal["none", "selective", "full"]
# bf16 weight, fp32 gradient, fp32 master weight, two fp32 moments
BYTES_A_PARAMETER = 2 + 4 + 4 + 8


@dataclasses.dataclass(frozen=True)
class MegatronMemory:
    """Bytes on one device of the first pipeline stage."""

    parameters_and_optimizer: float
    activations: float


def arrays(model: DecoderConfig, layout: Layout) -> LayerArrays:
    """Bytes a token of one layer: equations 1 to 4 of the paper, which add up to 34 h + 5 a s."""
    h, t = model.d_model, layout.tensor
    whole = t if layout.sequence_parallel else 1
    return LayerArrays(
        carried=2 * h / whole,
        products=0.0,
        # Norm inputs, inputs of the first linear maps, masks of two dropouts; then what `tensor` splits.
        inputs=(2 + 2 + 2 + 2) * h / whole + (8 + 16) * h / t,
        attention=5 * model.n_heads * layout.length / t,  # softmax, its dropout's mask and result
        cotangents=0.0,
    )


def memory(model: DecoderConfig, layout: Layout, recompute: Recompute) -> MegatronMemory:
    """What the first pipeline stage holds: with 1F1B it keeps as many microbatches as there are stages."""
    layer = arrays(model, layout)
    kept = {
        "none": layer.carried + layer.inputs + layer.attention,
        "selective": layer.carried + layer.inputs,
        "full": layer.carried,
    }[recompute]
    held = 1.0
    if layout.interleave > 1:
        held += (layout.stages - 1) / (layout.stages * layout.interleave)
    in_layers = count_parameters(model).by_component
    shard = (in_layers["attention"] + in_layers["feed_forward"]) / (layout.tensor * layout.stages)
    return MegatronMemory(
        parameters_and_optimizer=BYTES_A_PARAMETER * shard,
        activations=layout.tokens_on_a_device * model.n_layers * kept * held,
    )


def work(model: DecoderConfig, layout: Layout, recompute: Recompute) -> Work:
    """One iteration: whole attention, its matrices through memory, and what is computed again."""
    flops = forward_flops(model, layout.length, "full")
    again = {"none": 0.0, "selective": flops.pairs, "full": flops.linear + flops.pairs}[recompute]
    layer = arrays(model, layout)
    tokens, layers = layout.tokens_on_a_device, model.n_layers / layout.stages
    # Forward: scores written, softmax read and written, dropout read and written, product read: 4 passes of
    # what is kept; backward as many; a linear array as elsewhere.
    linear = {"none": 5, "selective": 5, "full": 7}[recompute] * (layer.inputs + layer.carried)
    matrices = {"none": 4, "selective": 6, "full": 6}[recompute] * layer.attention
    shard = count_parameters(model).total / (layout.tensor * layout.stages)
    # An all-reduce, or the all-gather and reduce-scatter of sequence parallelism, moves the same bytes.
    sums = 6 if recompute == "full" else 4
    size = 2 * tokens * model.d_model
    hops = 2 * layout.interleave * layout.passes if layout.stages > 1 else 0
    return Work(
        model_flops=3 * layout.rows * flops.total,
        hardware_flops=layout.rows * (3 * flops.total + again),
        bytes_moved=layout.passes * layers * tokens * (linear + matrices)
        + layout.passes * 3 * 2 * shard
        + shard * (4 + 4 + 2 + 2 * 12),
        waited_for=(
            Traffic("tensor", "all_reduce", size, layout.passes * layers * sums),
            Traffic("stages", "all_gather", size / layout.tensor, hops),
        ),
        beside=(Traffic("data", "all_reduce", 4 * shard),),
    )
