"""What a functional form is: loss, or another target, as a function of parameters N, tokens D, compute C, ...

The fit works on `theta`, in which every term is the logarithm of its size at the reference point (the
geometric mean of the data): such parameters are all of order one and nearly independent, which A and alpha
are not. `Form.parameters` and `Form.theta` translate between theta and the reported parameters.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scaling.config.chinchilla import EXPONENT as EXPONENT
from scaling.config.compute_cost import ComputeCost
from scaling.laws.forms.numeric_optimum import NumericOptimum
from scaling.laws.points import Points

Floats = NDArray[np.float64]
Bounds = tuple[tuple[float, float], ...]

# A term below e^-25 of a nat, or above e^10 nats, at the middle of the data has no meaning.
LOG_TERM = (-25.0, 10.0)
SCALE_EXPONENT = (5e-3, 4.0)  # of (X0 / X)^exponent: below, X0 is beyond any number
NEWTON = 50  # most steps, of at most FARTHEST in log N
FARTHEST = 10.0
NOMINAL = 1e20  # FLOPs, for exponents of an optimum without a closed form where none were given
NO_TERM = -60.0  # log of an absent term: e^-60 of a nat changes no digit of a loss


def finite_exp(power: Any, xp: Any = np) -> Any:
    """exp, clipped short of infinity and of zero: an exponent at its lower bound sends a scale there."""
    return xp.exp(xp.clip(power, -700.0, 700.0))


def log_of_term(value: float) -> float:
    """log of a term that may be absent."""
    return float(np.log(max(value, np.exp(NO_TERM))))


@dataclass(frozen=True)
class ComputeOptimum:
    """N_opt = G (C/6)^a and D_opt = (C/6)^b / G, with C = 6ND and a + b = 1.

    Hoffmann et al. 2022, equation 4. With a `cost`, compute is c(N) D, where c grows as N^(1 + eps): the
    loss is least where p A / N^p = (1 + eps) q B / D^q; p and q are the `slopes` of the terms of N and D, and
    a = q / (p + q (1 + eps)) and b = p / (p + q (1 + eps)), with the mean eps over the sizes.
    """

    G: float
    a: float
    b: float
    slopes: tuple[float, float] = (0.0, 0.0)
    cost: ComputeCost | None = None

    def params(self, flops: Any) -> Floats:
        """N_opt at a training compute in FLOPs."""
        if self.cost is None:
            return self.G * (np.asarray(flops, float) / 6) ** self.a
        p, q = self.slopes
        log_c, cost = np.log(np.asarray(flops, float)), self.cost
        balance = (p + q) * np.log(self.G) + q * log_c
        log_n = np.full_like(log_c, cost.middle)
        for _ in range(NEWTON):
            slope = cost.slope(log_n)
            step = (balance - p * log_n - q * cost.log_per_token(log_n) - np.log(slope)) / (p + q * slope)
            log_n = log_n + np.clip(step, -FARTHEST, FARTHEST)
            if np.abs(step).max() < 1e-12:
                break
        return np.exp(log_n)

    def tokens(self, flops: Any) -> Floats:
        """D_opt at a training compute in FLOPs."""
        if self.cost is None:
            return (np.asarray(flops, float) / 6) ** self.b / self.G
        return np.asarray(flops, float) / np.exp(self.cost.log_per_token(np.log(self.params(flops))))


@dataclass(frozen=True)
class Limit:
    """A limit that a parameter can run to, and the simpler form that the law has there.

    Attributes:
        parameter: the reported parameter.
        value: its value at the limit; None for infinity.
        side: the end of its interval that is open when the data do not exclude the limit; "inside" for a
            limit within the parameter's range, where only the `absent` parameters are unidentified.
        held: entries of theta and the values at which the limiting form holds them.
        rewrite: texts of the equation and their replacements.
        absent: other parameters that the limiting form lacks.
        share: whether the first held entry is the log of a term of the target. The objective is flat towards
            that limit: a search that has gone there does not return, and must also start elsewhere.
        optimum: whether the limiting form keeps the law's compute optimum.
    """

    parameter: str
    value: float | None
    side: Literal["lower", "upper", "inside"]
    held: tuple[tuple[int, float], ...]
    rewrite: tuple[tuple[str, str], ...]
    absent: tuple[str, ...] = ()
    share: bool = False
    optimum: bool = True


def no_term(
    parameter: str,
    entry: int,
    text: str,
    exponent: tuple[str, int] | None = None,
    optimum: bool = False,
    rest: str = "",
) -> Limit:
    """The limit at which a term is absent; `exponent` is its exponent's name and entry of theta, if any."""
    held = ((entry, NO_TERM),) if exponent is None else ((entry, NO_TERM), (exponent[1], 1.0))
    absent = () if exponent is None else (exponent[0],)
    return Limit(parameter, 0.0, "lower", held, ((text, rest),), absent, share=True, optimum=optimum)


