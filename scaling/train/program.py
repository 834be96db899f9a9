"""The compiled program of one run, or of a stack of runs of one shape, and the states that it changes.

A stack trains in one program by `jax.vmap` over an axis `run`, which the mesh splits where it has devices to
spare. Where steps are short, the program takes several of them per dispatch, in a loop with a count that is
an argument: whatever steps a dispatch ends at, the same program computed them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from scaling.config.mesh import DEFAULT_RULES, RUN_AXIS, Rules
from scaling.config.run import RunConfig
from scaling.estimate.counts import run_flops_per_token
from scaling.parallel.compiler_options import compiler_options
from scaling.parallel.mesh import make_mesh
from scaling.train.step import TrainState, TrainStep

Arrays = dict[str, np.ndarray]

# FLOPs per dispatch that steps are gathered up to, and the most steps. On CPU from benchmarks/stacked.py; an
# accelerator does so much in about a millisecond, several times what a dispatch takes.
_FLOPS_AT_ONCE = {"cpu": 4e9, "gpu": 1e11, "tpu": 1e11}
_MOST_AT_ONCE = 16


def steps_at_once(run: RunConfig, platform: str, runs: int = 1) -> int:
    """Steps per dispatch of so many runs together: 1 unless a step is short."""
    flops = runs * run_flops_per_token(run) * run.train.batch_tokens
    return int(max(1, min(_MOST_AT_ONCE, _FLOPS_AT_ONCE.get(platform, 0.0) // flops)))


# What enters a program as an argument, or stays outside it; everything else of `train` is compiled in.
_ARGUMENTS = {
    "tokens", "steps", "branches", "learning_rate", "schedule", "warmup_steps", "final_lr_fraction",
    "cooldown_fraction", "eval_every", "eval_tokens", "log_every", "checkpoint_every", "keep_checkpoints",
    "spikes", "seed",
}  # fmt: skip


def program_key(run: RunConfig) -> str:
    """Runs with the same key train by the same program."""
    tree = {
        "model": run.model.model_dump(mode="json", exclude={"name"}),
        "train": run.train.model_dump(mode="json", exclude=_ARGUMENTS),
        "mesh": run.mesh.model_dump(mode="json"),
        "arrays": run.batch_arrays(),
    }
    return json.dumps(tree, sort_keys=True)


@dataclass(frozen=True)
class Steps:
    """A run's request for up to `most` steps with batches of `rows` rows.

    `take(n)` gives the batches, learning rates and numbers of the next n of them.
    """

    most: int
    rows: int
    number: int
    seed: int
    take: Callable[[int], tuple[Sequence[Arrays], Sequence[float], Sequence[int]]]


@dataclass(frozen=True)
class Evaluation:
    """A run's request for the summed losses of a validation batch."""

    batch: Arrays


Request = Steps | Evaluation


class Values:
    """Scalars of all runs of a dispatch, fetched from the device once."""

    def __init__(self, arrays: Mapping[str, jax.Array]) -> None:
        self._arrays = arrays

    @cached_property
    def fetched(self) -> Mapping[str, np.ndarray]:
        """The arrays; waits for the dispatch to end."""
        return jax.device_get(self._arrays)


