"""Shapes that a score may follow over scale: smooth ones, and ones with a break.

Scale is read as x, its logarithm stretched to [-1, 1] over the data, so that no unit and no power of it
matters. With eta = level + slope (x - origin) + bend x^2 + turn max(0, x - place) + jump [x > place], the
score is

    logistic   low + (high - low) / (1 + exp(-eta))      a sigmoid in log scale
    power      low + (high - low) exp(-exp(-eta))        -log of the score is a power law of scale: token
                                                         accuracy exp(-(c / N)^alpha) to the power of the
                                                         answer's length (Schaeffer et al. 2023)
    straight   eta                                       logarithmic in scale
    decay      high - exp(-eta)                          what is missing falls as a power law

A smooth shape has no turn and no jump. With a turn the slope changes at one place: a power law broken there,
with a sharp corner (the limit f -> 0 of Caballero et al. 2022, equation 1).
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Link = Literal["logistic", "power", "straight", "decay"]
Family = Literal["flat", "smooth", "broken", "bent"]

LINKS: tuple[Link, ...] = ("logistic", "power", "straight", "decay")
ENTRIES = ("level", "slope", "bend", "turn", "jump", "low", "high")
LEVEL, SLOPE, BEND, TURN, JUMP, LOW, HIGH = range(len(ENTRIES))
LARGEST = 30.0  # of eta: exp(-30) is below what any test set resolves
HALF = {"logistic": 0.0, "power": -float(np.log(np.log(2.0)))}  # eta where half of the rise is done


@dataclass(frozen=True)
class Shape:
    """One candidate.

    Attributes:
        name: as it is reported.
        family: flat, smooth, broken, or bent (a parabola: for what falls and rises).
        link: see the module.
        free: which of `ENTRIES` are fitted.
        placed: whether it has a place, which is searched on a grid.
        floor: where the score begins when `low` is not fitted: at chance, or at zero.
    """

    name: str
    family: Family
    link: Link
    free: tuple[int, ...]
    placed: Literal["", "between", "gap"] = ""
    floor: Literal["chance", "zero"] = "zero"

    @property
    def n_parameters(self) -> int:
        """Of the mean; its noise has one more."""
        return len(self.free) + bool(self.placed)


def bounded_shapes(chance: float) -> tuple[Shape, ...]:
    """Candidates for a score between 0 and 1. Guessing reaches `chance`."""
    one: tuple[Shape, ...] = (
        Shape("constant", "flat", "logistic", (LEVEL,)),
        Shape("sigmoid", "smooth", "logistic", (LEVEL, SLOPE)),
        Shape("power law", "smooth", "power", (LEVEL, SLOPE)),
        Shape("sigmoid over a floor", "smooth", "logistic", (LEVEL, SLOPE, LOW)),
        Shape("power law over a floor", "smooth", "power", (LEVEL, SLOPE, LOW)),
        Shape("sigmoid to a ceiling", "smooth", "logistic", (LEVEL, SLOPE, HIGH)),
        Shape("sigmoid between levels", "smooth", "logistic", (LEVEL, SLOPE, LOW, HIGH)),
        Shape("parabola", "bent", "logistic", (LEVEL, SLOPE, BEND)),
        Shape("flat, then a sigmoid", "broken", "logistic", (LEVEL, TURN), "between"),
        Shape("flat, then a power law", "broken", "power", (LEVEL, TURN), "between"),
        Shape("two sigmoids", "broken", "logistic", (LEVEL, SLOPE, TURN), "between"),
        Shape("step", "broken", "logistic", (LEVEL, JUMP), "gap"),
    )
    if chance <= 0:
        return one
    return (
        *one,
        Shape("sigmoid over chance", "smooth", "logistic", (LEVEL, SLOPE), floor="chance"),
        Shape("power law over chance", "smooth", "power", (LEVEL, SLOPE), floor="chance"),
    )


def unbounded_shapes() -> tuple[Shape, ...]:
    """Candidates for log-probabilities and the like, turned so that more is better."""
    return (
        Shape("constant", "flat", "straight", (LEVEL,)),
        Shape("logarithm", "smooth", "straight", (LEVEL, SLOPE)),
        Shape("power law", "smooth", "decay", (LEVEL, SLOPE, HIGH)),
        Shape("sigmoid between levels", "smooth", "logistic", (LEVEL, SLOPE, LOW, HIGH)),
        Shape("parabola", "bent", "straight", (LEVEL, SLOPE, BEND)),
        Shape("flat, then a logarithm", "broken", "straight", (LEVEL, TURN), "between"),
        Shape("two logarithms", "broken", "straight", (LEVEL, SLOPE, TURN), "between"),
        Shape("step", "broken", "straight", (LEVEL, JUMP), "gap"),
    )


def eta(theta: Any, x: Any, place: Any, origin: Any, xp: Any = np) -> Any:
    """(S, n) from theta (S, P), x (S, n), place and origin (S,)."""
    t = theta[:, :, None]
    past = x - place[:, None]
    value = t[:, LEVEL] + t[:, SLOPE] * (x - origin[:, None]) + t[:, BEND] * x**2
    value = value + t[:, TURN] * xp.maximum(past, 0.0) + t[:, JUMP] * (past > 0)
    return xp.clip(value, -LARGEST, LARGEST)


def mean(theta: Any, x: Any, place: Any, origin: Any, link: Any, xp: Any = np) -> tuple[Any, Any, Any, Any]:
    """(S, n) the score, its derivative in eta, and in low and high; `link` (S,) numbers `LINKS`."""
    value = eta(theta, x, place, origin, xp)
    low, high, link = theta[:, LOW, None], theta[:, HIGH, None], link[:, None]
    fall = xp.exp(-value)
    logistic = 1 / (1 + fall)
    power = xp.exp(-fall)
    share = xp.where(link == 0, logistic, power)
    slope = xp.where(link == 0, logistic * (1 - logistic), power * fall)
    risen = low + (high - low) * share
    score = xp.where(link <= 1, risen, xp.where(link == 2, value, high - fall))
    slope = xp.where(link <= 1, (high - low) * slope, xp.where(link == 2, 1.0, fall))
    in_low = xp.where(link <= 1, 1 - share, 0.0)
    in_high = xp.where(link <= 1, share, xp.where(link == 2, 0.0, 1.0))
    return score, slope, in_low, in_high


def predict(theta: Floats, x: Floats, place: Floats, origin: Floats, link: NDArray[np.int64]) -> Floats:
    """(S, n) scores for S parameter sets at x (n,), or at x (S, n) of their own."""
    with np.errstate(over="ignore"):
        score: Floats = mean(theta, np.broadcast_to(x, (len(theta), x.shape[-1])), place, origin, link)[0]
    return score


def rise_width(link: Link, slope: float) -> float:
    """How far in x a sigmoid or power law takes from a tenth of its rise to nine tenths."""
    ends = [float(np.log(s / (1 - s)) if link == "logistic" else -np.log(-np.log(s))) for s in (0.1, 0.9)]
    return (ends[1] - ends[0]) / max(abs(slope), 1e-12)