class Form:
    """A functional form. Subclasses set the attributes and define `log_loss` (or `terms`) and three others.

    Attributes:
        name: the value of `scaling fit --law`.
        equation: the form in plain text, in the reported parameters.
        parameter_names: as reported, in the order of `parameters`.
        theta_names: as fitted, in the order of `bounds`; empty if the generic solver does not fit the form.
        variables: the fields of `Points` that it reads, in the order of the columns of x.
        target: the field that it predicts.
        swept: whether the target is a setting that runs sweep at each budget, such as the learning rate.
        bounds: box of each entry of theta.
        limits: what its parameters can run to, the most drastic first.
        held: entries of theta that a limiting form holds (`forms.limiting`); empty for a law itself.
        absent: parameters that a limiting form lacks.
        numeric_optimum: whether it has an optimum without a closed form.
        kinked: whether it has kinks in its parameters: percentiles of a bootstrap then lie to one side.
        curved: whether its parameters are too far from linear over the noise for intervals by the Hessian.
        signed: parameters of either sign that are no entry of theta, or that may be 0.
    """

    name: str
    equation: str
    parameter_names: tuple[str, ...]
    theta_names: tuple[str, ...]
    variables: tuple[str, ...]
    target: str = "loss"
    swept: bool = False
    bounds: Bounds
    limits: tuple[Limit, ...] = ()
    held: Mapping[int, float] = MappingProxyType({})
    absent: tuple[str, ...] = ()
    numeric_optimum: bool = False
    kinked: bool = False
    curved: bool = False
    signed: tuple[str, ...] = ()
    min_levels: int = 3  # fewest different values of each variable that distinguish a power from a constant

    @property
    def program(self) -> "Form":
        """The form whose compiled search serves this one: itself, or the full law of a limiting form."""
        return self

    @property
    def free(self) -> NDArray[np.bool_]:
        """(P,) which entries of theta are fitted."""
        return np.array([i not in self.held for i in range(len(self.theta_names))])

    @property
    def min_points(self) -> int:
        """Fewest points it can be fitted to: one more than its parameters."""
        return int(self.free.sum()) + 1

    def log_variables(self, points: Points) -> Floats:
        """(n, V) logs of the variables that it reads."""
        return np.log(np.stack([points.column(name) for name in self.variables], axis=1))

    def levels(self, log_variables: Floats) -> dict[str, int]:
        """How many different values each variable has among points (n, V)."""
        counts = (len(np.unique(np.round(column, 9))) for column in log_variables.T)
        return dict(zip(self.variables, counts, strict=True))

    def levels_needed(self, name: str) -> int:
        """Fewest different values of a variable that determine the parameters acting through it alone.

        As many as there are such parameters, and one more for what does not change with the variable. A law
        of one variable needs as many as it has parameters, its constant included.
        """
        if len(self.variables) == 1:
            return max(self.min_levels, int(self.free.sum()))
        return self.min_levels

    def has_levels(self, log_variables: Floats) -> bool:
        """Whether each variable has enough different values among points (n, V)."""
        return all(n >= self.levels_needed(name) for name, n in self.levels(log_variables).items())

    def own_scale(self, name: str) -> int | None:
        """The entry of theta on which a parameter's interval is made, for a parameter that can be infinite.

        The entry grows as the parameter falls, and is 0 where it is infinite; see `from_own_scale`.
        """
        return None

    def from_own_scale(self, name: str, value: float) -> float:
        """The parameter at a value of that entry."""
        raise NotImplementedError

    def log_frontier(self, parameters: Mapping[str, Any], xp: Any = np) -> tuple[Any, Any] | None:
        """log G and a of N_opt = G (C/6)^a; None without a closed form."""
        return None

    def frontier_slopes(self, parameters: Mapping[str, Any]) -> tuple[float, float] | None:
        """The exponents by which the terms of N and D fall, where the compute optimum balances two terms."""
        return None

    def optimum(
        self, parameters: Mapping[str, float], cost: ComputeCost | None = None, flops: float | None = None
    ) -> ComputeOptimum | NumericOptimum | None:
        """The compute-optimal frontier of C = 6ND, or of C = c(N) D; None without one.

        `flops` is where an optimum without a closed form has its exponents, and must have a minimum.
        """
        frontier = self.log_frontier(parameters)
        if frontier is None:
            if not self.numeric_optimum:
                return None
            found = NumericOptimum(partial(self.predict, parameters), cost, flops or NOMINAL)
            return found if flops is None or np.isfinite(found.params(flops)) else None
        log_G, a = frontier
        slopes = self.frontier_slopes(parameters)
        if cost is None or slopes is None:
            return ComputeOptimum(float(np.exp(log_G)), float(a), float(1 - a))
        a = cost.exponent(float(a))
        return ComputeOptimum(float(np.exp(log_G)), a, 1 - a * cost.elasticity, slopes, cost)

    def select(self, log_variables: Floats, log_loss: Floats) -> NDArray[np.bool_]:
        """(n,) which points the law describes: all, or those of an envelope.

        `log_loss` is that of the loss, whatever the target is.
        """
        return np.ones(len(log_loss), bool)

    def reference(self, log_variables: Floats) -> Floats:
        """(V,) the log of the reference point: the geometric mean of the data."""
        return log_variables.mean(axis=0)

    def terms(self, x: Any, xp: Any = np) -> Any:
        """(K, n, P) coefficients such that log L = logsumexp_k(terms[k] @ theta); None for any other form."""
        return None

    def log_loss(self, theta: Any, x: Any, xp: Any = np) -> Any:
        """(n,) log of the target (a loss in nats) at x (n, V); `xp` is numpy or jax.numpy."""
        t = self.terms(x, xp) @ theta
        top = t.max(axis=0)
        return top + xp.log(xp.exp(t - top).sum(axis=0))

    def starts(self, x: Floats, log_loss: Floats, reference: Floats) -> Floats:
        """(S, P) starting points; `log_loss` (n,) is the log of the target."""
        raise NotImplementedError

    def parameters(self, theta: Any, reference: Floats, xp: Any = np) -> Any:
        """(..., P) as fitted to (..., P) as reported; `reference` (V,) is the log of the reference point."""
        raise NotImplementedError

    def theta(self, parameters: Mapping[str, float], reference: Floats) -> Floats:
        """The inverse of `parameters`."""
        raise NotImplementedError

    def predict(self, parameters: Mapping[str, float], **variables: Any) -> Floats:
        """The target (nats per token for a loss) from reported parameters; arrays named as in `variables`."""
        columns = np.broadcast_arrays(
            *(np.log(np.asarray(variables[name], float)) for name in self.variables)
        )
        x = np.stack([c.ravel() for c in columns], axis=-1)
        theta = self.theta(parameters, np.zeros(x.shape[1]))
        return np.exp(self.log_loss(theta, x)).reshape(columns[0].shape)