@dataclass(frozen=True)
class Answer:
    """What one run receives for a request: `count` steps were taken, or one batch was evaluated."""

    count: int
    values: Values
    at: tuple[int | slice, ...]

    def read(self) -> list[dict[str, float]]:
        """The scalars of each step by name; waits for the dispatch to end."""
        columns = {name: np.atleast_1d(x[self.at]).tolist() for name, x in self.values.fetched.items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


class Program:
    """The compiled functions of `lanes` runs of one shape at once, and their states.

    Raises:
        BadInputError: the mesh does not fit the devices.
    """

    def __init__(self, run: RunConfig, lanes: int = 1, rules: Rules = DEFAULT_RULES) -> None:
        self.key, self.lanes = program_key(run), lanes
        self.mesh: Mesh = make_mesh(run.mesh, runs=lanes)
        self.functions = TrainStep(run, self.mesh, rules)
        self.at_once = steps_at_once(run, self.mesh.devices.flat[0].platform, lanes)
        self._compiled: set[Any] = set()
        self._state: TrainState | None = None
        shardings = self.functions.state_shardings
        everywhere = NamedSharding(self.mesh, PartitionSpec())
        if lanes > 1:
            shardings = jax.tree.map(self._stacked_sharding, shardings)
        self._shardings = shardings
        options = compiler_options(self.mesh.devices.flat[0])
        self._step = jax.jit(
            self._steps,
            in_shardings=(shardings, *[None] * 6),
            out_shardings=(shardings, everywhere),
            donate_argnums=0,
            compiler_options=options,
        )
        self._evaluate_all = jax.jit(
            jax.vmap(self.functions.evaluate_batch, spmd_axis_name=RUN_AXIS),
            in_shardings=(shardings.model, None),
            out_shardings=everywhere,
            compiler_options=options,
        )
        self._take = jax.jit(
            lambda state, lane: jax.tree.map(lambda x: x[lane], state),
            out_shardings=self.functions.state_shardings,
        )
        self._put = jax.jit(
            lambda state, lane, one: jax.tree.map(lambda x, y: x.at[lane].set(y), state, one),
            out_shardings=shardings,
            donate_argnums=0,
        )

    @property
    def stacked(self) -> bool:
        """Whether there is a run axis."""
        return self.lanes > 1

    @property
    def ways(self) -> int:
        """Groups of devices that split the run axis."""
        return int(self.mesh.shape.get(RUN_AXIS, 1))

    @property
    def devices_of_a_run(self) -> int:
        """Devices that each run is computed on."""
        return self.mesh.size // self.ways

    def _stacked_sharding(self, sharding: NamedSharding) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec(RUN_AXIS, *sharding.spec))

    # -- states ----------------------------------------------------------------------------------------

    def get(self, lane: int) -> TrainState:
        """The state of a run, laid out as that of a run alone."""
        assert self._state is not None
        return self._take(self._state, lane) if self.stacked else self._state

    def put(self, lane: int, state: TrainState) -> None:
        """Replace the state of a run."""
        if not self.stacked:
            self._state = state
            return
        if self._state is None:
            self._state = jax.jit(self._zeros, out_shardings=self._shardings)()
        self._state = self._put(self._state, lane, state)

    def _zeros(self) -> TrainState:
        return jax.tree.map(
            lambda leaf: jnp.zeros((self.lanes, *leaf.shape), leaf.dtype), self.functions.abstract_state
        )

    def drop(self) -> None:
        """Free the states."""
        self._state = None

    # -- steps -----------------------------------------------------------------------------------------

    def is_new(self, request: Request) -> bool:
        """Whether this request will compile first."""
        return isinstance(request, Steps) and request.rows not in self._compiled

    def step(self, requests: Mapping[int, Steps]) -> dict[int, Answer]:
        """Take steps of the runs in some lanes, which request batches of one shape; the others stay as they
        are. All take the same number of steps: the most that none of them exceeds."""
        count = min(self.at_once, *(request.most for request in requests.values()))
        taken = {lane: request.take(count) for lane, request in requests.items()}
        some = next(iter(taken.values()))  # idle lanes compute with these, and the result is dropped
        lanes = [taken.get(lane, some) for lane in range(self.lanes)]
        batches = self._batches([batches for batches, _, _ in lanes], count)
        rates = self._scalars([rates for _, rates, _ in lanes], count, np.float32)
        numbers = self._scalars([numbers for _, _, numbers in lanes], count, np.int32)
        request = next(iter(requests.values()))
        seeds = [requests.get(lane, request).seed & 0xFFFFFFFF for lane in range(self.lanes)]
        seed = np.array(seeds if self.stacked else seeds[0], np.uint32)
        active = np.array([lane in requests for lane in range(self.lanes)])
        self._state, metrics = self._step(self._state, batches, rates, numbers, seed, active, np.int32(count))
        self._compiled.add(request.rows)
        values = Values(metrics)
        at = (slice(0, count),) if self.at_once > 1 else ()
        return {lane: Answer(count, values, (*at, lane) if self.stacked else at) for lane in requests}

    def _batches(self, lanes: list[Sequence[Arrays]], count: int) -> Any:
        """Batches by lane and step as arrays ([step,] [run,] B, ...)."""
        leading = ((None,) if self.at_once > 1 else ()) + ((RUN_AXIS,) if self.stacked else ())
        if not leading:
            return self.functions.place(lanes[0][0])
        stacked = {}
        for name, first in lanes[0][0].items():
            x = np.zeros((self.at_once, self.lanes, *first.shape), first.dtype)
            for lane, batches in enumerate(lanes):
                for step in range(count):
                    x[step, lane] = batches[step][name]
            x = x if self.stacked else x[:, 0]
            stacked[name] = x if self.at_once > 1 else x[0]
        return self.functions.place(stacked, leading)

    def _scalars(self, lanes: list[Sequence[float]], count: int, dtype: Any) -> np.ndarray:
        x = np.zeros((self.at_once, self.lanes), dtype)
        x[:count] = np.array([values[:count] for values in lanes], dtype).T
        x = x if self.stacked else x[:, 0]
        return x if self.at_once > 1 else x[0]

    def _steps(
        self, state: TrainState, batches: Any, rates: Any, numbers: Any, seeds: Any, active: Any, count: Any
    ) -> tuple[TrainState, Any]:
        """`count` steps; metrics are ([step,] [run,])."""

        def one(state: TrainState, batch: Any, rate: Any, number: Any) -> tuple[TrainState, Any]:
            if not self.stacked:
                return self.functions.advance(state, batch, rate, number, seeds)
            each = jax.vmap(self.functions.advance, spmd_axis_name=RUN_AXIS)
            new, metrics = each(state, batch, rate, number, seeds)

            def kept(new: jax.Array, old: jax.Array) -> jax.Array:
                return jnp.where(active.reshape(-1, *[1] * (new.ndim - 1)), new, old)

            return jax.tree.map(kept, new, state), metrics

        if self.at_once == 1:
            return one(state, batches, rates, numbers)

        def at(step: Any) -> Any:
            return jax.tree.map(lambda x: x[step], (batches, rates, numbers))

        like = jax.eval_shape(lambda state: one(state, *at(0))[1], state)
        metrics = jax.tree.map(lambda x: jnp.zeros((self.at_once, *x.shape), x.dtype), like)

        def body(step: Any, carry: tuple[TrainState, Any]) -> tuple[TrainState, Any]:
            state, metrics = carry
            state, values = one(state, *at(step))
            return state, jax.tree.map(lambda x, y: x.at[step].set(y), metrics, values)

        return jax.lax.fori_loop(0, count, body, (state, metrics))

    def evaluate(self, requests: Mapping[int, Evaluation]) -> dict[int, Answer]:
        """`nll_sum` and `weight_sum` of a validation batch of each of some runs."""
        assert self._state is not None
        if self.stacked and len(requests) > self.lanes // 2:
            some = next(iter(requests.values()))
            batches = [requests.get(lane, some).batch for lane in range(self.lanes)]
            if len({tuple(x.shape for x in batch.values()) for batch in batches}) == 1:
                stacked = {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}
                sums = self._evaluate_all(self._state.model, self.functions.place(stacked, (RUN_AXIS,)))
                values = Values(sums)
                return {lane: Answer(1, values, (lane,)) for lane in requests}
        place, evaluate = self.functions.place, self.functions.evaluate
        return {
            lane: Answer(1, Values(evaluate(self.get(lane).model, place(request.batch))), ())
            for lane, request in requests.items()
        }


class Programs:
    """The program that runs used last, kept for the next run of the same shape."""

    def __init__(self) -> None:
        self._last: Program | None = None

    def of(self, run: RunConfig, lanes: int = 1) -> Program:
        """The program of a run; its states are free."""
        last = self._last
        if last is None or (last.key, last.lanes) != (program_key(run), lanes):
            if last is not None:
                self._last = last = None
                jax.clear_caches()  # programs of another shape are not used again
            self._last = last = Program(run, lanes)
        last.drop()
        return last
