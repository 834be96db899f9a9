"""Memory of one device while the train step runs, from the config alone.

Parameters, optimizer state and batch, which exist from step to step, are exact, padding included. What
exists for part of a step is counted by phase: the forward pass leaves what the backward pass needs; the loss
adds the gathered head, its gradient and a chunk of logits; the backward pass adds gradients and one layer's
own arrays and weights. The largest phase is the peak. `benchmarks/memory.py` compares it with the compiler's.
"""

import dataclasses

from scaling.config.mesh import logits_chunk
from scaling.config.run import RunConfig
from scaling.estimate.families import family_of
from scaling.estimate.families.base import Tensor
from scaling.estimate.layout import BYTES, Layout, array_bytes, shard_shape
from scaling.estimate.optimizers import state_bytes

# In the backward pass one layer's weights are gathered and its gradient is unsharded until it is scattered:
# this many layers by the compilers' peaks (docs/memory.md, docs/memory-gpu.md).
_IN_FLIGHT = 1.5
_CUDA_TILE = 8
_COUNTERS = 1536  # step count, learning rate and step number, each in a tile of its own


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on one device. Params, optimizer and batch are the step's arguments; all five sum to the peak.

    `gradients` is what the peak's phase holds of them; `activations` is everything else that is temporary:
    what the forward pass keeps, one layer's arrays and gathered weights, logits.
    """

    params: int
    optimizer: int
    batch: int
    gradients: int
    activations: int
    phase: str  # of the peak: loss, backward or update

    @property
    def arguments(self) -> int:
        """Bytes of the step's arguments."""
        return self.params + self.optimizer + self.batch

    @property
    def total(self) -> int:
        """The peak."""
        return self.arguments + self.gradients + self.activations


def _one_layer(parts: list[Tensor], layers: int, sides: int, layout: Layout) -> float:
    """Numbers in one layer's matrices, gathered over everything but `tensor` and `expert`.

    Where some layers are mixtures, those of the larger kind of layer.
    """
    matrices = [t for t in parts if t.is_stacked and t.is_matrix]
    experts = [t for t in matrices if t.is_expert]
    dense = [t for t in matrices if t.component == "feed_forward" and not t.is_expert] if experts else []
    rest = sum(t.size for t in matrices) - sum(t.size for t in experts + dense)
    larger = max(
        sum(t.size / t.shape[0] for t in kind) / ways / sides
        for kind, ways in ((dense, 1), (experts, layout.expert))
    )
    return (rest / layers + larger) / layout.tensor


def memory(run: RunConfig, layout: Layout, platform: str) -> Memory:
    """The peak memory of one device in a train step of `run`, laid out as `layout`."""
    family, model, mesh = family_of(run.model), run.model, layout.mesh
    parts, remat = list(family.tensors()), family.config.remat
    kind, compute = model.param_dtype, BYTES[model.compute_dtype]

    def on_device(dtype: str, chosen: list[Tensor]) -> int:
        return sum(array_bytes(shard_shape(t.axes, t.shape, mesh), dtype, platform) for t in chosen)

    layers = [t for t in parts if t.is_stacked]
    outside = [t for t in parts if not t.is_stacked]

    rows = layout.rows // (layout.batch_shards * layout.stages)
    batch = _COUNTERS
    for shape, dtype in run.batch_arrays().values():
        own = shard_shape(("length", *[None] * len(shape))[: len(shape) - 1], shape[1:], mesh)
        batch += array_bytes((rows, *own), dtype, platform)
    params = on_device(kind, parts)
    optimizer = state_bytes(run.train.optimizer, parts, mesh, platform)

    tokens = layout.tokens_by_side
    groups = family.activations(layout, platform)
    # A stage keeps what it computed at every tick, those of the bubble included.
    ticks = layout.ticks / layout.stages
    kept = ticks * sum(g.layers * g.activations.kept(remat) * tokens[g.side] for g in groups)
    scanned = layout.stages > 1 or getattr(family.config, "scan_layers", True)
    if remat == "none" and not scanned and platform == "tpu":  # computed again inside the products
        kept -= sum(g.layers * g.activations.dropped * tokens[g.side] for g in groups)
    # A scan copies a layer's arrays out of those that it stacked; unrolled, they are where they were kept.
    reused = remat == "none" and not scanned
    working = max(
        (g.activations.gradients if reused else g.activations.working) * tokens[g.side] for g in groups
    )
    # Weights are used as they are stored only where they need neither a gather nor a cast.
    cast = model.compute_dtype != kind
    copied = cast or layout.fsdp * layout.context > 1
    if remat == "none" and cast:
        kept += on_device(model.compute_dtype, [t for t in layers if t.is_matrix])
    if layout.stages > 1:
        # Rows that wait for the first stage and those that left the last; and source states that travel with
        # a target at every tick, because the backward pass needs their keys again.
        hidden = compute * family.hidden_width
        kept += 2 * (layout.waves + 1) * hidden * max(tokens.values())
        kept += layout.ticks * hidden * tokens["source"] if model.two_sided else 0.0
    sides = 2 if model.two_sided else 1
    gathered = compute * _one_layer(parts, sum(g.layers for g in groups), sides, layout) if copied else 0.0

    # Each device with rows of its own holds the gathered head and its gradient.
    head_ways, logits_ways = family.head_ways(layout.tensor)
    head = family.head_size / head_ways
    length = tokens[family.predicted_side] // layout.rows_on_a_device
    here = max(1, round(layout.waves * layout.rows_on_a_device))
    chunk = logits_chunk(here, length, model.vocab_size, run.train.loss_chunk, platform)
    # Kept in the compute type, and on a CPU in float32; their gradients, which a TPU does not write.
    bytes_of_logit = {"cpu": 4 + compute, "gpu": 2 * compute, "tpu": compute}[platform]
    logits = here * chunk * model.vocab_size / logits_ways * bytes_of_logit
    hidden_states = 3 * here * length * family.head_width * compute

    all_gradients = on_device(kind, parts)
    cuda = platform == "gpu"
    ahead = 0 if cuda else 1  # layers whose weights are gathered before they are needed
    loss = kept + (head * compute if copied else 0) + logits + hidden_states + (1 + ahead) * gathered
    backward = kept + working + hidden_states + (_IN_FLIGHT + ahead) * gathered
    if cuda:
        # CUDA's compiler pads a vocabulary that is no multiple of its tiles into a second gradient of the
        # head; and that of a tied head waits for the embedding's before it is scattered.
        loss += 4 * head if model.vocab_size % _CUDA_TILE else 0
        backward += 4 * head if layout.fsdp * layout.context > 1 and family.config.tie_embeddings else 0
    in_layers = on_device(kind, layers)
    if layout.stages > 1:  # the sum over ticks, and what a tick adds
        in_layers *= 2
    phases = {
        "loss": (4 * head, loss),
        "backward": (in_layers + on_device("float32", outside), backward),
        "update": (all_gradients, 0.0),
    }
    if layout.accumulation > 1:  # the running sum, and what a microbatch adds
        phases = {name: (held + all_gradients, rest) for name, (held, rest) in phases.items()}
    phase = max(phases, key=lambda name: sum(phases[name]))
    gradients, rest = phases[phase]
    return Memory(params, optimizer, batch, round(gradients), round(rest), phase)
