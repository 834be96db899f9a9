"""What a functional form is: loss, or another target, as a function of parameters N, tokens D, compute C, ...

A law is one small class, listed in `scaling.laws.forms.laws`: its equation, its parameters with bounds and
starts, and the compute optimum if it has a closed form. The fit works on `theta`, in which every term stands
as the logarithm of its size at the reference point (the geometric mean of the data): such parameters are all
of order one and nearly independent, which A and alpha are not. `parameters` and `theta` translate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bounds = tuple[tuple[float, float], ...]

# A term below e^-25 of a nat, or above e^10 nats, at the middle of the data means nothing.
LOG_TERM = (-25.0, 10.0)
EXPONENT = (1e-3, 4.0)
NO_TERM = -60.0  # log of a term that is absent: e^-60 of a nat changes no digit of a loss


def finite_exp(power: Any, xp: Any = np) -> Any:
    """exp that stops short of infinity and of zero, where an exponent at its lower bound sends a scale."""
    return xp.exp(xp.clip(power, -700.0, 700.0))


def log_of_term(value: float) -> float:
    """log, of a term that may be absent."""
    return float(np.log(max(value, np.exp(NO_TERM))))


@dataclass(frozen=True)
class ComputeOptimum:
    """N_opt = G (C/6)^a and D_opt = (C/6)^b / G, with C = 6ND and a + b = 1.

    Hoffmann et al. 2022, equation 4.
    """

    G: float
    a: float
    b: float

    def params(self, flops: Any) -> Floats:
        """N_opt at a training compute in FLOPs."""
        return self.G * (np.asarray(flops, float) / 6) ** self.a

    def tokens(self, flops: Any) -> Floats:
        """D_opt at a training compute in FLOPs."""
        return (np.asarray(flops, float) / 6) ** self.b / self.G


@dataclass(frozen=True)
class Limit:
    """A limit that a parameter can run to, and the simpler form that the law has there.

    Attributes:
        parameter: the reported parameter.
        value: what it is at the limit; None for infinity.
        side: the end of its interval that is open where the points do not exclude the limit; "inside" for a
            limit within the parameter's range, where only `absent` parameters are unidentified.
        held: entries of theta and the values at which they are held in the limiting form.
        rewrite: texts of the equation and what replaces each of them.
        absent: other parameters that the limiting form lacks.
        share: whether the first held entry is the log of a term of the target, which is flat towards the
            limit: a search that has once gone there does not return, and must also start elsewhere.
        optimum: whether the limiting form has the compute optimum of the law.
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
    """The limit at which a term, with its exponent's name and entry of theta if it has one, is absent."""
    held = ((entry, NO_TERM),) if exponent is None else ((entry, NO_TERM), (exponent[1], 1.0))
    absent = () if exponent is None else (exponent[0],)
    return Limit(parameter, 0.0, "lower", held, ((text, rest),), absent, share=True, optimum=optimum)


@dataclass(frozen=True)
class Form:
    """A functional form. Subclasses state it; the class attributes are documented here.

    Attributes:
        name: what `scaling fit --law` takes.
        equation: the form in plain text, with the reported parameters' names.
        parameter_names: as reported, in the order of `parameters`.
        theta_names: as fitted, in the order of `bounds`.
        variables: which fields of `Points` it reads, in the order of the columns of x.
        target: the field it predicts.
        bounds: box of each entry of theta.
        limits: what its parameters can run to, the most drastic first.
        held: entries of theta that a limiting form holds (`uncertainty.limits`); none of a law itself.
        absent: parameters that a limiting form lacks.
    """

    name: ClassVar[str]
    equation: ClassVar[str]
    parameter_names: ClassVar[tuple[str, ...]]
    theta_names: ClassVar[tuple[str, ...]]
    variables: ClassVar[tuple[str, ...]]
    target: ClassVar[str] = "loss"
    bounds: ClassVar[Bounds]
    limits: ClassVar[tuple[Limit, ...]] = ()
    held: ClassVar[Mapping[int, float]] = MappingProxyType({})
    absent: ClassVar[tuple[str, ...]] = ()

    @property
    def program(self) -> "Form":
        """The law whose compiled search serves this one: its own, or of a limiting form the full law's."""
        return self

    @property
    def free(self) -> NDArray[np.bool_]:
        """(P,) which entries of theta are fitted."""
        return np.array([i not in self.held for i in range(len(self.theta_names))])

    def own_scale(self, name: str) -> int | None:
        """The entry of theta that is the scale of a parameter's interval, if it is one that grows as the
        parameter falls, and is 0 where the parameter is infinite; see `from_own_scale`."""
        return None

    def from_own_scale(self, name: str, value: float) -> float:
        """The parameter at a value of that entry."""
        raise NotImplementedError

    @property
    def min_points(self) -> int:
        """Fewest points it can be fitted to: one more than its parameters."""
        return int(self.free.sum()) + 1

    @property
    def min_levels(self) -> int:
        """Fewest different values of each variable that tell a power from a constant."""
        return 3

    def log_frontier(self, parameters: Mapping[str, Any], xp: Any = np) -> tuple[Any, Any] | None:
        """log G and a of N_opt = G (C/6)^a, where that has a closed form."""
        return None

    def optimum(self, parameters: Mapping[str, float]) -> "ComputeOptimum | None":
        """The compute-optimal frontier where it has a closed form."""
        frontier = self.log_frontier(parameters)
        if frontier is None:
            return None
        log_G, a = frontier
        return ComputeOptimum(float(np.exp(log_G)), float(a), float(1 - a))

    def select(self, log_variables: Floats, log_loss: Floats) -> NDArray[np.bool_]:
        """Which of n points the law speaks about; all of them unless it describes an envelope.

        `log_loss` is that of the loss, whatever the target is.
        """
        return np.ones(len(log_loss), bool)

    def reference(self, log_variables: Floats) -> Floats:
        """(V,) the log of the reference point: the geometric mean of the data."""
        return log_variables.mean(axis=0)

    def terms(self, x: Any, xp: Any = np) -> Any:
        """(K, n, P) coefficients where log L = logsumexp_k(terms[k] @ theta); None for any other form."""
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


