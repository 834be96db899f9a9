"""Broken neural scaling laws: power laws joined smoothly at breaks (Caballero et al. 2022)."""

from collections.abc import Mapping
from itertools import combinations_with_replacement, product
from typing import Any

import numpy as np

from scaling.laws.forms.form import EXPONENT, LOG_TERM, Floats, Form, Limit, log_of_term, no_term
from scaling.laws.forms.power_sum import SYMBOLS

TURN = (-4.0, 4.0)  # change of the exponent at a break
PLACE = (-20.0, 20.0)  # log of a break over the middle of the data
SHARPNESS = (-3.0, 3.0)  # log of f: a break is over within a factor e^f or so


class Broken(Form):
    """Caballero et al. 2022 (arXiv:2210.14891), equation 1, with `breaks` breaks in params, tokens or flops.

    The c_i have either sign, except c0; b is positive: the first segment falls with x.
    """

    def __init__(self, variable: str, breaks: int = 1) -> None:
        each = range(1, breaks + 1)
        symbol = SYMBOLS[variable]
        word = "compute" if variable == "flops" else variable
        factors = [f" (1 + ({symbol}/d{i})^(1/f{i}))^(-c{i} f{i})" for i in each]
        # A break outside the data is no break, nor is one at which the exponent stays the same.
        no_break = tuple(
            Limit(
                f"c{i}",
                0.0,
                "inside",
                # At the end of all places, so that the others keep their order.
                ((2 + i, 0.0), (2 + breaks + i, PLACE[min(i - 1, 1)]), (2 + 2 * breaks + i, 0.0)),
                ((factors[i - 1], ""),),
                (f"d{i}", f"f{i}"),
            )
            for i in each
        )
        self.breaks = breaks
        self.name = f"broken-{word}" + (f"-{breaks}" if breaks > 1 else "")
        self.equation = f"L({symbol}) = a + b {symbol}^-c0{''.join(factors)}"
        self.parameter_names = ("a", "b", "c0", *(f"{p}{i}" for p in "cdf" for i in each))
        self.theta_names = (
            "log a",
            f"log (L - a) at the middle of {symbol}",
            "c0",
            *(f"{word}{i}" for word in ("c", "log d", "log f") for i in each),
        )
        self.variables = (variable,)
        self.limits = (*no_break, no_term("a", 0, "a + "))
        boxes = (box for box in (TURN, PLACE, SHARPNESS) for _ in each)
        self.bounds = (LOG_TERM, LOG_TERM, EXPONENT, *boxes)

    def log_loss(self, theta: Any, x: Any, xp: Any = np) -> Any:
        """(n,) log of the loss; the log of the falling part is piecewise linear in x, with soft corners."""
        n, x = self.breaks, x[:, 0]
        y = theta[1] - theta[2] * x
        for i in range(n):
            c, place, f = theta[3 + i], theta[3 + n + i], xp.exp(theta[3 + 2 * n + i])
            y = y - c * f * (xp.logaddexp(0.0, (x - place) / f) - xp.logaddexp(0.0, -place / f))
        return xp.logaddexp(theta[0], y)

    def starts(self, x: Floats, log_loss: Floats, reference: Floats) -> Floats:
        """Irreducible shares, by exponents, by changes of the exponent, by places within the data."""
        n = self.breaks
        level, floor = log_loss.mean(), log_loss.min()
        places = np.linspace(x.min(), x.max(), 6)[1:-1] if n == 1 else np.quantile(x, [0.2, 0.5, 0.8])
        turns = (-0.2, 0.1, 0.5) if n == 1 else (-0.2, 0.3)
        grid = product(
            (0.1, 0.5, 0.9),
            (0.03, 0.1, 0.4),
            product(turns, repeat=n),
            combinations_with_replacement(places, n),
            (-1.0, 0.5) if n == 1 else (-0.5,),
        )
        return np.array(
            [
                [floor + np.log(s), np.log(np.exp(level) - s * np.exp(floor)), c0, *c, *d, *([f] * n)]
                for s, c0, c, d, f in grid
            ]
        )

    def parameters(self, theta: Any, reference: Floats, xp: Any = np) -> Any:
        """The level moves from the reference point to x = 1; breaks become values of x, in their order.

        The law does not depend on the numbering of the breaks, and starts find them in any order.
        """
        n, theta = self.breaks, xp.asarray(theta, float)
        c, place, f = theta[..., 3 : 3 + n], theta[..., 3 + n : 3 + 2 * n], xp.exp(theta[..., 3 + 2 * n :])
        order = xp.argsort(place, axis=-1)
        c, place, f = (xp.take_along_axis(part, order, axis=-1) for part in (c, place, f))
        log_b = theta[..., 1] + theta[..., 2] * reference[0]
        log_b = log_b + (c * f * xp.logaddexp(0.0, -place / f)).sum(axis=-1)
        first = xp.stack([xp.exp(theta[..., 0]), xp.exp(log_b), theta[..., 2]], axis=-1)
        return xp.concatenate([first, c, xp.exp(place + reference[0]), f], axis=-1)

    def theta(self, parameters: Mapping[str, float], reference: Floats) -> Floats:
        """The level moves back to the reference point; breaks become logs over it."""
        n = self.breaks
        a, b, c0, *rest = (parameters[name] for name in self.parameter_names)
        c, d, f = np.array(rest).reshape(3, n)
        place = np.log(d) - reference[0]
        level = np.log(b) - c0 * reference[0] - (c * f * np.logaddexp(0.0, -place / f)).sum()
        return np.array([log_of_term(a), level, c0, *c, *place, *np.log(f)])


BROKEN: tuple[Form, ...] = tuple(Broken(name, n) for name in ("params", "tokens", "flops") for n in (1, 2))
