"""The train step: the same compiled function for training, dry runs and benchmarks."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from scaling.config.mesh import DEFAULT_RULES, Rules
from scaling.config.run import RunConfig
from scaling.models.build import new_model
from scaling.models.cross_entropy import cross_entropy
from scaling.models.language_model import Batch, LanguageModel
from scaling.parallel.compiler_options import compiler_options
from scaling.parallel.mesh import batch_sharding, batch_share, placed, shardings
from scaling.train.optimizers import make_optimizer

Metrics = dict[str, jax.Array]

_TOKEN_SUMS = ("nll_sum", "z_sum", "weight_sum")


class TrainState(NamedTuple):
    """What an optimizer step changes."""

    model: LanguageModel
    optimizer: Any


def loss_sum(
    model: LanguageModel,
    batch: Batch,
    *,
    z_loss: float,
    chunk: int | None,
    dropout_key: jax.Array | None = None,
) -> tuple[jax.Array, Metrics]:
    """Summed loss of a batch in nats, with `nll_sum`, `weight_sum` (tokens of loss), and the model's further
    terms times `weight_sum`."""
    terms = model.terms(batch, dropout_key)
    total, sums = cross_entropy(
        terms.x_BLD,
        model.head_VD(),
        terms.targets_BL,
        terms.weights_BL,
        bias_V=model.head_bias_V(),
        z_loss=z_loss,
        chunk=chunk,
    )
    extra = {name: sums["weight_sum"] * loss for name, loss in terms.auxiliary.items()}
    seen = {name: sums["weight_sum"] * value for name, value in terms.observed.items()}
    return total + sum(extra.values()), sums | extra | seen


def _microbatches(batch: Batch, count: int) -> Batch:
    """(B, L) to (count, B / count, L), taking every count-th row so that no row changes its device."""
    return {
        name: jnp.swapaxes(x.reshape(x.shape[0] // count, count, *x.shape[1:]), 0, 1)
        for name, x in batch.items()
    }


def new_state(run: RunConfig, seed: jax.Array | int) -> TrainState:
    """A fresh state. Trace it: under `jax.eval_shape` for shapes, under `jax.jit` to lay it out."""
    model = new_model(run.model, jax.random.key(seed))
    return TrainState(model, make_optimizer(run.train, run.model).init(model))


def abstract_state(run: RunConfig) -> TrainState:
    """The shapes and types of a run's state, without making it."""
    return jax.eval_shape(partial(new_state, run), 0)


