"""The form that a law has at its limits: entries of theta held, and parameters missing.

The full law's compiled search serves it, with a box of no width around each held entry: nothing more is
compiled.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.laws.forms.form import Floats, Form, Limit


class LimitingForm(Form):
    """`law` at some of its limits, with further entries of theta held at the `edges` of their boxes."""

    def __init__(self, law: Form, limits: tuple[Limit, ...], edges: tuple[tuple[int, float], ...]) -> None:
        self.law = law
        self.name, self.target, self.swept = law.name, law.target, law.swept
        self.parameter_names, self.theta_names = law.parameter_names, law.theta_names
        self.variables, self.min_levels, self.signed = law.variables, law.min_levels, law.signed
        self.held = {entry: value for limit in limits for entry, value in limit.held} | dict(edges)
        self.absent = tuple(dict.fromkeys(name for limit in limits for name in limit.absent))
        self.bounds = tuple(
            (self.held[i], self.held[i]) if i in self.held else box for i, box in enumerate(law.bounds)
        )
        self.limits = tuple(one for one in law.limits if not {i for i, _ in one.held} & set(self.held))
        self.equation = law.equation
        for limit in limits:
            for old, new in limit.rewrite:
                self.equation = self.equation.replace(old, new)
        self._reported = dict.fromkeys(self.absent, np.nan) | {
            limit.parameter: np.inf if limit.value is None else limit.value for limit in limits
        }
        # Entries that are held do not depend on these; they only have to have a logarithm.
        self._stand_ins = dict.fromkeys(self._reported, 1.0) | {
            limit.parameter: 0.0
            for limit in limits
            if limit.side == "inside" or limit.parameter in law.signed
        }
        self._has_optimum = all(limit.optimum for limit in limits)
        self.numeric_optimum = law.numeric_optimum and self._has_optimum
        self.kinked, self.curved = law.kinked, law.curved

    @property
    def program(self) -> Form:
        """The full law."""
        return self.law

    def select(self, log_variables: Floats, log_loss: Floats) -> NDArray[np.bool_]:
        """(n,) the points of the full law."""
        return self.law.select(log_variables, log_loss)

    def reference(self, log_variables: Floats) -> Floats:
        """(V,) that of the full law."""
        return self.law.reference(log_variables)

    def terms(self, x: Any, xp: Any = np) -> Any:
        """(K, n, P) those of the full law."""
        return self.law.terms(x, xp)

    def log_loss(self, theta: Any, x: Any, xp: Any = np) -> Any:
        """(n,) that of the full law, whose held entries make it the limiting form."""
        return self.law.log_loss(theta, x, xp)

    def starts(self, x: Floats, log_loss: Floats, reference: Floats) -> Floats:
        """(S, P) those of the full law."""
        return self.law.starts(x, log_loss, reference)

    def parameters(self, theta: Any, reference: Floats, xp: Any = np) -> Any:
        """(..., P) with the values of the limits, and NaN for absent parameters."""
        out = np.array(self.law.parameters(theta, reference))
        for name, value in self._reported.items():
            out[..., self.parameter_names.index(name)] = value
        return out

    def theta(self, parameters: Mapping[str, float], reference: Floats) -> Floats:
        """The inverse of `parameters`."""
        known = {name: value for name, value in parameters.items() if name not in self._reported}
        out = self.law.theta(self._stand_ins | known, reference)
        for entry, value in self.held.items():
            out[entry] = value
        return out

    def log_frontier(self, parameters: Mapping[str, Any], xp: Any = np) -> tuple[Any, Any] | None:
        """That of the full law, if the limiting form keeps it."""
        return self.law.log_frontier(parameters, xp) if self._has_optimum else None

    def frontier_slopes(self, parameters: Mapping[str, Any]) -> tuple[float, float] | None:
        """Those of the full law."""
        return self.law.frontier_slopes(parameters)

    def own_scale(self, name: str) -> int | None:
        """As in the full law."""
        return self.law.own_scale(name)

    def from_own_scale(self, name: str, value: float) -> float:
        """As in the full law."""
        return self.law.from_own_scale(name, value)

    def predict(self, parameters: Mapping[str, float], **variables: Any) -> Floats:
        """The target from reported parameters; without a limit, that of the full law."""
        if not self._reported:
            return self.law.predict(parameters, **variables)
        return super().predict(parameters, **variables)


@lru_cache(maxsize=256)
def limiting_form(law: Form, limits: tuple[Limit, ...], edges: tuple[tuple[int, float], ...] = ()) -> Form:
    """`law` at its limits, with further entries of theta held at the `edges` of their boxes."""
    return LimitingForm(law, limits, edges) if limits or edges else law


def reported(form: Form, theta: Floats, reference: Floats) -> dict[str, float | None]:
    """The parameters at theta by name; None for one that is infinite or absent."""
    values = form.parameters(theta, reference)
    return {
        name: float(v) if np.isfinite(v) else None
        for name, v in zip(form.parameter_names, values, strict=True)
    }
