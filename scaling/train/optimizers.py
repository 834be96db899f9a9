"""Optimizers from optax, built for a learning rate of 1: the step scales their updates by the schedule."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from optax.contrib import MuonDimensionNumbers, muon

from scaling.config.model import ModelConfig
from scaling.config.train import OPTIMIZERS, OptimizerName, TrainConfig


def _map_parameters(function: Any, model: nnx.Module) -> Any:
    """`function(parameter)` at every parameter of a module, in a tree of the module's shape."""
    return jax.tree.map(
        lambda leaf: leaf.replace(function(leaf)),
        model,
        is_leaf=lambda node: isinstance(node, nnx.Variable),
    )


def is_matrix(parameter: nnx.Variable) -> bool:
    """Whether a parameter multiplies the width: weights and embeddings, not biases or norm scales."""
    axes = parameter.get_metadata("axes")
    return len(axes) >= 2 and "embed" in axes


def decay_mask(model: nnx.Module) -> Any:
    """True at the parameters that weight decay applies to: matrices and embeddings."""
    return _map_parameters(is_matrix, model)


def _muon_dimensions(model: nnx.Module) -> Any:
    """Which axes of each hidden matrix go in and which come out; None leaves a parameter to AdamW.

    Embeddings and the head stay with AdamW (Jordan et al. 2024). Stacked layers lead with a batch axis, and
    so do experts.
    """

    def of(parameter: nnx.Variable) -> MuonDimensionNumbers | None:
        axes = parameter.get_metadata("axes")
        if not is_matrix(parameter) or "vocab" in axes or "position" in axes:
            return None
        stacked = len(parameter.get_value().shape) - len(axes)
        first = 1 if axes[0] == "expert" else 0
        embed = axes.index("embed")
        inner = [i + stacked for i in range(first, len(axes)) if i != embed]
        into, out = ([embed + stacked], inner) if embed == first else (inner, [embed + stacked])
        return MuonDimensionNumbers(tuple(into), tuple(out))

    return _map_parameters(of, model)


def in_float32(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """`optimizer` with its state and arithmetic in float32, whatever the type of the parameters.

    In bfloat16 a moment with decay 0.999 never moves: its changes round to nothing.
    """

    def wide(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tree)

    def update(gradients: Any, state: Any, parameters: Any = None) -> tuple[Any, Any]:
        return optimizer.update(wide(gradients), state, None if parameters is None else wide(parameters))

    return optax.GradientTransformation(lambda parameters: optimizer.init(wide(parameters)), update)


def learning_rate_multiplier(optimizer: OptimizerName, width_ratio: float, parameter: nnx.Variable) -> float:
    """What muP multiplies a parameter's learning rate by at `width_ratio` times the base width.

    A hidden matrix, from one axis that grows with the width to another, has 1 / ratio of the base's under
    optimizers whose updates have entries of one size: AdamW, Lion, Adafactor (Yang et al. 2022,
    arXiv:2203.03466, table 8). Muon's updates have all their singular values alike, so that entries of that
    size make a spectral norm that grows with sqrt(width) in place of the width; the norm it should have is
    sqrt(out / in) (Yang et al. 2023, arXiv:2310.17813, condition 1), which 1 / sqrt(ratio) restores.
    Embeddings, heads, routers, biases and norm scales have the base's rate.
    """
    axes = parameter.get_metadata("axes")
    if "embed" not in axes or not {"mlp", "heads"} & set(axes):
        return 1.0
    return width_ratio**-0.5 if OPTIMIZERS[optimizer].newton_schulz_steps else 1.0 / width_ratio


def make_optimizer(train: TrainConfig, model: ModelConfig) -> optax.GradientTransformation:
    """The optimizer of a config, in float32, without clipping and with a learning rate of 1.

    Weight decay is decoupled: the step multiplies it by the scheduled rate too (Loshchilov and Hutter 2019).
    muP's multipliers are of the update alone: every parameter decays at the base's rate times `weight_decay`
    at every width (Yang et al. 2022, appendix B.3; Wang and Aitchison 2024, arXiv:2405.13698).
    """
    if model.parametrization == "standard":
        return in_float32(UPDATES[train.optimizer](train))
    ratio = model.width_ratio
    # optax's Muon decays everything that it leaves to AdamW, biases and norm scales too.
    decays = None if train.optimizer == "muon" else decay_mask

    def scaled(updates: Any, state: Any, parameters: Any = None) -> tuple[Any, Any]:
        def of(update: nnx.Variable) -> jax.Array:
            factor = learning_rate_multiplier(train.optimizer, ratio, update)
            return update.get_value() if factor == 1.0 else update.get_value() * factor

        return _map_parameters(of, updates), state

    return in_float32(
        optax.chain(
            UPDATES[train.optimizer](train.model_copy(update={"weight_decay": 0.0})),
            optax.GradientTransformation(lambda parameters: optax.EmptyState(), scaled),
            optax.add_decayed_weights(-train.weight_decay, decays),
        )
    )


def _adamw(train: TrainConfig) -> optax.GradientTransformation:
    return _decoupled(train, optax.scale_by_adam(train.beta1, train.beta2, train.epsilon))


def _lion(train: TrainConfig) -> optax.GradientTransformation:
    return _decoupled(train, optax.scale_by_lion(train.beta1, train.beta2))


def _decoupled(train: TrainConfig, scale: optax.GradientTransformation) -> optax.GradientTransformation:
    """Descent along what `scale` makes of the gradient, with decoupled weight decay."""
    return optax.chain(scale, optax.add_decayed_weights(train.weight_decay, decay_mask), optax.scale(-1.0))


def _adafactor(train: TrainConfig) -> optax.GradientTransformation:
    return optax.adafactor(
        multiply_by_parameter_scale=False,
        weight_decay_rate=train.weight_decay or None,
        weight_decay_mask=decay_mask,
    )


def _muon(train: TrainConfig) -> optax.GradientTransformation:
    """Updates have a root mean square of 0.2 like AdamW's, so that one learning rate serves both (Liu et al.
    2025)."""
    return muon(
        1.0,
        beta=train.beta1,
        adam_b1=train.beta1,
        adam_b2=train.beta2,
        eps=train.epsilon,
        weight_decay=train.weight_decay,
        adam_weight_decay=train.weight_decay,
        weight_decay_mask=decay_mask,
        muon_weight_dimension_numbers=_muon_dimensions,
        consistent_rms=0.2,
    )


# The update of every optimizer of `scaling.config.train.OPTIMIZERS`, for a learning rate of 1.
UPDATES: dict[OptimizerName, Callable[[TrainConfig], optax.GradientTransformation]] = {
    "adamw": _adamw,
    "adafactor": _adafactor,
    "muon": _muon,
    "lion": _lion,
}
