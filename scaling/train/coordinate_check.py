"""The coordinate check: how the size of activations, and of their change in training, scales with width.

Under muP no activation's change grows or shrinks with the width, whatever the step (Yang et al. 2022,
arXiv:2203.03466, appendix D.1): an implementation that misses a multiplier shows here, at small widths and in
a few steps, before it costs a sweep.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np

from scaling.config.load import validate
from scaling.config.model import Parametrization, TransformerConfig
from scaling.config.run import RunConfig
from scaling.models.axes import listening
from scaling.models.language_model import Batch, LanguageModel, logits
from scaling.parallel.mesh import make_mesh
from scaling.runtime.errors import BadInputError
from scaling.train.progress import Silent
from scaling.train.setup import open_inputs
from scaling.train.step import TrainStep

_ROWS = 8  # sequences of a batch: coordinates are averaged over them and over positions
_LAYERS = (  # in the order in which a model computes them
    "embedding",
    "attention logits",
    "attention output",
    "cross-attention output",
    "feed-forward output",
    "residual stream",
    "head logits",
)


@dataclass(frozen=True)
class Measured:
    """One kind of activation under one parametrisation at one step: root mean squares at each width, over
    coordinates, positions and layers; of itself, and of its change since the start."""

    parametrization: Parametrization
    layer: str
    step: int
    widths: tuple[int, ...]
    activation: tuple[float, ...]
    change: tuple[float, ...]

    @property
    def activation_slope(self) -> float:
        """Of log activation against log width."""
        return slope(self.widths, self.activation)

    @property
    def change_slope(self) -> float | None:
        """Of log change against log width; None at the start, and where nothing changed."""
        return slope(self.widths, self.change) if min(self.change) > 0 else None


@dataclass(frozen=True)
class CoordinateCheck:
    """The measurements, and the largest slope that is called flat."""

    base_width: int
    tolerance: float
    measured: tuple[Measured, ...]

    def layers(self) -> list[str]:
        """The kinds of activations that the model has."""
        return sorted({m.layer for m in self.measured}, key=_LAYERS.index)

    def of(self, parametrization: Parametrization, layer: str) -> list[Measured]:
        """The steps of one kind of activation, the start first."""
        return [m for m in self.measured if (m.parametrization, m.layer) == (parametrization, layer)]

    def slope(self, parametrization: Parametrization, layer: str) -> float:
        """Mean over the steps of the slope of a change."""
        slopes = [m.change_slope for m in self.of(parametrization, layer)]
        return fmean(found) if (found := [s for s in slopes if s is not None]) else 0.0

    def verdict(self, parametrization: Parametrization, layer: str) -> str:
        """flat, grows or shrinks."""
        found = self.slope(parametrization, layer)
        return "flat" if abs(found) <= self.tolerance else "grows" if found > 0 else "shrinks"

    def not_flat(self, parametrization: Parametrization) -> list[str]:
        """The layers whose change depends on the width."""
        return [layer for layer in self.layers() if self.verdict(parametrization, layer) != "flat"]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        kinds: tuple[Parametrization, ...] = get_args(Parametrization)
        return {
            "base_width": self.base_width,
            "tolerance": self.tolerance,
            "verdict": {
                kind: {"flat": not self.not_flat(kind), "not_flat": self.not_flat(kind)} for kind in kinds
            },
            "layers": [
                {
                    "parametrization": kind,
                    "layer": layer,
                    "slope": self.slope(kind, layer),
                    "verdict": self.verdict(kind, layer),
                    "steps": [
                        {
                            "step": m.step,
                            "widths": m.widths,
                            "activation": m.activation,
                            "change": m.change,
                            "activation_slope": m.activation_slope,
                            "change_slope": m.change_slope,
                        }
                        for m in self.of(kind, layer)
                    ],
                }
                for kind in kinds
                for layer in self.layers()
            ],
        }


def slope(widths: Sequence[int], sizes: Sequence[float]) -> float:
    """Least-squares slope of log size against log width."""
    return float(np.polyfit(np.log(widths), np.log(sizes), 1)[0])


def check_coordinates(
    run: RunConfig,
    widths: Sequence[int] = (),
    steps: int = 5,
    tolerance: float = 0.2,
    say: Callable[[str], None] = lambda text: None,
) -> CoordinateCheck:
    """Train a run's model at several widths for a few steps, standard and muP, on the same batches.

    Args:
        run: its model is the base, unless it names a `base_width`; the learning rate is its own, with no
            warm-up. Heads keep their width, and the feed-forward its ratio.
        widths: at least two; None of them takes 1, 2 and 4 times the base.
        steps: optimizer steps.
        tolerance: the largest slope that is called flat.
        say: called with the model that is being trained.

    Raises:
        BadInputError: not a Transformer, widths that cannot be built, or a change that is not finite.
    """
    model = run.model
    if not isinstance(model, TransformerConfig):
        raise BadInputError(
            f"model.family={model.family}: muP, and so its check, is for decoder, encoder, encoder_decoder"
        )
    base = model.base_width or model.d_model
    widths = tuple(sorted(set(widths))) or tuple(base * factor for factor in (1, 2, 4))
    if len(widths) < 2 or steps < 1:
        raise BadInputError(
            f"--widths {','.join(map(str, widths))} --steps {steps}: give at least two widths and one step"
        )
    kinds: tuple[Parametrization, ...] = get_args(Parametrization)
    runs = {(kind, width): _at(run, kind, width, base) for kind in kinds for width in widths}
    measured: list[Measured] = []
    for kind in kinds:
        found: dict[tuple[str, int], list[tuple[float, float]]] = {}
        for width in widths:
            say(f"{kind}, width {width}")
            for step, sizes in enumerate(_sizes(runs[kind, width], steps)):
                for layer, pair in sizes.items():
                    found.setdefault((layer, step), []).append(pair)
        for (layer, step), pairs in found.items():
            activation, change = zip(*pairs, strict=True)
            if not all(map(math.isfinite, (*activation, *change))):
                raise BadInputError(
                    f"train.learning_rate={run.train.learning_rate}: {layer} of {kind} is not finite after "
                    f"{step} steps; give a smaller one"
                )
            measured.append(Measured(kind, layer, step, widths, activation, change))
    return CoordinateCheck(base, tolerance, tuple(measured))


def _at(run: RunConfig, kind: Parametrization, width: int, base: int) -> RunConfig:
    """The run at another width: unrolled, on one device, in small batches."""
    model = run.model
    assert isinstance(model, TransformerConfig)
    if width % model.d_head:
        raise BadInputError(f"width {width} does not divide into heads of model.d_head={model.d_head}")
    heads = width // model.d_head
    tree = run.model_dump(exclude={"mesh"})
    tree["model"] |= {
        "d_model": width,
        "n_heads": heads,
        "d_ff": max(1, round(model.d_ff * width / model.d_model)),
        "parametrization": kind,
        "scan_layers": False,
        "remat": "none",
        "dropout": 0.0,
    }
    groups = getattr(model, "n_kv_heads", None)
    if groups is not None:
        tree["model"]["n_kv_heads"] = max(1, groups * heads // model.n_heads)
    if getattr(model, "embedding_size", None) == model.d_model:
        tree["model"]["embedding_size"] = None
    if kind == "mup":
        tree["model"]["base_width"] = base
    else:
        tree["model"] |= {"base_width": None, "base_d_head": None, "base_depth": None}
    length = run.data.sequence_length
    tree["train"] |= {"batch_tokens": _ROWS * length, "accumulation": 1, "tokens": None, "steps": 1}
    tree["train"] |= {"branches": (), "batch_warmup_tokens": 0, "batch_warmup_start": None}
    checked: RunConfig = validate(RunConfig, tree, f"width {width}")
    return checked


def _sizes(run: RunConfig, steps: int) -> Iterator[dict[str, tuple[float, float]]]:
    """Before training and after each step: activation and change of every kind."""
    inputs = open_inputs(run, Silent())
    try:
        functions = TrainStep(run, make_mesh(run.mesh))
        looked_at = functions.place(next(iter(inputs.validation)))
        state = functions.init(run.train.seed)
        look = jax.jit(_activations)
        start = look(state.model, looked_at)
        yield _numbers(_compared(start, start))
        rate = np.float32(run.train.learning_rate)
        for number, batch in enumerate(itertools.islice(inputs.batches, steps)):
            state, _ = functions.step(state, functions.place(batch), rate, np.int32(number))
            yield _numbers(_compared(look(state.model, looked_at), start))
    finally:
        inputs.batches.close()


def _numbers(sizes: dict[str, tuple[jax.Array, jax.Array]]) -> dict[str, tuple[float, float]]:
    return {kind: (float(activation), float(change)) for kind, (activation, change) in sizes.items()}


def _activations(model: LanguageModel, batch: Batch) -> dict[str, list[jax.Array]]:
    """Every activation that the model taps, by kind, and its logits."""
    with listening() as seen:
        terms = model.terms(batch)
    kinds: dict[str, list[jax.Array]] = {}
    for name, value in [*seen, (_LAYERS[-1], logits(model, terms.x_BLD))]:
        kinds.setdefault(name, []).append(value.astype(jnp.float32))
    return kinds


@jax.jit
def _compared(
    now: dict[str, list[jax.Array]], start: dict[str, list[jax.Array]]
) -> dict[str, tuple[jax.Array, jax.Array]]:
    def size(arrays: list[jax.Array]) -> jax.Array:
        return jnp.sqrt(jnp.mean(jnp.stack([jnp.mean(jnp.square(x)) for x in arrays])))

    return {
        kind: (size(now[kind]), size([a - b for a, b in zip(now[kind], start[kind], strict=True)]))
        for kind in now
    }