class Chinchilla(Form):
    """Parametric law of Hoffmann et al. 2022 (arXiv:2203.15556), equation 2, fitted as in equation 10."""

    name = "chinchilla"
    equation = "L(N, D) = E + A / N^alpha + B / D^beta"
    parameter_names = ("E", "A", "B", "alpha", "beta")
    theta_names = ("log E", "log A/N^alpha", "log B/D^beta", "alpha", "beta")
    variables = ("params", "tokens")
    bounds = (LOG_TERM, LOG_TERM, LOG_TERM, EXPONENT, EXPONENT)
    limits = (
        no_term("A", 1, " + A / N^alpha", ("alpha", 3)),
        no_term("B", 2, " + B / D^beta", ("beta", 4)),
        no_term("E", 0, "E + ", optimum=True),
    )

    def terms(self, x: Any, xp: Any = np) -> Any:
        """Each term is linear in theta: its log at the reference point, less its exponent times x."""
        one, zero = xp.ones_like(x[:, 0]), xp.zeros_like(x[:, 0])
        return xp.stack(
            [
                xp.stack([one, zero, zero, zero, zero], axis=1),
                xp.stack([zero, one, zero, -x[:, 0], zero], axis=1),
                xp.stack([zero, zero, one, zero, -x[:, 1]], axis=1),
            ]
        )

    def starts(self, x: Floats, log_loss: Floats, reference: Floats) -> Floats:
        """The 4,500 starts of Hoffmann et al. 2022, appendix D.3."""
        exponents = (0.0, 0.5, 1.0, 1.5, 2.0)
        logs = (0.0, 5.0, 10.0, 15.0, 20.0, 25.0)
        grid = np.array(list(product((-1.0, -0.5, 0.0, 0.5, 1.0), logs, logs, exponents, exponents)))
        return (
            grid
            - np.outer(grid[:, 3], [0, 1, 0, 0, 0]) * reference[0]
            - np.outer(grid[:, 4], [0, 0, 1, 0, 0]) * reference[1]
        )

    def parameters(self, theta: Any, reference: Floats, xp: Any = np) -> Any:
        """Terms move from the reference point to N = D = C = 1."""
        e, a, b, alpha, beta = xp.moveaxis(xp.asarray(theta, float), -1, 0)
        A, B = xp.exp(a + alpha * reference[0]), xp.exp(b + beta * reference[1])
        return xp.stack([xp.exp(e), A, B, alpha, beta], axis=-1)

    def theta(self, parameters: Mapping[str, float], reference: Floats) -> Floats:
        """Terms move from N = D = C = 1 to the reference point."""
        p = parameters
        a = np.log(p["A"]) - p["alpha"] * reference[0]
        b = np.log(p["B"]) - p["beta"] * reference[1]
        return np.array([log_of_term(p["E"]), a, b, p["alpha"], p["beta"]])

    def log_frontier(self, parameters: Mapping[str, Any], xp: Any = np) -> tuple[Any, Any]:
        """Hoffmann et al. 2022, equation 4: the minimum of L on 6ND = C."""
        alpha, beta = parameters["alpha"], parameters["beta"]
        # In logs: A and B reach 1e300 in a resample that leaves an exponent free.
        log_ratio = xp.log(alpha) + xp.log(parameters["A"]) - xp.log(beta) - xp.log(parameters["B"])
        return log_ratio / (alpha + beta), beta / (alpha + beta)
