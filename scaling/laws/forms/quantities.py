"""What a fit reports, as smooth functions of theta: parameters, and of an optimum a and tokens per parameter.

Profiles and Hessians work on theta, and the reported quantities need intervals. Each is here on the scale of
its interval: an entry of theta, or the exponent a, as it is; every other one, positive by construction, as
its logarithm.
"""

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.config.compute_cost import ComputeCost
from scaling.laws.forms.form import Form
from scaling.laws.forms.numeric_optimum import NumericOptimum

Floats = NDArray[np.float64]

Ends = tuple[float | None, float | None]
EXPONENT_OF_PARAMS = "a"
RATIO = "tokens_per_param"


@dataclass(frozen=True)
class Quantities:
    """The reported quantities of a law at a point of reference and, for the ratio, one training compute.

    `logged` (Q,) says which of them are logarithms. If a law has a parameter `a` of its own, the exponent of
    its optimum is `optimum a`.
    """

    form: Form
    reference: tuple[float, ...]
    flops: float  # at which tokens per parameter are taken
    names: tuple[str, ...]
    logged: tuple[bool, ...]
    missing: frozenset[str] = frozenset()  # which of them a limiting form lacks
    cost: ComputeCost | None = None  # of an optimum without a closed form

    @property
    def pinned(self) -> int:
        """How many of them, from the first, the solver can hold: all but those of a numeric optimum."""
        return len(logged_quantities(self.form))

    def scaled(self, theta: Any) -> Any:
        """(Q,) the quantities at theta (P,), each on its own scale."""
        reference, log_flops = np.array(self.reference), np.log(self.flops)
        values = scaled(self.form, self.logged[: self.pinned], theta, reference, log_flops)
        if self.pinned == len(self.names):
            return values
        parameters = self.form.parameters(theta, reference)
        named = dict(zip(self.form.parameter_names, map(float, parameters), strict=True))
        optimum = NumericOptimum(partial(self.form.predict, named), self.cost, self.flops)
        ratio = optimum.tokens(self.flops) / optimum.params(self.flops)
        return np.append(values, [optimum.a, np.log(ratio)])

    def reported(self, scaled: Any, name: str) -> float:
        """A value on the scale of `name` as it is reported; infinite beyond a limit."""
        if self.form.own_scale(name) is not None:
            return self.form.from_own_scale(name, float(scaled))
        if not self.logged[self.names.index(name)]:
            return float(scaled)
        return float(np.exp(np.clip(scaled, -700.0, 700.0)))

    def interval(self, low: float | None, high: float | None, name: str) -> Ends:
        """Ends on the scale of `name` as they are reported, None where one is open or infinite."""
        ends = [None if end is None else self.reported(end, name) for end in (low, high)]
        if self.form.own_scale(name) is not None:
            ends.reverse()
        low, high = (end if end is not None and np.isfinite(end) else None for end in ends)
        return low, high


def scaled(
    form: Form, logged: tuple[bool, ...], theta: Any, reference: Any, log_flops: Any, xp: Any = np
) -> Any:
    """(Q,) the quantities of `form` at theta (P,); of an optimum, tokens per parameter at the compute."""
    values = form.parameters(theta, reference, xp)
    n = len(form.parameter_names)
    out = []
    for i, name in enumerate(form.parameter_names):
        entry = form.own_scale(name)
        own = values[i] if entry is None else theta[entry]
        out.append(xp.log(own) if logged[i] else own)
    if len(logged) > n:
        frontier = form.log_frontier({name: values[i] for i, name in enumerate(form.parameter_names)}, xp)
        assert frontier is not None
        log_G, a = frontier
        out += [a + 0.0 * values[0], (1 - 2 * a) * (log_flops - np.log(6.0)) - 2 * log_G]
    return xp.stack(out)


@lru_cache
def logged_quantities(form: Form) -> tuple[bool, ...]:
    """(Q,) whether a quantity is on a log scale: all but entries of theta and the exponent a.

    A parameter that is an entry of theta equals it exactly, whatever theta and the reference are.
    """
    theta = np.array([0.25 * low + 0.75 * high for low, high in form.bounds])
    steps = 0.125 * np.eye(len(theta))
    reference = np.linspace(1.0, 2.0, len(form.variables))
    here = form.parameters(theta, reference)
    moved = np.stack([form.parameters(theta + step, reference) for step in steps])
    entries = ((here[:, None] == theta) & (np.diag(theta[None] + steps) == moved.T)).any(axis=1)
    logged = tuple(
        not entry and name not in form.signed and form.own_scale(name) is None
        for name, entry in zip(form.parameter_names, entries, strict=True)
    )
    optimum = form.log_frontier(dict(zip(form.parameter_names, here, strict=True))) is not None
    return logged + ((False, True) if optimum else ())


def quantities(form: Form, reference: Floats, flops: float, cost: ComputeCost | None = None) -> Quantities:
    """The quantities that `form` reports; of a limiting form those of the full law, some of them missing.

    An optimum without a closed form is that of `cost`; a closed one is that of C = 6ND.
    """
    law = form.program
    names, logged = law.parameter_names, logged_quantities(law)
    missing = set(form.absent)
    if law.numeric_optimum:
        logged += (False, True)
    if len(logged) > len(names):
        of_optimum = (EXPONENT_OF_PARAMS if EXPONENT_OF_PARAMS not in names else "optimum a", RATIO)
        names += of_optimum
        if form.optimum(dict.fromkeys(law.parameter_names, 0.5)) is None:
            missing |= set(of_optimum)
    return Quantities(law, tuple(map(float, reference)), flops, names, logged, frozenset(missing), cost)
