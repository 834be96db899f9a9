"""Sums of powers, declared as a table of terms: E + A / N^alpha + B / D^beta is three of them.

From the table follow the equation, the names and bounds of the parameters, the derivatives (every term is
linear in theta), the starts, the limits at which a term vanishes, and the compute optimum when one term falls
with N and one with D.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scaling.config.chinchilla import log_slope_ratio
from scaling.laws.forms.envelope import lower_envelope, lowest_of_each
from scaling.laws.forms.form import (
    EXPONENT,
    LOG_TERM,
    SCALE_EXPONENT,
    Bounds,
    Floats,
    Form,
    Limit,
    finite_exp,
    log_of_term,
    no_term,
)

SYMBOLS = {"params": "N", "tokens": "D", "flops": "C", "loss": "L", "min_steps": "S_min"}
SIGNED_LEVEL, SIGNED_EXPONENT = (-50.0, 50.0), (-4.0, 4.0)


@dataclass(frozen=True)
class Power:
    """variable^(factor * exponent); the exponent is a parameter that several powers may share."""

    variable: str
    exponent: str
    factor: float = -1.0


@dataclass(frozen=True)
class Term:
    """A scale times powers of variables; `constant`, `falling`, `ratio` and `product_of` make the usual ones.

    Attributes:
        scale: the name of the scale parameter.
        powers: of the variables; none of a constant.
        text: the term in the equation.
        is_ratio: the scale is inside the power: (X0 / X)^exponent.
        inverse: the reported exponent is the inverse of the fitted one.
        over: the term is divided by this constant to the power of its exponent.
    """

    scale: str
    powers: tuple[Power, ...]
    text: str
    is_ratio: bool = False
    inverse: bool = False
    over: float = 1.0


def constant(scale: str) -> Term:
    """E."""
    return Term(scale, (), scale)


def falling(scale: str, variable: str, exponent: str) -> Term:
    """A / N^alpha."""
    return Term(scale, (Power(variable, exponent),), f"{scale} / {SYMBOLS[variable]}^{exponent}")


def ratio(scale: str, variable: str, exponent: str) -> Term:
    """(Nc / N)^alpha."""
    text = f"({scale} / {SYMBOLS[variable]})^{exponent}"
    return Term(scale, (Power(variable, exponent),), text, is_ratio=True)


def product_of(scale: str, **exponents: str) -> Term:
    """c N^a D^b, with exponents of either sign; the keywords are the variables."""
    powers = tuple(Power(variable, exponent, 1.0) for variable, exponent in exponents.items())
    return Term(scale, powers, " ".join([scale, *(f"{SYMBOLS[p.variable]}^{p.exponent}" for p in powers)]))


Starts = Callable[["PowerSum", Floats, Floats], Floats]  # the form, log target (n,), reference (V,) -> (S, P)


def share_grid(
    shares: Iterable[Sequence[float]],
    exponents: Iterable[float],
    level: Literal["mean", "min"] = "mean",
    exponents_first: bool = False,
) -> Starts:
    """Starts at every split of the target into `shares` of the terms, by every exponent.

    The target's level is its geometric mean, or its minimum; `exponents_first` varies the shares fastest.
    """
    rows, values = [tuple(row) for row in shares], tuple(exponents)

    def starts(form: "PowerSum", log_target: Floats, reference: Floats) -> Floats:
        top = log_target.mean() if level == "mean" else log_target.min()
        powers = list(product(values, repeat=len(form.exponents)))
        grid = [(r, p) for p in powers for r in rows] if exponents_first else list(product(rows, powers))
        return np.array([[*(top + np.log(row)), *power] for row, power in grid])

    return starts


def default_starts(terms: int) -> Starts:
    """Coarse splits of the target among the terms, by four exponents each."""
    splits = {tuple(np.round(np.array(row) / sum(row), 3)) for row in product((1.0, 4.0), repeat=terms)}
    return share_grid(sorted(splits), (0.05, 0.15, 0.35, 0.8))


class PowerSum(Form):
    """A sum of `terms`; everything that has a default below follows from them.

    Args:
        name: the value of `scaling fit --law`.
        terms: the table.
        target: the field of `Points` that it predicts.
        starts: `share_grid` or another function; by default coarse splits of the target.
        reads: which points it describes: all, the lowest loss of each level, or the lower convex hull.
        swept: whether the target is a setting that runs sweep.
        equation: by default made of the terms.
        theta_names: by default "log" of each term, and the exponents.
        bounds: by default those of a term and of an exponent.
        limits: by default the absence of each term.
    """

    def __init__(
        self,
        name: str,
        terms: Sequence[Term],
        *,
        target: str = "loss",
        starts: Starts | None = None,
        reads: Literal["all", "lowest", "hull"] = "all",
        swept: bool = False,
        equation: str | None = None,
        theta_names: tuple[str, ...] | None = None,
        bounds: Bounds | None = None,
        limits: tuple[Limit, ...] | None = None,
    ) -> None:
        self.table = tuple(terms)
        powers = [power for term in terms for power in term.powers]
        self.exponents = tuple(dict.fromkeys(power.exponent for power in powers))
        self.variables = tuple(dict.fromkeys(power.variable for power in powers))
        self.name, self.target, self.reads, self.swept = name, target, reads, swept
        self.parameter_names = (*(term.scale for term in terms), *self.exponents)
        self.equation = equation or self._equation()
        self.theta_names = theta_names or (
            *(f"log {term.text.replace(' ', '')}" for term in terms),
            *self.exponents,
        )
        signed = any(power.factor > 0 for power in powers)
        box = SIGNED_EXPONENT if signed else SCALE_EXPONENT if terms[-1].is_ratio else EXPONENT
        level = SIGNED_LEVEL if signed else LOG_TERM
        self.bounds = bounds or (*(level for _ in terms), *(box for _ in self.exponents))
        self.limits = self._limits() if limits is None else limits
        self._starts = starts or default_starts(len(terms))

    def levels_needed(self, name: str) -> int:
        """The scales and exponents of terms of this variable alone, and one more."""
        own = [term for term in self.table if {power.variable for power in term.powers} == {name}]
        exponents = {power.exponent for term in own for power in term.powers}
        elsewhere = [power.exponent for term in self.table if term not in own for power in term.powers]
        alone = len(own) + len(exponents.difference(elsewhere))
        return max(super().levels_needed(name), alone + 1 if len(self.variables) > 1 else 0)

    def _equation(self) -> str:
        symbols = ", ".join(SYMBOLS[name] for name in self.variables)
        left = "L" if self.target == "loss" else self.target
        text = f"{left}({symbols}) = {' + '.join(term.text for term in self.table)}"
        if self.reads == "hull":
            return f"{text} on the lower convex hull of (log C, log L)"
        if self.reads == "lowest":
            return f"{text} on the lowest loss at each {symbols if ',' not in symbols else f'({symbols})'}"
        return text

    def _limits(self) -> tuple[Limit, ...]:
        """Each term may be absent: those with powers first, whose exponents go with them; then constants."""
        if len(self.table) == 1:
            return ()
        K, falls, floors = len(self.table), [], []
        for i, term in enumerate(self.table):
            text = f"{term.text} + " if i == 0 else f" + {term.text}"
            if not term.powers:
                floors.append(no_term(term.scale, i, text, optimum=self._rivals() is not None))
                continue
            name = term.powers[0].exponent
            shared = sum(name == power.exponent for other in self.table for power in other.powers) > 1
            exponent = None if shared else (name, K + self.exponents.index(name))
            falls.append(no_term(term.scale, i, text, exponent))
        return (*falls, *floors)

    def _rivals(self) -> tuple[Term, Term] | None:
        """The term that falls with N and the one that falls with D, if these are all but a constant."""
        by_variable = {t.powers[0].variable: t for t in self.table if len(t.powers) == 1}
        moving = [term for term in self.table if term.powers]
        if len(moving) != 2 or set(by_variable) != {"params", "tokens"}:
            return None
        pair = by_variable["params"], by_variable["tokens"]
        return pair if all(term.powers[0].factor < 0 and not term.inverse for term in pair) else None

    def select(self, log_variables: Floats, log_loss: Floats) -> NDArray[np.bool_]:
        """(n,) which points it describes, by `reads`."""
        if self.reads == "lowest":
            return lowest_of_each(log_variables, log_loss)
        if self.reads == "hull":
            return lower_envelope(log_variables[:, 0], log_loss)
        return super().select(log_variables, log_loss)

    def terms(self, x: Any, xp: Any = np) -> Any:
        """(K, n, P) each term is linear in theta: its log at the reference point, plus exponents times x."""
        K, P = len(self.table), len(self.parameter_names)
        one, zero = xp.ones_like(x[:, 0]), xp.zeros_like(x[:, 0])
        rows = []
        for k, term in enumerate(self.table):
            columns = [one if i == k else zero for i in range(P)]
            for power in term.powers:
                columns[K + self.exponents.index(power.exponent)] = (
                    power.factor * x[:, self.variables.index(power.variable)]
                )
            rows.append(xp.stack(columns, axis=1))
        return xp.stack(rows)

    def starts(self, x: Floats, log_loss: Floats, reference: Floats) -> Floats:
        """(S, P) of the table's starts."""
        return self._starts(self, log_loss, reference)

    def parameters(self, theta: Any, reference: Floats, xp: Any = np) -> Any:
        """Terms move from the reference point to all variables equal to one."""
        K = len(self.table)
        entries = xp.moveaxis(xp.asarray(theta, float), -1, 0)
        exponents = dict(
            zip(self.exponents, (entries[K + i] for i in range(len(self.exponents))), strict=True)
        )
        middle = {name: reference[i] for i, name in enumerate(self.variables)}
        reported = dict(exponents)
        scales = []
        for k, term in enumerate(self.table):
            level = entries[k]
            if term.is_ratio:
                (power,) = term.powers
                level = level / exponents[power.exponent] + middle[power.variable]
            elif term.powers:
                if term.over != 1.0:
                    level = level + exponents[term.powers[0].exponent] * np.log(term.over)
                level = level + sum(
                    -p.factor * exponents[p.exponent] * middle[p.variable] for p in term.powers
                )
            scales.append(finite_exp(level, xp))
            if term.inverse:
                reported |= {power.exponent: 1 / exponents[power.exponent] for power in term.powers}
        return xp.stack([*scales, *reported.values()], axis=-1)

    def theta(self, parameters: Mapping[str, float], reference: Floats) -> Floats:
        """Terms move from all variables equal to one to the reference point."""
        exponents = {name: parameters[name] for name in self.exponents}
        middle = {name: reference[i] for i, name in enumerate(self.variables)}
        levels = []
        for term in self.table:
            if term.inverse:
                exponents |= {power.exponent: 1 / parameters[power.exponent] for power in term.powers}
            scale = parameters[term.scale]
            if term.is_ratio:
                (power,) = term.powers
                levels.append(exponents[power.exponent] * (np.log(scale) - middle[power.variable]))
            elif term.powers:
                falls = [
                    exponents[power.exponent]
                    * (np.log(term.over) * (i == 0) - power.factor * middle[power.variable])
                    for i, power in enumerate(term.powers)
                ]
                levels.append(np.log(scale) - sum(falls))
            else:
                levels.append(log_of_term(scale))
        return np.array([*levels, *exponents.values()])

    def frontier_slopes(self, parameters: Mapping[str, Any]) -> tuple[float, float] | None:
        """p and q of A / N^p + B / D^q."""
        rivals = self._rivals()
        if rivals is None:
            return None
        p, q = (-t.powers[0].factor * float(parameters[t.powers[0].exponent]) for t in rivals)
        return p, q

    def log_frontier(self, parameters: Mapping[str, Any], xp: Any = np) -> tuple[Any, Any] | None:
        """The minimum of A / N^p + B / D^q on 6ND = C (Hoffmann et al. 2022, equation 4)."""
        rivals = self._rivals()
        if rivals is None:
            return None
        of_N, of_D = (term.powers[0] for term in rivals)
        p, q = -of_N.factor * parameters[of_N.exponent], -of_D.factor * parameters[of_D.exponent]
        # In logs: A and B reach 1e300 in a resample that leaves an exponent free.
        log_A, log_B = (
            slope * xp.log(parameters[term.scale]) if term.is_ratio else xp.log(parameters[term.scale])
            for term, slope in zip(rivals, (p, q), strict=True)
        )
        shared = [(term.powers[0].exponent, term.powers[0].factor, term.over) for term in rivals]
        if shared[0] == shared[1]:  # the slopes and constants cancel
            return (log_A - log_B) / (p + q), q / (p + q)
        if rivals[0].over != 1.0:
            log_A = log_A - parameters[of_N.exponent] * np.log(rivals[0].over)
        if rivals[1].over != 1.0:
            log_B = log_B - parameters[of_D.exponent] * np.log(rivals[1].over)
        return log_slope_ratio(p, log_A, q, log_B, xp.log) / (p + q), q / (p + q)