class TrainStep:
    """The compiled functions of a run on a mesh: `init`, `step` and `evaluate`.

    - `init(seed)`: a new TrainState, created with its final sharding.
    - `step(state, batch, learning_rate, number)`: the next state and metrics; the old state is donated.
      `number` seeds dropout, so a resumed run draws the same numbers as an uninterrupted one.
    - `evaluate(model, batch)`: `nll_sum` and `weight_sum`.

    Batches come from `place`.
    """

    def __init__(self, run: RunConfig, mesh: Mesh, rules: Rules = DEFAULT_RULES) -> None:
        self.run, self.mesh, self.rules = run, mesh, rules
        self.optimizer = make_optimizer(run.train, run.model)
        self.abstract_state = abstract_state(run)
        self.state_shardings = shardings(self.abstract_state, mesh, rules)
        everywhere = NamedSharding(mesh, PartitionSpec())
        # Initialisation runs once: on CPU, optimising its random draws takes longer than drawing.
        hasty = {"xla_backend_optimization_level": 0} if mesh.devices.flat[0].platform == "cpu" else None
        self.init: Callable[[int], TrainState] = jax.jit(
            partial(new_state, run), out_shardings=self.state_shardings, compiler_options=hasty
        )
        options = compiler_options(mesh.devices.flat[0])
        self.step = jax.jit(
            self.advance,
            in_shardings=(self.state_shardings, None, None, None),
            out_shardings=(self.state_shardings, everywhere),
            donate_argnums=0,
            compiler_options=options,
        )
        self.evaluate = jax.jit(
            self.evaluate_batch,
            in_shardings=(self.state_shardings.model, None),
            out_shardings=everywhere,
            compiler_options=options,
        )

    def _gradients(self, model: LanguageModel, batch: Batch, key: jax.Array) -> tuple[LanguageModel, Metrics]:
        """Gradients of the summed loss, and the sums, over the microbatches of a batch."""
        train = self.run.train
        dropout = self.run.model.dropout > 0

        def of(model: LanguageModel, microbatch: Batch, key: jax.Array) -> tuple[LanguageModel, Metrics]:
            function = jax.grad(loss_sum, has_aux=True)
            return function(
                model,
                microbatch,
                z_loss=train.z_loss,
                chunk=train.loss_chunk,
                dropout_key=key if dropout else None,
            )

        if train.accumulation == 1:
            return of(model, batch, key)
        microbatches = _microbatches(batch, train.accumulation)
        keys = jax.random.split(key, train.accumulation)
        like = jax.eval_shape(of, model, jax.tree.map(lambda x: x[0], microbatches), key)

        def body(total: Any, one: tuple[Batch, jax.Array]) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, of(model, *one)), None

        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
        return jax.lax.scan(body, zeros, (microbatches, keys))[0]

    def advance(
        self,
        state: TrainState,
        batch: Batch,
        learning_rate: jax.Array,
        number: jax.Array,
        seed: jax.Array | None = None,
    ) -> tuple[TrainState, Metrics]:
        """`step`, to be traced; `seed` replaces the run's."""
        train = self.run.train
        key = jax.random.fold_in(jax.random.key(train.seed if seed is None else seed), number)
        with placed(self.mesh, self.rules, self.run.mesh.parts):
            gradients, sums = self._gradients(state.model, batch, key)
        # A weighted mean over the complete batch, whatever the microbatches and devices.
        scale = 1.0 / jnp.maximum(sums["weight_sum"], 1.0)
        norm = optax.global_norm(gradients) * scale
        if train.clip_norm is not None:
            scale = scale * jnp.minimum(1.0, train.clip_norm / jnp.maximum(norm, 1e-12))
        gradients = jax.tree.map(lambda g: g * scale.astype(g.dtype), gradients)
        updates, optimizer = self.optimizer.update(gradients, state.optimizer, state.model)
        model = jax.tree.map(
            lambda p, u: (p + learning_rate * u.astype(jnp.float32)).astype(p.dtype), state.model, updates
        )
        weight = jnp.maximum(sums["weight_sum"], 1.0)
        extra = {name: sums[name] / weight for name in sums if name not in _TOKEN_SUMS}
        metrics = {"loss": sums["nll_sum"] / weight, "grad_norm": norm, **extra}
        return TrainState(model, optimizer), metrics

    def evaluate_batch(self, model: LanguageModel, batch: Batch) -> Metrics:
        """`evaluate`, to be traced."""
        with placed(self.mesh, self.rules, self.run.mesh.parts):
            sums = loss_sum(model, batch, z_loss=0.0, chunk=self.run.train.loss_chunk)[1]
        return {name: sums[name] for name in ("nll_sum", "weight_sum")}

    def place(self, batch: dict[str, Any], leading: tuple[str | None, ...] = ()) -> Batch:
        """This process's share of a batch, put on its devices of the mesh.

        Arrays have `leading` axes before their rows, split over the mesh axes of these names.
        """
        alone = jax.process_count() == 1
        index, count = (0, 1) if alone else batch_share(self.mesh, self.rules)
        rows = len(leading)

        def global_array(x: Any) -> jax.Array:
            shape = (*x.shape[:rows], count * x.shape[rows], *x.shape[rows + 1 :])
            spec = batch_sharding(shape[rows:], self.mesh, self.rules).spec
            where = NamedSharding(self.mesh, PartitionSpec(*leading, *spec))

            def part(at: Any) -> Any:
                start, stop, _ = at[rows].indices(shape[rows])
                first = index * x.shape[rows]
                return x[(*at[:rows], slice(start - first, stop - first), *at[rows + 1 :])]

            return jax.device_put(x, where) if alone else jax.make_array_from_callback(shape, where, part)

        return {name: global_array(x) for name, x in batch.items()}
