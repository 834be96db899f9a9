"""The form that a law has at its limits, as a law: entries of theta held, and parameters missing.

Its search is the full law's, with a box of no width around each held entry: nothing more is compiled.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.laws.forms.form import Form, Limit

Floats = NDArray[np.float64]


@lru_cache(maxsize=256)
def limiting_form(law: Form, limits: tuple[Limit, ...], edges: tuple[tuple[int, float], ...] = ()) -> Form:
    """`law` at its limits, with further entries of theta held at the `edges` of their boxes."""
    if not limits and not edges:
        return law
    held = {entry: value for limit in limits for entry, value in limit.held} | dict(edges)
    absent = tuple(dict.fromkeys(name for limit in limits for name in limit.absent))
    values = {limit.parameter: np.inf if limit.value is None else limit.value for limit in limits}
    # What is held does not depend on these; they only have to have a logarithm.
    anything = dict.fromkeys((*values, *absent), 1.0)
    anything |= {limit.parameter: 0.0 for limit in limits if limit.side == "inside"}
    equation = law.equation
    for limit in limits:
        for old, new in limit.rewrite:
            equation = equation.replace(old, new)
    lost = any(not limit.optimum for limit in limits)
    kind: Any = type(law)

    class LimitingForm(kind):  # type: ignore[misc]
        def parameters(self, theta: Any, reference: Floats, xp: Any = np) -> Any:
            out = np.array(kind.parameters(law, theta, reference))
            for name in law.parameter_names:
                if name in values or name in absent:
                    out[..., law.parameter_names.index(name)] = values.get(name, np.nan)
            return out

        def theta(self, parameters: Mapping[str, float], reference: Floats) -> Floats:
            known = {name: value for name, value in parameters.items() if name not in (*values, *absent)}
            out = kind.theta(law, anything | known, reference)
            for entry, value in held.items():
                out[entry] = value
            return out

        def log_frontier(self, parameters: Mapping[str, Any], xp: Any = np) -> tuple[Any, Any] | None:
            return None if lost else kind.log_frontier(law, parameters, xp)

        @property
        def program(self) -> Form:
            return law

    named = {
        "equation": equation,
        "held": held,
        "absent": absent,
        "bounds": tuple((held[i], held[i]) if i in held else box for i, box in enumerate(law.bounds)),
        "limits": tuple(one for one in law.limits if not {i for i, _ in one.held} & set(held)),
    }
    return type("LimitingForm", (LimitingForm,), named)()


def reported(form: Form, theta: Floats, reference: Floats) -> dict[str, float | None]:
    """The parameters at theta by name; None for one that is infinite or absent."""
    values = form.parameters(theta, reference)
    return {
        name: float(v) if np.isfinite(v) else None
        for name, v in zip(form.parameter_names, values, strict=True)
    }
