"""Memory of one device while the train step runs, from the config alone.

What lies there from step to step (parameters, optimizer state, batch) is exact, padding included. What lies
there for a while is told phase by phase, as the step goes: the forward pass leaves what the backward pass
needs; the loss adds the gathered head, its gradient and a chunk of logits; the backward pass adds gradients
and one layer's own arrays and weights. The largest phase is the peak. `benchmarks/memory.py` holds the sum
against the compiler's.
"""

import dataclasses

from scaling.config.model import NetworkConfig, TransformerConfig, TwoSidedConfig, network
from scaling.config.run import RunConfig
from scaling.config.tiling import logits_chunk
from scaling.estimate.activations import stacks
from scaling.estimate.layout import Layout
from scaling.estimate.optimizer_state import optimizer_bytes
from scaling.estimate.parameters import head_size, head_width
from scaling.estimate.sharded import BYTES, array_bytes, shard_shape
from scaling.estimate.tensors import Tensor, tensors

# In the backward pass one layer's weights are gathered and its gradient is whole until it is scattered: so
# many layers by the compilers' peaks (docs/memory.md, docs/memory-gpu.md).
_IN_FLIGHT = 1.5
_COUNTERS = 1536  # step count, learning rate and step number, each in a tile of its own


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on one device. Params, optimizer and batch are the step's arguments; all five add up to the peak.

    `gradients` is what the peak's phase holds of them; `activations` is everything else that is there for a
    while: what the forward pass keeps, one layer's arrays and gathered weights, logits.
    """

    params: int
    optimizer: int
    batch: int
    gradients: int
    activations: int
    phase: str  # in which the peak falls: loss, backward or update

    @property
    def arguments(self) -> int:
        """What the step is called with."""
        return self.params + self.optimizer + self.batch

    @property
    def total(self) -> int:
        """The peak."""
        return self.arguments + self.gradients + self.activations


def _is_layer(tensor: Tensor) -> bool:
    return tensor.axes[0] == "layers"


def _one_layer(parts: list[Tensor], layers: int, sides: int, layout: Layout) -> float:
    """Numbers in one layer's matrices, gathered over everything but `tensor` and `expert`.

    Where some layers have a mixture, of the larger kind of layer.
    """
    matrices = [t for t in parts if _is_layer(t) and t.is_matrix]
    experts = [t for t in matrices if t.is_expert]
    dense = [t for t in matrices if t.component == "feed_forward" and not t.is_expert] if experts else []
    rest = sum(t.size for t in matrices) - sum(t.size for t in experts + dense)
    either = max(
        (
            sum(t.size / t.shape[0] for t in kind) / ways / sides
            for kind, ways in ((dense, 1), (experts, layout.expert))
        )
    )
    return (rest / layers + either) / layout.tensor


def _queues(model: NetworkConfig, layout: Layout) -> float:
    """Bytes of rows that wait for the first stage and of those that left the last.

    And of source states that travel with a target at every tick: the backward pass needs their keys again.
    """
    if layout.stages == 1 or not isinstance(model, TransformerConfig):
        return 0.0
    size, tokens = BYTES[model.compute_dtype] * model.d_model, layout.tokens_by_side
    waiting = 2 * (layout.waves + 1) * size * max(tokens.values())
    return waiting + (layout.ticks * size * tokens["source"] if isinstance(model, TwoSidedConfig) else 0.0)


def memory(run: RunConfig, layout: Layout, platform: str) -> Memory:
    """The peak memory of one device in a train step of `run`, laid out as `layout`."""
    model, mesh, parts = network(run.model), layout.mesh, tensors(run.model)
    kind, compute = model.param_dtype, BYTES[model.compute_dtype]

    def on_device(dtype: str, chosen: list[Tensor]) -> int:
        return sum(array_bytes(shard_shape(t.axes, t.shape, mesh), dtype, platform) for t in chosen)

    layers = [t for t in parts if _is_layer(t)]
    matrices = [t for t in layers if t.is_matrix]
    outside = [t for t in parts if not _is_layer(t)]

    rows = layout.rows // (layout.batch_shards * layout.stages)
    batch = _COUNTERS
    for shape, dtype in run.batch_arrays().values():
        own = shard_shape(("length", *[None] * len(shape))[: len(shape) - 1], shape[1:], mesh)
        batch += array_bytes((rows, *own), dtype, platform)
    params = on_device(kind, parts)
    optimizer = optimizer_bytes(run.train.optimizer, parts, mesh, platform)

    tokens = layout.tokens_by_side
    remat = model.remat
    depth = stacks(model, layout, platform)
    # A stage keeps what it computed at every tick, that of the bubble too.
    ticks = layout.ticks / layout.stages
    kept = ticks * sum(n * layer.kept(remat) * tokens[side] for n, layer, side in depth)
    working = max(layer.working * tokens[side] for _, layer, side in depth)
    if remat == "none":
        kept += on_device(model.compute_dtype, matrices)  # the weights of every layer, cast
    kept += _queues(model, layout)
    n_layers = sum(n for n, *_ in depth)
    sides = 2 if isinstance(model, TwoSidedConfig) else 1
    gathered = compute * _one_layer(parts, n_layers, sides, layout)

    # The head lies whole on each device that holds rows of its own, and so does its gradient.
    split = layout.tensor if model.vocab_size % layout.tensor == 0 else 1
    head = head_size(model) / split
    side = "target" if isinstance(model, TwoSidedConfig) else "source"
    length = tokens[side] // layout.rows_on_a_device
    here = max(1, round(layout.waves * layout.rows_on_a_device))
    chunk = logits_chunk(here, length, model.vocab_size, run.train.loss_chunk)
    logits = here * chunk * model.vocab_size / split * (4 + compute)
    hidden = 3 * here * length * head_width(model) * compute

    all_gradients = on_device(kind, parts)
    cuda = platform == "gpu"
    ahead = 0 if cuda else 1  # layers whose weights are on their way before they are needed
    loss = kept + head * compute + logits + hidden + (1 + ahead) * gathered
    backward = kept + working + hidden + (_IN_FLIGHT + ahead) * gathered
    if cuda:
        # CUDA's compiler does not add a chunk's part to the head's gradient in place, and scatters it when
        # the layers are done.
        loss += 4 * head
        backward += 4 * head if layout.fsdp * layout.context > 1 else 0
    in_layers = on_device(kind, layers)
    if layout.stages > 1:  # the sum over ticks beside what a tick adds
        in_layers *= 2
    phases = {
        "loss": (4 * head, loss),
        "backward": (in_layers + on_device("float32", outside), backward),
        "update": (all_gradients, 0.0),
    }
    if layout.accumulation > 1:  # the running sum beside what a microbatch adds
        phases = {name: (held + all_gradients, rest) for name, (held, rest) in phases.items()}
    phase = max(phases, key=lambda name: sum(phases[name]))
    gradients, rest = phases[phase]
    return Memory(params, optimizer, batch, round(gradients), round(rest), phase)
