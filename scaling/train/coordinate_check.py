"""The coordinate check: how the size of activations, and of their change in training, scales with width.

Under muP no activation's size at the start and no activation's change grows or shrinks with the width, in any
layer at any step (Yang et al. 2022, arXiv:2203.03466, appendix D.1): an implementation that misses a
multiplier shows here, at small widths and in a few steps, before it costs a sweep.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from scaling.config.load import validate
from scaling.config.model import Parametrization, TransformerConfig
from scaling.config.run import RunConfig
from scaling.parallel.mesh import make_mesh
from scaling.runtime.errors import BadInputError
from scaling.train.activation_sizes import LAYERS, Place, Sizes, sizes_in_training
from scaling.train.progress import Silent
from scaling.train.setup import open_inputs

_ROWS = 8  # sequences of a batch: sizes are averaged over them and over positions

Growth = Literal["heads", "d_head"]
"""What grows with the width: the number of heads, or the width of each."""

GROWTHS: tuple[Growth, ...] = get_args(Growth)


class Slope(NamedTuple):
    """Mean over the seeds of the slope of log size against log width, and the standard error of that mean."""

    value: float
    standard_error: float

    def __str__(self) -> str:
        return f"{self.value:+.2f} ± {self.standard_error:.2f}"


@dataclass(frozen=True)
class Measured:
    """One activation at one step: its sizes, by width and seed."""

    step: int
    widths: tuple[int, ...]
    sizes: tuple[tuple[Sizes, ...], ...]  # a tuple per width, of one per seed

    def of(self, field: str) -> tuple[float, ...] | None:
        """The geometric mean over seeds of a field of `Sizes`, by width; None where it is not measured."""
        found = self._by_width(field)
        return None if found is None else tuple(_geometric_mean(seeds) for seeds in found)

    def slope_of(self, field: str) -> Slope | None:
        """Of log size against log width; None where it is not measured, and where nothing changed."""
        found = self._by_width(field)
        if found is None or min(map(min, found)) <= 0:
            return None
        slopes = [slope(self.widths, sizes) for sizes in zip(*found, strict=True)]
        return Slope(fmean(slopes), stdev(slopes) / math.sqrt(len(slopes)))

    @cached_property
    def judged(self) -> Slope | None:
        """The slope that has to be flat: at the start of the activation, later of its change since then."""
        return self.slope_of("change" if self.step else "activation")

    def _by_width(self, field: str) -> list[list[float]] | None:
        found = [[getattr(one, field) for one in seeds] for seeds in self.sizes]
        return None if found[0][0] is None else found

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        document: dict[str, Any] = {"step": self.step, "widths": self.widths}
        for field in Sizes._fields:
            fitted = self.slope_of(field)
            document[field] = self.of(field)
            document[f"{field}_slope"] = None if fitted is None else fitted.value
            document[f"{field}_standard_error"] = None if fitted is None else fitted.standard_error
        return document


@dataclass(frozen=True)
class Row:
    """One activation under one parametrisation and one way to grow, at the start and after every step."""

    parametrization: Parametrization
    growth: Growth
    place: Place
    steps: tuple[Measured, ...]

    @cached_property
    def largest(self) -> Measured:
        """The step whose slope is farthest from 0; the start where nothing has a slope."""
        return max(self.steps, key=lambda m: abs(m.judged.value) if m.judged else -1.0)

    @property
    def slope(self) -> float:
        """The slope farthest from 0."""
        return self.largest.judged.value if self.largest.judged else 0.0

    def verdict(self, tolerance: float) -> str:
        """Of all steps together.

        `flat`: every slope and its standard error together are within the tolerance; `grows`, `shrinks`: the
        largest slope exceeds it; `unclear`: the seeds differ too much; `unchanged`: training has no effect.
        """
        if not any(m.judged for m in self.steps[1:]):
            return "unchanged"
        if abs(self.slope) > tolerance:
            return "grows" if self.slope > 0 else "shrinks"
        flat = all(abs(s.value) + s.standard_error <= tolerance for m in self.steps if (s := m.judged))
        return "flat" if flat else "unclear"

    def __str__(self) -> str:
        """Where and when the slope is largest."""
        step = f"step {self.largest.step}" if self.largest.step else "at the start"
        return f"{self.place}, {self.growth} growing, {step}"


@dataclass(frozen=True)
class CoordinateCheck:
    """The measurements, and the largest slope that is called flat."""

    base_width: int
    widths: tuple[int, ...]
    seeds: int
    tolerance: float
    rows: tuple[Row, ...]

    def layers(self) -> list[str]:
        """The kinds of activations that the model has."""
        return sorted({row.place.layer for row in self.rows}, key=LAYERS.index)

    def parametrizations(self) -> list[Parametrization]:
        """Those that were trained."""
        return list(dict.fromkeys(row.parametrization for row in self.rows))

    def of(self, parametrization: Parametrization, layer: str | None = None) -> list[Row]:
        """Both ways to grow, every depth, of one kind of activation or of all."""
        return [
            row
            for row in self.rows
            if row.parametrization == parametrization and layer in (None, row.place.layer)
        ]

    def largest(self, parametrization: Parametrization, layer: str | None = None) -> Row:
        """The row with the slope farthest from 0."""
        return max(self.of(parametrization, layer), key=lambda row: abs(row.slope))

    def verdict(self, parametrization: Parametrization, layer: str) -> str:
        """`flat` if all rows are; otherwise the verdict of the worst."""
        found = [row.verdict(self.tolerance) for row in self.of(parametrization, layer)]
        worst = self.largest(parametrization, layer).verdict(self.tolerance)
        return worst if worst in ("grows", "shrinks") else next((v for v in found if v != "flat"), "flat")

    def not_flat(self, parametrization: Parametrization) -> list[str]:
        """The kinds of activations that depend on the width, or cannot be said not to."""
        return [layer for layer in self.layers() if self.verdict(parametrization, layer) != "flat"]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        kinds = self.parametrizations()
        return {
            "base_width": self.base_width,
            "widths": self.widths,
            "seeds": self.seeds,
            "tolerance": self.tolerance,
            "verdict": {
                kind: {"flat": not self.not_flat(kind), "not_flat": self.not_flat(kind)} for kind in kinds
            },
            "largest": {kind: _placed(self.largest(kind)) for kind in kinds},
            "layers": [
                {
                    "parametrization": row.parametrization,
                    **_placed(row),
                    "verdict": row.verdict(self.tolerance),
                    "steps": [m.as_dict() for m in row.steps],
                }
                for row in self.rows
            ],
        }


def _placed(row: Row) -> dict[str, Any]:
    """The largest slope of a row and its place."""
    found = row.largest.judged
    return {
        "layer": row.place.layer,
        "stack": row.place.stack or None,
        "depth": row.place.depth or None,
        "growth": row.growth,
        "slope": row.slope,
        "standard_error": None if found is None else found.standard_error,
        "step": row.largest.step,
    }


def _geometric_mean(sizes: Sequence[float]) -> float:
    return math.exp(fmean(map(math.log, sizes))) if min(sizes) > 0 else 0.0


def slope(widths: Sequence[int], sizes: Sequence[float]) -> float:
    """Least-squares slope of log size against log width."""
    return float(np.polyfit(np.log(widths), np.log(sizes), 1)[0])


def check_coordinates(
    run: RunConfig,
    widths: Sequence[int] = (),
    steps: int = 5,
    tolerance: float = 0.2,
    say: Callable[[str, float], None] = lambda text, share: None,
    *,
    seeds: int = 4,
    grow: Sequence[Growth] = GROWTHS,
) -> CoordinateCheck:
    """Train a run's model at several widths for a few steps, standard and muP, on the same batches.

    Args:
        run: its model is the base, unless it names a `base_width`; the learning rate is its own, with no
            warm-up. The feed-forward and the features of all heads together keep their ratio to the width.
        widths: at least two; None of them takes 1, 2 and 4 times the base.
        steps: optimizer steps.
        tolerance: the largest slope that is called flat.
        say: called with the model that is being trained and the share of the models that is done.
        seeds: at least two: of the initial weights, from the run's own seed on, each with its own batches.
        grow: what grows with the width: `heads`, the number of heads; `d_head`, the width of each, without
            which the multiplier of attention scores has no effect.

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
    if seeds < 2:
        raise BadInputError(f"--seeds {seeds}: give at least 2; the error of a slope is that over seeds")
    kinds: tuple[Parametrization, ...] = get_args(Parametrization)
    cases = list(itertools.product(kinds, grow, widths))
    runs = {case: _at(run, *case, base) for case in cases}
    found = _measured(runs, steps, seeds, say)
    rows = []
    for kind, growth in itertools.product(kinds, grow):
        by_width = [found[kind, growth, width] for width in widths]
        for place in sorted(by_width[0][0][0], key=lambda place: place.order):
            measured = tuple(
                Measured(step, widths, tuple(tuple(seed[step][place] for seed in one) for one in by_width))
                for step in range(steps + 1)
            )
            rows.append(Row(kind, growth, place, measured))
    return CoordinateCheck(base, widths, seeds, tolerance, tuple(rows))


