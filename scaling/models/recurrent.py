"""Gated recurrent units, and scans over time whose weight gradients are formed at once.

Where a step of a scan multiplies its state with weights, autodiff adds one weight gradient a step to a
running sum. Each such product is itself added to something that the scan reads, though: the gradient of what
is read is the gradient of the product, and that of the weights is one product over all positions.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

Columns = dict[str, tuple[int, int]]
Weights = dict[str, Array]
# (sums, others, weights, fixed) to (outputs, what each of the weights was multiplied with).
Scan = Callable[[Array, Any, Weights, Any], tuple[Any, Weights]]


def weights_outside(scan: Scan, columns: Columns) -> Callable[[Array, Any, Weights, Any], Any]:
    """`scan` without its second result, and with each weight gradient in one product.

    Args:
        scan: `sums` (L, B, S) is what products are added to, `others` are further arrays that want gradients,
            `weights` matrices (K, N) that nothing else uses, `fixed` gets no gradient. The second result has
            for each matrix what it was multiplied with at every step, (L, B, K), in the compute type.
        columns: the first column of `sums` that the product of each matrix is added to, and that after its
            last.
    """

    @jax.custom_vjp
    def wrapped(sums: Array, others: Any, weights: Weights, fixed: Any) -> Any:
        return scan(sums, others, weights, fixed)[0]

    def forward(sums: Array, others: Any, weights: Weights, fixed: Any) -> tuple[Any, Any]:
        def read(sums: Array, others: Any) -> tuple[Any, Weights]:
            return scan(sums, others, weights, fixed)

        outputs, pull_back, multiplied = jax.vjp(read, sums, others, has_aux=True)
        return outputs, (pull_back, multiplied, weights)

    def backward(saved: Any, doutputs: Any) -> tuple[Array, Any, Weights, None]:
        pull_back, multiplied, weights = saved
        dsums_LBS, dothers = pull_back(doutputs)

        def gradient(name: str) -> Array:
            dproduct_LBN = dsums_LBS[..., slice(*columns[name])]
            dkernel_KN = jnp.einsum(
                "LBK,LBN->KN", multiplied[name], dproduct_LBN, preferred_element_type=jnp.float32
            )
            return dkernel_KN.astype(weights[name].dtype)

        return dsums_LBS, dothers, {name: gradient(name) for name in weights}, None

    wrapped.defvjp(forward, backward)
    return wrapped


def product(x: Array, kernel_KN: Array) -> Array:
    """x @ kernel in fp32."""
    return jnp.matmul(x, kernel_KN, preferred_element_type=jnp.float32)


def gru_step(sums_BG: Array, s_BD: Array, weights: Weights) -> tuple[Array, Weights]:
    """The next state of a gated recurrent unit (Cho et al. 2014; Bahdanau et al. 2014, appendix A.1.1).

    Args:
        sums_BG: G = 3 D: what reset gate, update gate and candidate get besides the state; fp32.
        s_BD: the state, fp32.
        weights: `gates` (D, 2 D) and `candidate` (D, D), in the compute type.

    Returns:
        The state, fp32, and what the two matrices were multiplied with.
    """
    D, dtype = s_BD.shape[1], weights["gates"].dtype
    state_BD = s_BD.astype(dtype)
    gates_BG = jax.nn.sigmoid(sums_BG[:, : 2 * D] + product(state_BD, weights["gates"]))
    reset_BD, update_BD = gates_BG[:, :D], gates_BG[:, D:]
    kept_BD = (reset_BD * s_BD).astype(dtype)
    candidate_BD = jnp.tanh(sums_BG[:, 2 * D :] + product(kept_BD, weights["candidate"]))
    return s_BD + update_BD * (candidate_BD - s_BD), {"gates": state_BD, "candidate": kept_BD}


def split_state(state_DG: Array) -> Weights:
    """The recurrent weights of a unit (D, 3 D) as `gru_step` takes them."""
    D = state_DG.shape[0]
    return {"gates": state_DG[:, : 2 * D], "candidate": state_DG[:, 2 * D :]}


def gru_columns(D: int) -> Columns:
    """Where the products of a unit's recurrent weights are added."""
    return {"gates": (0, 2 * D), "candidate": (2 * D, 3 * D)}


def gru(sums_LBG: Array, state_DG: Array, real_LB: Array | None, *, reverse: bool = False) -> Array:
    """States (L, B, D) of a unit that starts from zero at the first position, or with `reverse` at the last.

    `sums_LBG` is as in `gru_step`, in the compute type; where `real_LB` is false the state stays as it was.
    """
    D, dtype = state_DG.shape[0], sums_LBG.dtype

    def scan(sums_LBG: Array, _: Any, weights: Weights, real_LB: Array | None) -> tuple[Array, Weights]:
        def step(s_BD: Array, each: tuple[Array, Array | None]) -> tuple[Array, tuple[Array, Weights]]:
            sums_BG, real_B = each
            next_BD, multiplied = gru_step(sums_BG.astype(jnp.float32), s_BD, weights)
            if real_B is not None:
                next_BD = jnp.where(real_B[:, None], next_BD, s_BD)
            return next_BD, (next_BD.astype(dtype), multiplied)

        start_BD = jnp.zeros((sums_LBG.shape[1], D), jnp.float32)
        return jax.lax.scan(step, start_BD, (sums_LBG, real_LB), reverse=reverse)[1]

    return weights_outside(scan, gru_columns(D))(sums_LBG, None, split_state(state_DG), real_LB)