Case = tuple[Parametrization, Growth, int]


def _measured(
    runs: dict[Case, RunConfig], steps: int, seeds: int, say: Callable[[str, float], None]
) -> dict[Case, list[list[dict[Place, Sizes]]]]:
    """Of each run a list per seed of sizes by step. Runs that are equal, as at the base, are trained once."""
    first = next(iter(runs.values()))
    inputs = open_inputs(first, make_mesh(first.mesh), Silent())
    try:
        looked_at = next(iter(inputs.validation[0].batches))
        drawn = list(itertools.islice(inputs.batches, seeds * steps))
    finally:
        inputs.batches.close()
    batches = [drawn[i * steps : (i + 1) * steps] for i in range(seeds)]
    numbers = [first.train.seed + i for i in range(seeds)]
    known: dict[str, list[list[dict[Place, Sizes]]]] = {}
    for done, ((kind, growth, width), run) in enumerate(runs.items()):
        say(f"{kind}, {growth} growing, width {width}", done / len(runs))
        if run.id() not in known:
            known[run.id()] = list(sizes_in_training(run, numbers, batches, looked_at))
            for step, sizes in itertools.chain.from_iterable(map(enumerate, known[run.id()])):
                _check_finite(sizes, f"{kind} at width {width} is not finite after {step} steps", run)
    return {case: known[run.id()] for case, run in runs.items()}


def _check_finite(sizes: dict[Place, Sizes], what: str, run: RunConfig) -> None:
    for place, found in sizes.items():
        if not math.isfinite(found.activation) or not math.isfinite(found.change):
            raise BadInputError(
                f"train.learning_rate={run.train.learning_rate}: {place} of {what}; give a smaller one"
            )


def _at(run: RunConfig, kind: Parametrization, growth: Growth, width: int, base: int) -> RunConfig:
    """The run at another width: unrolled, in float32, on one device, in small batches."""
    model = run.model
    assert isinstance(model, TransformerConfig)
    heads, d_head = _heads(model, growth, width, base)
    tree = run.model_dump(exclude={"mesh"})
    tree["model"] |= {
        "d_model": width,
        "n_heads": heads,
        "d_head": d_head,
        "d_ff": max(1, round(model.d_ff * width / model.d_model)),
        "parametrization": kind,
        "scan_layers": False,
        "remat": "none",
        "dropout": 0.0,
        "param_dtype": "float32",
        "compute_dtype": "float32",
    }
    groups = getattr(model, "n_kv_heads", None)
    if groups is not None:
        tree["model"]["n_kv_heads"] = max(1, groups * heads // model.n_heads)
    if getattr(model, "embedding_size", None) == model.d_model:
        tree["model"]["embedding_size"] = None
    if kind == "mup":
        tree["model"] |= {"base_width": base, "base_d_head": model.base_d_head or model.d_head}
    else:
        tree["model"] |= {"base_width": None, "base_d_head": None, "base_depth": None}
    length = run.data.sequence_length
    tree["data"] |= {"max_epochs": None}
    tree["train"] |= {"batch_tokens": _ROWS * length, "accumulation": 1, "tokens": None, "steps": 1}
    tree["train"] |= {"branches": (), "batch_warmup_tokens": 0, "batch_warmup_start": None}
    checked: RunConfig = validate(RunConfig, tree, f"width {width}")
    return checked


def _heads(model: TransformerConfig, growth: Growth, width: int, base: int) -> tuple[int, int]:
    """Number and width of the heads, whose features together keep their ratio to the width."""
    base_d_head = model.base_d_head or model.d_head
    at = width if growth == "heads" else base
    heads, rest = divmod(at * model.n_heads * model.d_head, model.d_model * base_d_head)
    if rest or not heads:
        raise BadInputError(f"width {at} does not divide into heads of model.d_head={base_d_head}")
    if growth == "heads":
        return heads, base_d_head
    if base_d_head * width % base:
        raise BadInputError(
            f"width {width}: heads of {base_d_head * width / base:g} features, from {base_d_head} at width "
            f"{base}; give multiples of {base // math.gcd(base, base_d_head)}, or --grow heads"
        )
    return heads, base_d_head * width // base
